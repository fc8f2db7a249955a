//! Redis: how to start it, know that it is ready, and get rid of one that an earlier run left behind.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::Signal;

use super::{
    home::{Home, percent_encode},
    launcher::Launcher,
    locate,
    process::{Log, REMEDY, START_LIMIT, Server, poll},
};

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Starts a server on the home's socket, without waiting for it.
///
/// Every write is in the append-only file's page cache before its answer goes out, so that sessions survive any
/// process being killed; `everysec` bounds what a power cut takes.
///
/// # Errors
/// When Redis is not installed or cannot be run.
pub(super) fn spawn(home: &Home, launcher: &Launcher, log: &Log) -> anyhow::Result<Server> {
    let data = home.make_dir("redis")?;
    let mut command = launcher.command(&locate::redis()?, &data);
    command
        .args(["--port", "0", "--unixsocketperm", "700", "--unixsocket"])
        .arg(socket(home))
        .arg("--dir")
        .arg(&data)
        .args(["--appendonly", "yes", "--appendfsync", "everysec"])
        .args(["--save", "", "--daemonize", "no", "--logfile", ""]);
    Server::spawn("Redis", command, log, &[Signal::TERM, Signal::KILL])
}

/// Waits until `server` answers.
///
/// # Errors
/// When it ends, with the end of its log, or does not answer in time.
pub(super) fn wait_until_ready(home: &Home, server: &mut Server) -> anyhow::Result<()> {
    poll(START_LIMIT, || {
        if let Some(failure) = server.failure() {
            anyhow::bail!("{failure}\n{REMEDY}");
        }
        // It refuses connections before it listens, and answers -LOADING while it reads its data.
        let answer = call(home, "PING", 5).unwrap_or_default();
        Ok((answer == "+PONG").then_some(()))
    })?
    .with_context(|| format!("Redis did not answer in time: see {}", server.log().display()))
}

/// Stops a server that listens on the home's socket: what is left of a run that was killed.
///
/// # Errors
/// When it does not stop.
pub(super) fn stop_leftover(home: &Home) -> anyhow::Result<()> {
    match call(home, "SHUTDOWN NOSAVE", u64::MAX) {
        Ok(answer) if answer.is_empty() => Ok(()),
        // It may also be on its way out by itself: then nobody listens, or the line goes dead.
        Err(error) if !is_timeout(&error) => Ok(()),
        Ok(answer) => Err(anyhow::anyhow!("it answers {answer:?}")),
        Err(error) => Err(error.into()),
    }
    .with_context(|| {
        let socket = socket(home);
        let socket = socket.display();
        format!("a Redis of an earlier run does not stop: end the process that `lsof {socket}` shows")
    })
}

/// The address for clients.
pub(super) fn url(home: &Home) -> String {
    format!("redis+unix://{}", percent_encode(&socket(home), b"/"))
}

fn socket(home: &Home) -> PathBuf {
    home.socket_dir().join("redis.sock")
}

/// Sends one command and reads at most `length` bytes of the answer, to the end when there are fewer.
fn call(home: &Home, command: &str, length: u64) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket(home))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(command.as_bytes())?;
    stream.write_all(b"\r\n")?;
    let mut answer = String::new();
    stream.take(length).read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
