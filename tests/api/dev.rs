//! `mercato dev` as a newcomer meets it: what it prints is true, and it leaves nothing running.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redis::InfoDict;
use reqwest::Client;
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::answer;
use crate::support::database::{connect, text_rows, variable};
use crate::support::process::{Dev, signal as send, told};

/// A directory that the servers' user may enter.
fn data_dir() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a directory")
}

/// Waits for its end, and gives its exit code. These servers ended before it did.
async fn ended(mut dev: Dev, servers: [Pid; 2]) -> Option<i32> {
    // Waiting would close it, which may end a command as well.
    let _stdin = dev.child.stdin.take();
    let status = dev.child.wait().await.expect("an end");
    for server in servers {
        assert!(test_kill_process(server).is_err(), "{server:?} still runs");
    }
    status.code()
}

/// Where the services are.
struct Services {
    app: String,
    owner: String,
    redis: String,
}

impl Services {
    /// Reads `services.env`, which nobody else can.
    fn read(data_dir: &Path) -> Self {
        let file = data_dir.join("services.env");
        assert_eq!(fs::metadata(&file).expect("services.env").permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(file).expect("text");
        let lines: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |name| lines.iter().find(|(key, _)| *key == name).expect(name).1.to_owned();
        Self { app: value("DATABASE_URL"), owner: value("MIGRATION_DATABASE_URL"), redis: value("REDIS_URL") }
    }

    /// Connects to each, as whoever the addresses name, and gives the numbers of the servers' processes.
    async fn processes(&self) -> [Pid; 2] {
        // Whose tables are there: migrations ran. Which rows are seen: none without a shop.
        let query = "select current_user, (select tableowner from pg_tables where tablename = 'products'),
            (select count(*) from products)";
        for (url, role) in [(&self.app, "mercato_app"), (&self.owner, "mercato_owner")] {
            assert_eq!(text_rows(&connect(url).await, query).await, [format!("{role}|mercato_owner|0")]);
        }
        let superuser = connect(&self.owner.replace("mercato_owner@", "postgres@")).await;
        let file = text_rows(&superuser, "select pg_read_file('postmaster.pid')").await.concat();
        let postgres = file.lines().next().and_then(|id| id.parse().ok());
        let redis = redis::Client::open(self.redis.as_str()).expect("an address");
        let mut redis = redis.get_multiplexed_async_connection().await.expect("Redis");
        let info: InfoDict = redis::cmd("INFO").query_async(&mut redis).await.expect("an answer");
        [postgres, info.get("process_id")].map(|id| id.and_then(Pid::from_raw).expect("a process"))
    }
}

/// What the line gives that is to be copied into a shell, or a client of ours where no curl is installed.
async fn run(line: &str) -> Value {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env_clear().env("PATH", variable("PATH"));
    let output = shell.output().await.expect("a shell");
    if output.status.code() != Some(127) {
        assert!(output.status.success(), "{line}: {output:?}");
        return serde_json::from_slice(&output.stdout).expect("JSON");
    }
    let words: Vec<_> = line.split(' ').collect();
    let ["curl", "-s", url, "-H", "'X-API-Key:", key] = words[..] else { panic!("{line}") };
    answer(Client::new().get(url.trim_matches('\'')).header("x-api-key", key.trim_end_matches('\''))).await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_finds_what_the_banner_promises_and_leaves_nothing_running() {
    let dir = data_dir();
    let mut lines_to_try = Vec::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut dev = Dev::start(&mut Dev::command(dir.path()));
        let banner = dev.banner().await;
        assert_eq!(told(&banner, "Services"), dir.path().join("services.env").to_string_lossy());
        let servers = Services::read(dir.path()).processes().await;

        let graphiql = told(&banner, "GraphiQL").split(' ').next().expect("an address");
        let page = Client::new().get(graphiql).header("accept", "text/html").send().await.expect("an answer");
        assert!(page.status().is_success() && page.text().await.expect("text").contains("GraphiQL"), "{graphiql}");

        for role in ["Customer", "Merchant", "Admin"] {
            let login = told(&banner, role).split_whitespace().collect::<Vec<_>>();
            let body = json!({"subdomain": "demo", "email": login[0], "password": login[1]});
            let path = graphiql.replace("/graphql", "/api/v1/auth/login");
            let logged_in = answer(Client::new().post(path).json(&body)).await;
            assert_eq!(logged_in.body["data"]["user"]["role"], role.to_uppercase(), "{:#}", logged_in.body);
        }

        let line = banner.iter().map(|line| line.trim()).find(|line| line.starts_with("curl -s ")).expect("a line");
        // Some shells take a bare question mark for a file's name.
        assert!(line.split('\'').step_by(2).all(|bare| !bare.contains('?')), "{line}");
        let found = run(line).await;
        let names: Vec<_> = found["data"].as_array().expect("a list").iter().map(|product| &product["name"]).collect();
        assert!(names.contains(&&json!("Stoneware mug")), "{line}: {found}");
        lines_to_try.push(line.rsplit_once(' ').expect("words").1.to_owned());

        send(&dev.child, signal);
        assert_eq!(ended(dev, servers).await, Some(0), "{signal:?}");
    }
    assert_eq!(lines_to_try[0], lines_to_try[1], "the same shop, with the same key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_the_services_is_told_where_they_are_and_when_to_end() {
    let dir = data_dir();
    let tell = "echo $DATABASE_URL $MIGRATION_DATABASE_URL $REDIS_URL ready; exec cat";
    let mut dev = Dev::start(Dev::command(dir.path()).args(["--", "sh", "-c", tell]));
    let told = dev.lines_to("ready").await.pop().expect("a line");
    let services = Services::read(dir.path());
    assert_eq!(told, format!("{} {} {} ready", services.app, services.owner, services.redis));
    let servers = services.processes().await;
    // As shells have it: 128 and the signal's number.
    send(&dev.child, Signal::TERM);
    assert_eq!(ended(dev, servers).await, Some(128 + 15));

    // And one that ends by itself, with an exit code of its own.
    let mut dev = Dev::start(Dev::command(dir.path()).args(["--", "sh", "-c", "echo ready; read line; exit $line"]));
    dev.lines_to("ready").await;
    let servers = services.processes().await;
    let mut stdin = dev.child.stdin.take().expect("its input");
    stdin.write_all(b"7\n").await.expect("a line");
    assert_eq!(ended(dev, servers).await, Some(7));
}
