//! The directory that the servers live in: locked, private, and deleted only if it was made here.
//!
//! ```text
//! lock                       held by the process that supervises the servers
//! postgres.log, redis.log    of the current or last run
//! services/made-by-mercato   says that all of `services` may be deleted
//! services/postgres/         data
//! services/redis/            data
//! services/run/              sockets
//! ```

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::ErrorKind,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use super::{
    launcher::Account,
    process::{Log, open_for_lock},
};

/// Where data goes that the servers' user could not reach where it was asked for.
const FALLBACK_HOME: &str = "/var/tmp";
/// Where sockets go that would have too long a path. Not the TMPDIR: it may be long itself.
const FALLBACK_SOCKETS: &str = "/tmp";
const MARKER: &str = "made-by-mercato";
/// The longest path that a socket may have: 104 bytes on macOS and 108 on Linux, with a closing zero.
const SOCKET_PATH_LIMIT: usize = 103;
/// The longest name of a socket.
const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The servers' directory, locked by this process.
#[derive(Debug)]
pub(super) struct Home {
    data_dir: PathBuf,
    root: PathBuf,
    sockets: PathBuf,
    /// Who owns `root`, if not this process's user.
    account: Option<Account>,
    lock: File,
    /// Deletes what was done away with: a hundred thousand files, after a run of all tests.
    deleting: Mutex<Option<JoinHandle<()>>>,
}

impl Home {
    /// Takes the lock in `data_dir`, making that if it is missing, and decides where things go.
    ///
    /// # Errors
    /// When another process has the lock, or `data_dir` cannot be made or written to.
    pub(super) fn open(data_dir: &Path, account: Option<Account>) -> anyhow::Result<Self> {
        let shown = data_dir.display();
        fs::create_dir_all(data_dir).with_context(|| format!("could not make {shown}"))?;
        let data_dir = fs::canonicalize(data_dir).with_context(|| format!("could not find the way to {shown}"))?;
        let lock = lock(&data_dir)?;
        let short = format!("mercato-{}", short_hash(&data_dir));
        let root = if account.is_none_or(|account| can_reach(account, &data_dir)) {
            data_dir.join("services")
        } else {
            Path::new(FALLBACK_HOME).join(&short)
        };
        let mut sockets = root.join("run");
        if sockets.join(SOCKET_NAME).as_os_str().len() > SOCKET_PATH_LIMIT {
            sockets = Path::new(FALLBACK_SOCKETS).join(&short);
        }
        Ok(Self { data_dir, root, sockets, account, lock, deleting: Mutex::default() })
    }

    /// Does away with all data, if it was made here. The servers must have stopped.
    ///
    /// It only gets another name, at once or not at all, so that being interrupted leaves no half of it;
    /// [`Home::prepare`] deletes it.
    ///
    /// # Errors
    /// When it was not made here, or cannot be moved.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        delete(&self.discarded())?;
        if self.root.exists() {
            self.check_marker()?;
            fs::rename(&self.root, self.discarded())
                .with_context(|| format!("could not delete {}", self.root.display()))?;
        }
        Ok(())
    }

    /// Makes what is missing, and begins to delete what [`Home::clear`] did away with, now or in an interrupted run.
    ///
    /// # Errors
    /// When something is there already that was not made here or belongs to somebody else.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        self.begin_to_delete();
        make_private_dir(&self.root, self.account)?;
        self.check_marker()?;
        let marker = self.root.join(MARKER);
        fs::write(&marker, "`mercato dev --fresh` deletes this directory.\n")
            .with_context(|| format!("could not write {}", marker.display()))?;
        make_private_dir(&self.sockets, self.account)
    }

    fn discarded(&self) -> PathBuf {
        self.root.with_extension("discarded")
    }

    /// Nobody waits for the end of it but [`Home::unlock`]. What is left when this process is killed, the next one deletes.
    fn begin_to_delete(&self) {
        let discarded = self.discarded();
        let delete = move || {
            if let Err(error) = delete(&discarded) {
                tracing::warn!(error = format!("{error:#}"), "what is not needed any more stays");
            }
        };
        *self.deleting() = Some(thread::spawn(delete));
    }

    fn deleting(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.deleting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where everything but the sockets is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the sockets are.
    pub(super) fn socket_dir(&self) -> &Path {
        &self.sockets
    }

    /// The log of one of the servers. They need not be able to reach it: they are given it open.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn log(&self, name: &str) -> anyhow::Result<Log> {
        Log::open(self.data_dir.join(name))
    }

    /// The path of something among the data.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A directory in the home, made if missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn make_dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.path(name);
        make_private_dir(&dir, self.account)?;
        Ok(dir)
    }

    /// Takes the sockets' directory away and gives the lock back. The servers must have stopped.
    pub(super) fn close(&self) {
        // It stays if a server did not tidy up; the next start uses it again.
        let _ = fs::remove_dir(&self.sockets);
        self.unlock();
    }

    /// Gives the lock back, which also happens when this process ends in any way.
    pub(super) fn unlock(&self) {
        if let Some(deleting) = self.deleting().take() {
            // It has said itself what went wrong.
            let _ = deleting.join();
        }
        // There is nothing to be done about it, and it has no reason to fail.
        let _ = self.lock.unlock();
    }

    /// Refuses a directory in which there is something, but no word that we made it.
    fn check_marker(&self) -> anyhow::Result<()> {
        let root = self.root.display();
        let mut entries = fs::read_dir(&self.root).with_context(|| format!("could not read {root}"))?;
        anyhow::ensure!(
            self.root.join(MARKER).exists() || entries.next().is_none(),
            "{root} was not made by mercato, so it stays as it is: choose another data directory, or move it away: \
             mv {root} {root}.old"
        );
        Ok(())
    }
}

