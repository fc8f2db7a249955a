//! Private PostgreSQL and Redis for `mercato dev` and for tests: nothing to configure, no port taken, nothing left
//! running.
//!
//! Both are children of this process that listen on Unix sockets only, in a directory that nobody else may enter.
//! Their data stays where it is between runs. On Linux they also die with this process when it is killed with
//! `kill -9`; elsewhere the next start stops what is left of the last one.
//!
//! | file | what |
//! |---|---|
//! | `locate` | finds the installed server binaries, or says what to install |
//! | `launcher` | how to start a child: as another user when this one is root, and so that it dies with this process |
//! | `process` | watches and stops children |
//! | `home` | the directory: lock, owner, deletion, and where sockets go when its path is too long |
//! | `postgres`, `redis` | how to start each, know that it is ready, and get rid of an earlier one |

mod home;
mod launcher;
mod locate;
mod postgres;
mod process;
mod redis;
#[cfg(test)]
mod tests;

use std::{mem, path::Path, sync::mpsc, thread};

use anyhow::Context as _;

use self::{
    home::Home,
    launcher::Launcher,
    process::{Log, START_LIMIT, Server},
};

/// A private PostgreSQL and a private Redis, running until this value is stopped or dropped.
#[derive(Debug)]
pub struct Services {
    postgres: Server,
    redis: Server,
    database_url: String,
    migration_database_url: String,
    redis_url: String,
    home: Home,
    stopped: bool,
    /// Keeps the thread that started the children alive; see [`on_a_lasting_thread`].
    _thread: mpsc::Sender<()>,
}

impl Services {
    /// Starts both with their data under `data_dir` (made if missing), resuming what an earlier run left there;
    /// `fresh` deletes that first. Returns when both answer: after about a second the first time, 50 ms later on.
    ///
    /// When this process is root, the servers (which refuse to be) run as `postgres` or `nobody`; if that user may
    /// not reach `data_dir`, the data is in `/var/tmp/mercato-<hash of data_dir>` instead.
    ///
    /// # Errors
    /// When a server is not installed, too old, or does not start; when another process uses `data_dir`; when what
    /// is there was not made by this function. The text says what to type.
    pub fn start(data_dir: &Path, fresh: bool) -> anyhow::Result<Self> {
        let data_dir = data_dir.to_owned();
        on_a_lasting_thread(move |thread| Self::start_here(&data_dir, fresh, thread))
    }

    fn start_here(data_dir: &Path, fresh: bool, thread: mpsc::Sender<()>) -> anyhow::Result<Self> {
        let launcher = Launcher::detect()?;
        let home = Home::open(data_dir, launcher.account())?;
        let logs = [home.log("postgres.log")?, home.log("redis.log")?];
        stop_leftovers(&home, &logs)?;
        if fresh {
            home.clear()?;
        }
        home.prepare()?;
        let [postgres_log, redis_log] = &logs;
        // Redis needs no preparation, so it gets ready while PostgreSQL is still busy.
        let mut redis = redis::spawn(&home, &launcher, redis_log)?;
        let postgres = postgres::start(&home, &launcher, postgres_log)?;
        redis::wait_until_ready(&home, &mut redis)?;
        Ok(Self {
            postgres,
            redis,
            database_url: postgres::url(&home, "mercato_app"),
            migration_database_url: postgres::url(&home, "mercato_owner"),
            redis_url: redis::url(&home),
            home,
            stopped: false,
            _thread: thread,
        })
    }

    /// Where the server logs in: as `mercato_app`, which owns nothing.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Where migrations log in: as `mercato_owner`, which owns the database and may make others.
    #[must_use]
    pub fn migration_database_url(&self) -> &str {
        &self.migration_database_url
    }

    /// The private Redis, `redis+unix://` and the path of its socket.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// Shuts both down, breaking their connections off, and returns when they are gone. Dropping does the same.
    pub fn stop(&mut self) {
        if mem::replace(&mut self.stopped, true) {
            // The directory may be a successor's by now.
            return;
        }
        // Ask both before waiting for either.
        self.postgres.ask_to_stop();
        self.redis.ask_to_stop();
        self.postgres.stop();
        self.redis.stop();
        self.home.close();
    }

    /// If one of them has died though nobody asked it to: its name, how it ended, and the last lines of its log.
    pub fn failed(&mut self) -> Option<String> {
        self.postgres.failure().or_else(|| self.redis.failure())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends what an earlier run that was killed may have left running, and waits until the last process is gone.
///
/// Most have their parent-death signal and are on their way out. One killed in the middle of starting may not be
/// there to be asked yet, so they are asked until nobody writes to the logs any more.
fn stop_leftovers(home: &Home, logs: &[Log; 2]) -> anyhow::Result<()> {
    for log in logs {
        process::poll(START_LIMIT, || {
            postgres::stop_leftover(home)?;
            redis::stop_leftover(home)?;
            Ok(log.claim()?.then_some(()))
        })?
        .with_context(|| {
            let log = log.path().display();
            format!("processes of an earlier run do not stop: end those that `lsof {log}` shows")
        })?;
    }
    Ok(())
}

/// Runs `work` on a thread of its own that goes on living until the sender it is given, or what it put that into, is
/// dropped.
///
/// Linux sends a child its parent-death signal when the *thread* that started it ends, not the process. Callers
/// may live on a test's thread, or on one of tokio's that come and go.
fn on_a_lasting_thread<T: Send + 'static>(
    work: impl FnOnce(mpsc::Sender<()>) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (result, started) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("services".to_owned())
        .spawn(move || {
            let (guard, until_dropped) = mpsc::channel();
            // Nobody is left to tell when these fail.
            let _ = result.send(work(guard));
            let _ = until_dropped.recv();
        })
        .context("could not start a thread")?;
    started.recv().context("the thread that starts PostgreSQL and Redis panicked")?
}
