//! Children: watched, and stopped in time.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to get ready.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take to stop before it is told more firmly.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What to do when a server does not start on its data.
pub(super) const REMEDY: &str = "To start with empty data instead: mercato dev --fresh";
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How much of the end of a log goes into an error.
const LOG_TAIL_BYTES: u64 = 4096;
const LOG_TAIL_LINES: usize = 15;

/// Asks `check` every two milliseconds until it has an answer; `None` when it has none within `limit`.
///
/// # Errors
/// The first error of `check`.
pub(super) fn poll<T>(
    limit: Duration,
    mut check: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = check()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The file that a server's output goes to, and that of the programs that prepare its data.
///
/// A lock on it tells when the last of them has ended: it belongs to the open file, which all of them inherit, and so
/// outlives this process if they do.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log at `path`, made if missing, without changing it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let file = open_for_lock(&path)?;
        Ok(Self { path, file })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock and empties the log, unless processes of an earlier run still write to it: then gives false.
    ///
    /// # Errors
    /// When the file cannot be locked or emptied.
    pub(super) fn claim(&self) -> anyhow::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => {
                self.file.set_len(0)?;
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("could not lock {}", self.path.display()))
            }
        }
    }

    /// The file, for a child to write to.
    ///
    /// # Errors
    /// When this process has too many files open.
    pub(super) fn stdio(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }
}

/// Opens a file for writing, made if missing, without changing it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn open_for_lock(path: &Path) -> anyhow::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("could not write {}", path.display()))
}

/// A running child with a log, stopped when dropped.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// What to send it, one after the other while it does not stop.
    stop_signals: &'static [Signal],
    asked_to_stop: bool,
}

impl Server {
    /// Starts `command` with its output in `log`.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub(super) fn spawn(
        name: &'static str,
        mut command: Command,
        log: &Log,
        stop_signals: &'static [Signal],
    ) -> anyhow::Result<Self> {
        let child = command
            .stdout(log.stdio()?)
            .stderr(log.stdio()?)
            .spawn()
            .with_context(|| format!("could not run {}", command.get_program().display()))?;
        Ok(Self { name, child, log: log.path.clone(), stop_signals, asked_to_stop: false })
    }

    /// Where its log is.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The child's process id.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// If the child has ended without being asked to: its name, how it ended, and the end of its log.
    pub(super) fn failure(&mut self) -> Option<String> {
        if self.asked_to_stop {
            return None;
        }
        let status = self.child.try_wait().ok()??;
        Some(format!(
            "{} stopped unexpectedly ({status}). The end of its log, {}:\n{}",
            self.name,
            self.log.display(),
            tail(&self.log)
        ))
    }

    /// Sends the first of its stop signals, without waiting.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(&signal) = self.stop_signals.first() {
            self.signal(signal);
        }
        self.asked_to_stop = true;
    }

    /// Stops the child, however much that takes, and waits for its end.
    pub(super) fn stop(&mut self) {
        self.asked_to_stop = true;
        for &signal in self.stop_signals {
            if self.has_ended() {
                return;
            }
            self.signal(signal);
            let _ = poll(STOP_LIMIT, || Ok(self.has_ended().then_some(())));
        }
    }

    fn has_ended(&mut self) -> bool {
        // An error here means that there is no such child.
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn signal(&mut self, signal: Signal) {
        // A process id is free for others as soon as its end has been seen.
        if !self.has_ended() {
            let _ = kill_process(self.pid(), signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Stops a process that is not our child, with one signal after the other, until `is_running` denies.
///
/// # Errors
/// When the process belongs to somebody else, or outlives all signals.
pub(super) fn stop_stranger(pid: Pid, signals: &[Signal], is_running: impl Fn() -> bool) -> anyhow::Result<()> {
    for &signal in signals {
        if let Err(error) = kill_process(pid, signal)
            && is_running()
        {
            return Err(error).context("could not send it a signal");
        }
        if poll(STOP_LIMIT, || Ok((!is_running()).then_some(())))?.is_some() {
            return Ok(());
        }
    }
    anyhow::bail!("it does not stop")
}

/// The command line of process `pid`, words joined by spaces; empty when there is none or it is a zombie.
pub(super) fn command_line(pid: Pid) -> String {
    let pid = pid.to_string();
    let bytes = if cfg!(target_os = "linux") {
        fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
    } else {
        Command::new("ps")
            .args(["-ww", "-o", "command=", "-p", &pid])
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default()
    };
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// The last lines of the log at `path`; empty when it cannot be read.
pub(super) fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let lines: Vec<String> = (0..10_000).map(|line| format!("line {line}")).collect();
        fs::write(&log, lines.join("\n")).unwrap();
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), LOG_TAIL_LINES);
        assert!(tail.ends_with("line 9999"), "{tail}");
    }

    #[test]
    fn a_log_is_not_claimed_while_others_write_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let earlier = Log::open(path.clone()).unwrap();
        assert!(earlier.claim().unwrap());
        let mut writer = Command::new("cat").stdin(Stdio::piped()).stdout(earlier.stdio().unwrap()).spawn().unwrap();
        drop(earlier);

        let log = Log::open(path).unwrap();
        assert!(!log.claim().unwrap(), "cat still has it");
        drop(writer.stdin.take());
        writer.wait().unwrap();
        // A child that another test is just starting may have it for a moment.
        let claimed = poll(Duration::from_secs(10), || Ok(log.claim()?.then_some(())));
        assert_eq!(claimed.unwrap(), Some(()));
    }
}
