//! The real binary, in a process of its own: for tests that kill it, or look at what it writes.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::TestServer;
use super::database::{TestDatabase, variable};
use super::payments::SECRETS;
use super::stripe::StandIn;

/// A `mercato serve` on a test's database. It is killed when this is dropped.
pub struct ServerProcess {
    child: Child,
    /// For requests to it.
    pub server: TestServer,
}

impl ServerProcess {
    /// Starts it on a free port and waits until it serves.
    pub async fn start(database: TestDatabase) -> Self {
        Self::with_stripe(database, StandIn::start().await).await
    }

    /// The same with a Stripe that is there already, which tells it of what happens from now on.
    pub async fn with_stripe(database: TestDatabase, stripe: StandIn) -> Self {
        let mut settings = complete(&database);
        settings.extend([
            ("STRIPE_API_BASE", stripe.url.clone()),
            ("STRIPE_WEBHOOK_SECRET", SECRETS.join(",")),
            ("STRIPE_TIMEOUT_MS", "1000".to_owned()),
            ("JOBS_POLL_MS", "100".to_owned()),
            // So that the peak of memory is what is needed, and not what the allocator has not given back yet.
            ("MIMALLOC_PURGE_DELAY", "0".to_owned()),
            // Only the line that says where it serves, so that the pipe never fills.
            ("LOG_LEVEL", "off,mercato::cli=info".to_owned()),
        ]);
        let mut child = serve(&settings).stderr(Stdio::inherit()).spawn().expect("the binary");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next_line().await.expect("text").expect("a line about where it serves");
        let line: Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = line["address"].as_str().unwrap_or_else(|| panic!("an address: {line}"));
        let url = format!("http://{address}");
        stripe.deliver_to(&url);
        let server = TestServer::at(url, database, stripe);
        Self { child, server }
    }

    /// The most memory that it ever had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|peak| peak.trim().parse::<u64>().ok()).expect("a number of kilobytes") * 1024
    }

    /// Kills it on the spot (`kill -9`), and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it was running");
    }
}

/// `mercato serve` without any setting but these, in a folder without `.env`.
pub fn serve(settings: &[(&str, impl AsRef<OsStr>)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercato"));
    command.arg("serve").env_clear().envs(settings.iter().map(|(name, value)| (name, value)));
    command.current_dir(std::env::temp_dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The settings that make it start.
pub fn complete(database: &TestDatabase) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database.app_url.clone()),
        ("REDIS_URL", variable("REDIS_URL")),
        ("JWT_PRIVATE_KEY_FILE", variable("JWT_PRIVATE_KEY_FILE")),
        ("DATA_ENCRYPTION_KEY_FILE", variable("DATA_ENCRYPTION_KEY_FILE")),
        ("MFA_REQUIRED_FOR_ADMINS", "false".to_owned()),
        ("RATE_LIMIT_ENABLED", "false".to_owned()),
        ("STRIPE_SECRET_KEY", "sk_test".to_owned()),
        ("STRIPE_WEBHOOK_SECRET", "whsec_test".to_owned()),
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", "0".to_owned()),
        ("LOG_LEVEL", "trace".to_owned()),
    ]
}

/// A running server of which every line is kept.
pub struct Serving {
    child: Child,
    pub server: TestServer,
    output: JoinHandle<String>,
    errors: JoinHandle<String>,
}

impl Serving {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with these settings as well, or instead.
    pub async fn start_with(further: &[(&'static str, &str)]) -> Self {
        Self::on_database(TestDatabase::create().await, further).await
    }

    /// The same on a database that is there already.
    pub async fn on_database(database: TestDatabase, further: &[(&'static str, &str)]) -> Self {
        let stripe = StandIn::start().await;
        let mut settings = complete(&database);
        settings.push(("STRIPE_API_BASE", stripe.url.clone()));
        settings.extend(further.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut child = serve(&settings).spawn().expect("the binary");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut text = String::new();
        let address = loop {
            let line = lines.next_line().await.expect("text").expect("a line about where it serves");
            text.push_str(&line);
            text.push('\n');
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = line["address"].as_str() {
                break address.to_owned();
            }
        };
        let output = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        let mut stderr = child.stderr.take().expect("its errors");
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            stderr.read_to_string(&mut text).await.expect("text");
            text
        });
        let url = format!("http://{address}");
        stripe.deliver_to(&url);
        let server = TestServer::at(url, database, stripe);
        Self { child, server, output, errors }
    }

    pub fn ask_to_stop(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Its status, and what it wrote to standard output and standard error.
    pub async fn ended(mut self) -> (ExitStatus, String, String) {
        let status = self.child.wait().await.expect("an end");
        (status, self.output.await.expect("output"), self.errors.await.expect("errors"))
    }
}

/// `mercato dev`, which is killed when this is dropped.
pub struct Dev {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    /// What starts it on a free port, with nothing of what the tests themselves are run with.
    pub fn command(data_dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mercato"));
        command.args(["dev", "--port", "0", "--data-dir"]).arg(data_dir).current_dir(data_dir);
        command.env_clear().env("PATH", variable("PATH"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// What it says when it serves.
    pub async fn banner(&mut self) -> Vec<String> {
        self.lines_to("Ctrl-C ends everything").await
    }

    /// The lines up to the one that has this in it.
    pub async fn lines_to(&mut self, last: &str) -> Vec<String> {
        let mut found = Vec::new();
        while !found.last().is_some_and(|line: &String| line.contains(last)) {
            let line = self.lines.next_line().await.expect("text");
            found.push(line.unwrap_or_else(|| panic!("no {last} in {found:?}")));
        }
        found
    }
}

/// What the banner says behind this word.
pub fn told<'a>(banner: &'a [String], word: &str) -> &'a str {
    let line = banner.iter().find_map(|line| line.trim_start().strip_prefix(word));
    line.unwrap_or_else(|| panic!("{word} in {banner:#?}")).trim_start()
}

/// Sends a signal to a process that runs.
pub fn signal(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("it runs");
    kill_process(id, signal).expect("a signal");
}
