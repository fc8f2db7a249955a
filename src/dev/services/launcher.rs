//! How a child is started on this machine: as which user, and so that it dies with this process.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use rustix::process::geteuid;

use super::locate;

/// An unprivileged user that the servers run as when this process is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// User id.
    pub(super) uid: u32,
    /// Id of the user's primary group.
    pub(super) gid: u32,
}

impl Account {
    /// Looks `name` up in the text of an `/etc/passwd`.
    fn find(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            Some(Self { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
    }
}

/// Knows how to start a child here: as which user, and whether it can be made to die with this process.
#[derive(Debug)]
pub(super) struct Launcher {
    account: Option<Account>,
    /// `setpriv` of util-linux and its arguments; empty where it is missing or does not work.
    prefix: Vec<String>,
}

impl Launcher {
    /// Finds out what this machine offers.
    ///
    /// # Errors
    /// When this process is root and there is no unprivileged user to run the servers as.
    pub(super) fn detect() -> anyhow::Result<Self> {
        let account = if geteuid().is_root() {
            let passwd = fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
            let account = ["postgres", "nobody"].iter().find_map(|name| Account::find(&passwd, name));
            Some(account.context(
                "PostgreSQL does not run as root, and /etc/passwd has neither a user postgres nor nobody to run \
                 it as: run this command as an ordinary user",
            )?)
        } else {
            None
        };
        let prefix = setpriv(account).unwrap_or_default();
        Ok(Self { account, prefix })
    }

    /// The user to run as, if not this process's own.
    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }

    /// A command that runs `program` (an absolute path) in `dir`, in a process group of its own, so that Ctrl-C in
    /// the terminal reaches this process alone and it can put things in order first.
    pub(super) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = match self.prefix.split_first() {
            Some((setpriv, arguments)) => {
                let mut command = Command::new(setpriv);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let (Some(Account { uid, gid }), true) = (self.account, self.prefix.is_empty()) {
            command.uid(uid).gid(gid);
        }
        command
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            // Logs in English everywhere; and PostgreSQL on macOS does not start without any locale.
            .env("LC_ALL", "C");
        command
    }
}

/// The command line of a `setpriv` that works here (busybox has one that does not know these options).
///
/// SIGINT is PostgreSQL's fast shutdown and an orderly one for Redis too.
fn setpriv(account: Option<Account>) -> Option<Vec<String>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let mut prefix = vec![locate::in_path("setpriv")?.to_str()?.to_owned(), "--pdeathsig=SIGINT".to_owned()];
    if let Some(Account { uid, gid }) = account {
        prefix.push(format!("--reuid={uid}"));
        prefix.push(format!("--regid={gid}"));
        prefix.push("--clear-groups".to_owned());
    }
    prefix.push("--".to_owned());
    let (program, arguments) = prefix.split_first()?;
    let works = Command::new(program)
        .args(arguments)
        .arg("true")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    works.then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        assert_eq!(Account::find(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(Account::find(passwd, "nobody"), None);
        assert_eq!(Account::find("nobody:*:-2:-2::/:\n", "nobody"), None);
    }
}
