//! PostgreSQL: how to make its data, start it, know that it is ready, and get rid of one that an earlier run left
//! behind.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

use super::{
    home::{Home, percent_encode},
    launcher::Launcher,
    locate,
    process::{Log, REMEDY, START_LIMIT, Server, command_line, poll, stop_stranger, tail},
};

const ROLES: &str = include_str!("../../../deploy/postgres/roles.sql");
const DATABASE: &str = include_str!("../../../deploy/postgres/database.sql");

/// Fast shutdown (clients are cut off, all data written), immediate shutdown, and the last resort.
const STOP_SIGNALS: &[Signal] = &[Signal::INT, Signal::QUIT, Signal::KILL];

/// The file in the data directory in which the server says who and how it is.
const PID_FILE: &str = "postmaster.pid";

/// `fsync` off makes everything faster and loses nothing when processes are killed, PostgreSQL's own included: what
/// was committed has been written, and the operating system has it. Only a crash of that or a power cut can cost
/// data; for development's that is a good bargain. `synchronous_commit` must therefore stay on.
const SETTINGS: [&str; 10] = [
    "listen_addresses=",
    // Part of the socket's name; without this, PGPORT would decide.
    "port=5432",
    "fsync=off",
    "synchronous_commit=on",
    "max_connections=200",
    "shared_buffers=128MB",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_destination=stderr",
    "logging_collector=off",
];

/// Starts a server on the home's data, made first if there is none, and waits until it is ready.
///
/// # Errors
/// When no fitting PostgreSQL is installed, or it does not start; with the end of its log.
pub(super) fn start(home: &Home, launcher: &Launcher, log: &Log) -> anyhow::Result<Server> {
    let data = data(home);
    let tools = Tools { home, launcher, log, programs: locate::postgres(major_version(&data)?)? };
    tools.prepare(&data)?;
    let mut server = tools.spawn(&data)?;
    wait_until_ready(&data, &mut server)?;
    Ok(server)
}

/// Stops a server that runs on the home's data: what is left of a run that was killed.
///
/// # Errors
/// When it does not stop.
pub(super) fn stop_leftover(home: &Home) -> anyhow::Result<()> {
    let data = data(home);
    let Some(pid) = status(&data).and_then(|status| status.pid) else {
        return Ok(());
    };
    // The number may have gone to another process since, so what counts is that it is a server on our data.
    let ours = format!("-D {} ", data.display());
    let is_running = || command_line(pid).contains(&ours);
    if is_running() {
        stop_stranger(pid, STOP_SIGNALS, is_running)
            .with_context(|| format!("a PostgreSQL of an earlier run does not stop: kill -9 {pid}"))?;
    }
    Ok(())
}

/// The address for clients that log in as `role`, in the form that both tokio-postgres and libpq understand.
pub(super) fn url(home: &Home, role: &str) -> String {
    let host = percent_encode(home.socket_dir(), b"");
    format!("postgresql://{role}@{host}/mercato")
}

fn data(home: &Home) -> PathBuf {
    home.path("postgres")
}

/// The major version that made the data; `None` when there is no data.
fn major_version(data: &Path) -> anyhow::Result<Option<u32>> {
    if !data.exists() {
        return Ok(None);
    }
    let file = data.join("PG_VERSION");
    let text = fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    let version = text.trim().parse();
    Ok(Some(version.with_context(|| format!("{} holds no version", file.display()))?))
}

/// What it takes to run PostgreSQL's programs.
struct Tools<'a> {
    home: &'a Home,
    launcher: &'a Launcher,
    log: &'a Log,
    programs: locate::Postgres,
}

