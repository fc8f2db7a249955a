//! The real binary, in a process of its own: for tests that kill it, or look at what it writes.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
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
        let mut child = Command::new(env!("CARGO_BIN_EXE_mercato"))
            .arg("serve")
            .env("DATABASE_URL", &database.app_url)
            .env("REDIS_URL", variable("REDIS_URL"))
            .env("JWT_PRIVATE_KEY_FILE", variable("JWT_PRIVATE_KEY_FILE"))
            .env("DATA_ENCRYPTION_KEY_FILE", variable("DATA_ENCRYPTION_KEY_FILE"))
            .env("MFA_REQUIRED_FOR_ADMINS", "false")
            .env("RATE_LIMIT_ENABLED", "false")
            .env("STRIPE_SECRET_KEY", "sk_test")
            .env("STRIPE_WEBHOOK_SECRET", SECRETS.join(","))
            .env("STRIPE_API_BASE", &stripe.url)
            .env("STRIPE_TIMEOUT_MS", "1000")
            .env("JOBS_POLL_MS", "100")
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            // Only the line that says where it serves, so that the pipe never fills.
            .env("LOG_LEVEL", "off,mercato::cli=info")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary");
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
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("it runs");
        kill_process(id, Signal::TERM).expect("a signal");
    }

    /// Its status, and what it wrote to standard output and standard error.
    pub async fn ended(mut self) -> (ExitStatus, String, String) {
        let status = self.child.wait().await.expect("an end");
        (status, self.output.await.expect("output"), self.errors.await.expect("errors"))
    }
}
