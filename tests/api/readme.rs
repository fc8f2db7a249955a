//! The README's walk-through, run as a newcomer pastes it.

use std::fs;

use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::TestDatabase;
use crate::support::database::variable;
use crate::support::process::{Dev, told};
use crate::support::quotas::address;

/// The README's blocks of code in this language that say this.
fn blocks(language: &str, what: &str) -> Vec<&'static str> {
    let blocks = include_str!("../../README.md").split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)).filter(|block| block.contains(what)).collect()
}

/// `mercato dev` on a database of its own, and where it serves.
async fn dev(data_dir: &TempDir) -> (Dev, String) {
    let database = TestDatabase::create().await;
    let mut command = Dev::command(data_dir.path());
    command.env("DATABASE_URL", &database.app_url).env("REDIS_URL", variable("REDIS_URL"));
    command.env("LOG_LEVEL", "off").env("TRUSTED_PROXIES", "127.0.0.1/32");
    let mut dev = Dev::start(&mut command);
    let url = told(&dev.banner().await, "Health").trim_end_matches("/ready").to_owned();
    (dev, url)
}

/// What a script answers, which is JSON behind JSON. Its folder has the settings of curl.
async fn run(script: &str, url: &str, curl_home: &TempDir) -> Vec<Value> {
    let script = script.replace("http://localhost:3000", url);
    let mut shell = Command::new("sh");
    let ran = shell.args(["-euc", &script]).env("CURL_HOME", curl_home.path()).output().await.expect("a shell");
    let (output, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{script}\n{output}\n{errors}");
    let answers: Result<_, _> = Deserializer::from_str(&output).into_iter().collect();
    answers.unwrap_or_else(|error| panic!("{error}: {output}\n{errors}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_leads_where_it_says() {
    let data_dir = TempDir::new().expect("a folder");
    let (_dev, url) = dev(&data_dir).await;
    // Others use up what the address of all tests may ask for.
    let from = format!("header = \"X-Forwarded-For: {}\"", address());
    fs::write(data_dir.path().join(".curlrc"), from).expect("it is written");
    let [query, order, payment] = blocks("sh\n", "curl ")[..] else { panic!("three blocks of curl") };
    let [shown] = blocks("json\n", "extensions")[..] else { panic!("one answer") };

    let answer = run(query, &url, &data_dir).await.remove(0);
    let shown: Value = serde_json::from_str(shown).expect("JSON");
    assert_eq!(answer["data"], shown["data"]);
    for part in ["requested", "limit"] {
        assert_eq!(answer["extensions"]["cost"][part], shown["extensions"]["cost"][part], "{part}");
    }

    // Once more with the same key, and not faster than the webhook.
    let order = format!("{order}\nprintf '\"%s\"' \"$ORDER\"\n");
    let is_paid = "until curl -s $API/orders/$ORDER -H \"Authorization: Bearer $TOKEN\" | grep -q '\"status\":\"PAID\"'; do :; done";
    let payment = payment.replace("/confirm\n", &format!("/confirm\n{is_paid}\n"));
    assert!(payment.contains(is_paid), "{payment}");
    let [first, again, intent, fulfilled, shipped] =
        &run(&format!("{order}{order}{payment}"), &url, &data_dir).await[..]
    else {
        panic!("five answers")
    };
    assert!(first == again && first.as_str().is_some_and(|id| id.len() == 36), "{first} {again}");
    assert_eq!((&intent["object"], &intent["status"]), (&json!("payment_intent"), &json!("succeeded")));
    assert_eq!([&fulfilled["data"]["status"], &shipped["data"]["status"]], ["FULFILLED", "SHIPPED"]);
    assert_eq!(&shipped["data"]["id"], first);
}