impl Tools<'_> {
    /// Makes data, roles and database if there are none; brings the roles up to date if `roles.sql` has changed.
    fn prepare(&self, data: &Path) -> anyhow::Result<()> {
        let applied = self.home.path("roles.sql");
        if !data.exists() {
            // Renamed when complete, so that an interrupted first start leaves nothing that looks like data.
            let unfinished = self.home.path("postgres.new");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)
                    .with_context(|| format!("could not delete {}", unfinished.display()))?;
            }
            self.init(&unfinished)?;
            self.run_offline(&unfinished, &format!("{ROLES}\n{DATABASE}"))?;
            fs::rename(&unfinished, data).with_context(|| format!("could not make {}", data.display()))?;
        } else if fs::read_to_string(&applied).is_ok_and(|applied| applied == ROLES) {
            return Ok(());
        } else {
            self.run_offline(data, ROLES)?;
        }
        fs::write(&applied, ROLES).with_context(|| format!("could not write {}", applied.display()))
    }

    /// Makes a data directory.
    ///
    /// Text sorts by code point, fast and everywhere the same, while upper and lower case follow Unicode where the
    /// system has a locale for it; names of that differ.
    fn init(&self, data: &Path) -> anyhow::Result<()> {
        for character_type in ["C.UTF-8", "en_US.UTF-8", "C"] {
            let status = self
                .launcher
                .command(&self.programs.initdb(), self.home.root())
                .args(["--no-sync", "--no-instructions", "--auth=trust"])
                .args(["--username=postgres", "--encoding=UTF8", "--no-locale"])
                .arg(format!("--lc-ctype={character_type}"))
                .arg("-D")
                .arg(data)
                .stdout(self.log.stdio()?)
                .stderr(self.log.stdio()?)
                .status()
                .context("could not run initdb")?;
            if status.success() {
                return Ok(());
            }
        }
        anyhow::bail!("initdb could not make {}:\n{}", data.display(), tail(self.log.path()))
    }

    /// Runs SQL on the data without a server, so that no client needs to be installed. Statements end with a
    /// semicolon and an empty line.
    fn run_offline(&self, data: &Path, sql: &str) -> anyhow::Result<()> {
        let mut child = self
            .launcher
            .command(&self.programs.postgres(), self.home.root())
            .args(["--single", "-j", "-c", "exit_on_error=on"])
            .args(["-c", "fsync=off", "-D"])
            .arg(data)
            .arg("postgres")
            .stdin(Stdio::piped())
            // A prompt for each statement.
            .stdout(Stdio::null())
            .stderr(self.log.stdio()?)
            .spawn()
            .context("could not run postgres")?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(sql.as_bytes()));
        let status = child.wait()?;
        anyhow::ensure!(
            status.success() && matches!(written, Some(Ok(()))),
            "PostgreSQL could not set up {}:\n{}",
            data.display(),
            tail(self.log.path())
        );
        Ok(())
    }

    /// Starts the server, without waiting for it.
    fn spawn(&self, data: &Path) -> anyhow::Result<Server> {
        // No process of an earlier run is left, but another may have its number by now (in containers they begin
        // anew), which PostgreSQL would take for a running server.
        let _ = fs::remove_file(data.join(PID_FILE));
        // A list of directories, in which quotes protect commas.
        let sockets = self.home.socket_dir().display().to_string();
        let sockets = sockets.replace('"', "\"\"");
        let mut command = self.launcher.command(&self.programs.postgres(), self.home.root());
        command.arg("-D").arg(data).arg("-c").arg(format!("unix_socket_directories=\"{sockets}\""));
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        Server::spawn("PostgreSQL", command, self.log, STOP_SIGNALS)
    }
}

fn wait_until_ready(data: &Path, server: &mut Server) -> anyhow::Result<()> {
    poll(START_LIMIT, || {
        if let Some(failure) = server.failure() {
            anyhow::bail!("{failure}\n{REMEDY}");
        }
        let ready = status(data).is_some_and(|status| status.ready);
        Ok(ready.then_some(()))
    })?
    .with_context(|| format!("PostgreSQL was not ready in time: see {}", server.log().display()))
}

/// What `postmaster.pid` says.
struct Status {
    pid: Option<Pid>,
    ready: bool,
}

/// Reads `postmaster.pid`: its first line is the process id (negative without a server), its eighth how the server is.
fn status(data: &Path) -> Option<Status> {
    let text = fs::read_to_string(data.join(PID_FILE)).ok()?;
    let mut lines = text.lines();
    Some(Status {
        pid: lines.next()?.trim_start_matches('-').parse().ok().and_then(Pid::from_raw),
        ready: lines.nth(6).is_some_and(|status| status.trim() == "ready"),
    })
}
