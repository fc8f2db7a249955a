//! Replacing keys: nobody is logged out, nothing that was sealed is lost, and what was replaced ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use mercato::config::Config;
use mercato::services::vault;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::mfa::{challenge, enroll, verify};
use crate::support::expect::until;
use crate::support::shop::login;
use crate::support::{As, TestDatabase, TestServer, answer};

async fn mercato(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mercato")).args(arguments).output().await.expect("it runs")
}

async fn rotate(file: &Path, stage: &str) -> Output {
    mercato(&["keys", "rotate", file.to_str().expect("text"), "--stage", stage]).await
}

/// A server with the keys of this file.
async fn with_keys(database: &TestDatabase, file: &Path) -> TestServer {
    let keys = fs::read_to_string(file).expect("keys");
    TestServer::on_database(database.clone(), |config| config.jwt_private_key = keys.into()).await
}

async fn is_let_in(server: &TestServer, who: &As) -> bool {
    server.graphql(who, "{ viewer { id } }", json!({})).await.outcome() == "OK"
}

async fn published(server: &TestServer) -> Vec<String> {
    let keys = answer(server.request(Method::GET, "/.well-known/jwks.json", &As::Nobody)).await.body["keys"].clone();
    keys.as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

fn kid(who: &As) -> String {
    let As::Token(token) = who else { panic!("a token") };
    jsonwebtoken::decode_header(token).expect("a header").kid.expect("a kid")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_key_is_replaced_without_logging_anybody_out() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("jwt.pem");
    fs::write(&file, mercato(&["keys", "generate"]).await.stdout).expect("a key");
    let readers = 0o640;
    fs::set_permissions(&file, Permissions::from_mode(readers)).expect("a group that reads it");
    let database = TestDatabase::create().await;
    let before = with_keys(&database, &file).await;
    let shop = before.shop("engines").await;
    let old = shop.customer.clone();
    let [old_key] = &published(&before).await[..] else { panic!("one key") };
    assert_eq!(&kid(&old), old_key);

    assert!(!rotate(&file, "sign").await.status.success(), "there is nothing to sign with yet");
    assert!(rotate(&file, "publish").await.status.success());
    assert!(!rotate(&file, "publish").await.status.success(), "one at a time");
    let publishing = with_keys(&database, &file).await;
    let keys = published(&publishing).await;
    assert_eq!((keys.len(), &keys[0]), (2, old_key));
    let (in_between, _) = login(&publishing, "engines", "customer@example.com").await;
    assert_eq!(&kid(&in_between), old_key, "replicas that have not restarted know no other");
    assert!(is_let_in(&publishing, &old).await && is_let_in(&before, &in_between).await);

    assert!(!rotate(&file, "retire").await.status.success(), "the new one does not sign yet");
    assert!(rotate(&file, "sign").await.status.success());
    let keys_now = fs::read(&file).expect("keys");
    assert!(!rotate(&file, "sign").await.status.success(), "it would sign with the old one again");
    assert_eq!(fs::read(&file).expect("keys"), keys_now);
    let signing = with_keys(&database, &file).await;
    let (new, _) = login(&signing, "engines", "customer@example.com").await;
    assert_eq!(kid(&new), keys[1]);
    for server in [&publishing, &signing] {
        assert!(is_let_in(server, &old).await && is_let_in(server, &new).await);
    }
    assert!(!is_let_in(&before, &new).await, "which is why publishing comes first");

    assert!(rotate(&file, "retire").await.status.success());
    let retired = with_keys(&database, &file).await;
    assert_eq!(published(&retired).await, keys[1..]);
    assert!(is_let_in(&retired, &new).await && !is_let_in(&retired, &old).await);
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, readers);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_with_the_old_key_opens_and_is_sealed_anew() {
    let [old, new] = [1, 2].map(|byte| vault::encode_key([byte; vault::KEY_BYTES]));
    let with = |keys: &[&String]| {
        let keys: Vec<_> = keys.iter().map(|key| key.as_str().into()).collect();
        move |config: &mut Config| config.data_encryption_keys = keys
    };
    let server = TestServer::start_with(with(&[&old])).await;
    let database = server.database.clone();
    let shop = server.shop("engines").await;
    let enrolled = enroll(&server, &shop.admin).await;
    let newest = TestServer::on_database(database.clone(), with(&[&new])).await;
    let both = TestServer::on_database(database, with(&[&new, &old])).await;
    let code = enrolled.app.code(1);
    let too_early = verify(&newest, &challenge(&newest, &shop).await, &code).await;
    assert_eq!(too_early.outcome(), "INTERNAL", "which is why the old key stays for a while");
    assert_eq!(verify(&both, &challenge(&both, &shop).await, &code).await.outcome(), "OK");
    // The next code is wrong, but can be compared with what is right now.
    assert_eq!(verify(&newest, &challenge(&newest, &shop).await, &code).await.outcome(), "UNAUTHENTICATED");
    assert_eq!(verify(&server, &challenge(&server, &shop).await, &code).await.outcome(), "INTERNAL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_api_key_is_good_for_the_overlap() {
    let server = TestServer::start().await;
    let replica = TestServer::on_database(server.database.clone(), |_| {}).await;
    let shop = server.shop("engines").await;
    let rotate = "mutation($hours: Int!) { tenantApiKeyRotate(input: {overlapHours: $hours}) {
        tenant { apiKey } apiKey userErrors { field message } } }";
    let key = async |hours: i64| -> As {
        let payload = server.mutate(&shop.admin, rotate, json!({ "hours": hours })).await;
        assert_eq!(payload["apiKey"], payload["tenant"]["apiKey"]);
        As::Shopper(payload["apiKey"].as_str().unwrap_or_else(|| panic!("a key: {payload:#}")).to_owned())
    };
    let is_good =
        async |server: &TestServer, who: &As| server.rest(who, Method::GET, "/products", None).await.status == 200;
    let second = key(24).await;
    for server in [&server, &replica] {
        assert!(is_good(server, &second).await && is_good(server, &shop.shopper).await);
    }
    let third = key(0).await;
    for who in [&shop.shopper, &second] {
        until("what was replaced ends", 20, async || !is_good(&server, who).await && !is_good(&replica, who).await)
            .await;
    }
    assert!(is_good(&server, &third).await && is_good(&replica, &third).await);
    for hours in [-1, 721] {
        let refused = server.mutate(&shop.admin, rotate, json!({ "hours": hours })).await;
        assert_eq!(refused["userErrors"][0]["field"], json!(["overlapHours"]), "{refused:#}");
        assert_eq!(refused["apiKey"], Value::Null);
    }
}