/// Deletes a directory, if it is there.
fn delete(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not delete {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let shown = data_dir.display();
    let lock = open_for_lock(&data_dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another mercato is running on {shown}: stop that one, or choose another data directory")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("could not lock {shown}")),
    }
}

/// Makes a directory that only `account` (or this process's user) may enter, or checks that it is one.
fn make_private_dir(dir: &Path, account: Option<Account>) -> anyhow::Result<()> {
    let shown = dir.display();
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("could not make {shown}"));
        }
        _ => {}
    }
    // Not following links: in a directory open to all, somebody else may have laid one.
    let found = fs::symlink_metadata(dir).with_context(|| format!("could not read {shown}"))?;
    let own = geteuid().as_raw();
    let mut uid = found.uid();
    if let (Some(account), true) = (account, found.is_dir() && uid == own) {
        chown(dir, Some(account.uid), Some(account.gid))
            .with_context(|| format!("could not give {shown} to user {}", account.uid))?;
        uid = account.uid;
    }
    let wanted = account.map_or(own, |account| account.uid);
    anyhow::ensure!(
        found.is_dir() && uid == wanted,
        "{shown} belongs to user {uid}, not to {wanted}, who is to use it: run this command as the user who made \
         it, or delete it: sudo rm -r {shown}"
    );
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .with_context(|| format!("could not make {shown} private"))?;
    }
    Ok(())
}

/// Whether `account` may enter `dir` and all above it.
fn can_reach(account: Account, dir: &Path) -> bool {
    dir.ancestors().all(|dir| {
        fs::metadata(dir).is_ok_and(|found| {
            let may_enter = if found.uid() == account.uid {
                0o100
            } else if found.gid() == account.gid {
                0o010
            } else {
                0o001
            };
            found.mode() & may_enter != 0
        })
    })
}

/// Twelve hexadecimal digits that stand for a path.
fn short_hash(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    hex::encode(&digest[..6])
}

/// `path` as part of a URL: all but letters, digits, `-._~` and the bytes in `keep` becomes `%XX`.
pub(super) fn percent_encode(path: &Path, keep: &[u8]) -> String {
    let mut encoded = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_urls() {
        let path = Path::new("/a b/ü%-._~");
        assert_eq!(percent_encode(path, b"/"), "/a%20b/%C3%BC%25-._~");
        assert_eq!(percent_encode(path, b""), "%2Fa%20b%2F%C3%BC%25-._~");
    }

    #[test]
    fn reach_is_judged_by_owner_group_and_others() {
        let dir = tempfile::tempdir().unwrap();
        let found = fs::metadata(dir.path()).unwrap();
        let owner = Account { uid: found.uid(), gid: found.gid() };
        let group = Account { uid: found.uid() + 1, ..owner };
        let other = Account { gid: found.gid() + 1, ..group };
        for (mode, expected) in
            [(0o700, [true, false, false]), (0o710, [true, true, false]), (0o701, [true, false, true])]
        {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let reached = [owner, group, other].map(|account| can_reach(account, dir.path()));
            assert_eq!(reached, expected, "{mode:o}");
        }
    }

    #[test]
    fn what_mercato_did_not_make_is_not_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path(), None).unwrap();
        let precious = home.root().join("precious");
        fs::create_dir(home.root()).unwrap();
        fs::write(&precious, "").unwrap();
        for refused in [home.clear(), home.prepare()] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("not made by mercato"), "{error}");
        }
        fs::remove_file(&precious).unwrap();
        home.prepare().unwrap();
        home.clear().unwrap();
        assert!(!home.root().exists());
        // The data itself is still to be deleted; whoever starts next does that.
        assert!(home.discarded().exists());
        home.prepare().unwrap();
        home.close();
        assert!(!home.discarded().exists());
    }

    #[test]
    fn a_link_laid_by_somebody_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        make_private_dir(&link, None).unwrap_err();
    }
}
