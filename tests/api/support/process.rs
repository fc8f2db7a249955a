//! The real binary, in a process of its own: for tests that kill it.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

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

    /// The most memory that it has ever had, in kilobytes.
    pub fn peak_memory(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Kills it on the spot (`kill -9`), and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it was running");
    }
}
