//! Guessing passwords: bounded for each account and address, and nobody is locked out by others.

use futures_util::future::join_all;
use mercato::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::shop::PASSWORD;
use crate::support::{Answer, As, Shop, TestServer, answer};

/// A server to which this machine is a proxy, so that a test can come from anywhere.
async fn start() -> (TestServer, Shop) {
    let server = TestServer::start_with(behind_a_proxy).await;
    let shop = server.shop("engines").await;
    (server, shop)
}

fn behind_a_proxy(config: &mut Config) {
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
}

/// Tries a password from the address of that number.
async fn log_in(server: &TestServer, from: usize, email: &str, password: &str) -> Answer {
    let body = json!({"subdomain": "engines", "email": email, "password": password});
    let request = server.request(Method::POST, "/api/v1/auth/login", &As::Nobody).json(&body);
    answer(request.header("x-forwarded-for", format!("198.51.{}.{}", from / 250, from % 250))).await
}

/// What an attacker can see of an answer.
fn seen(answer: &Answer) -> (u16, Value, Vec<(String, String)>) {
    let telling = |name: &str| !matches!(name, "x-request-id" | "date");
    let headers = answer.headers.iter().filter(|(name, _)| telling(name)).cloned().collect();
    (answer.status, answer.body.clone(), headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_one_address_are_few_and_lock_nobody_else_out() {
    let (server, _shop) = start().await;
    let replica = TestServer::on_database(server.database.clone(), behind_a_proxy).await;
    let email = "customer@example.com";
    assert_eq!(log_in(&server, 1, email, PASSWORD).await.status, 200);
    // At once, over two replicas: whichever comes first, the right one is among the later.
    let guesses = (0..30).map(|i| {
        let server = if i % 2 == 0 { &server } else { &replica };
        async move { log_in(server, 1, email, &format!("a wrong password {i}")).await }
    });
    let answers = join_all(guesses).await;
    assert!(answers.iter().all(|answer| seen(answer) == seen(&answers[0])), "the throttle does not show");
    assert_eq!(answers[0].status, 401);
    for server in [&server, &replica] {
        let late = log_in(server, 1, email, PASSWORD).await;
        assert_eq!(seen(&late), seen(&answers[0]), "even the right one is not looked at any more");
    }
    assert_eq!(log_in(&server, 2, email, PASSWORD).await.status, 200, "the owner, from elsewhere");
    assert_eq!(log_in(&server, 1, "merchant@example.com", PASSWORD).await.status, 200, "another account");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_attacked_from_everywhere_lets_its_owner_in() {
    let (server, _shop) = start().await;
    let email = "customer@example.com";
    // A few at a time: passwords do not wait for their turn for ever.
    for first in (0..150).step_by(25) {
        let guesses = (first..first + 25).map(|i| log_in(&server, i, email, "a wrong password"));
        assert!(join_all(guesses).await.iter().all(|answer| answer.status == 401));
    }
    // Whoever has guessed before is not listened to: the account has had its hundred.
    let again = join_all((100..150).map(|i| log_in(&server, i, email, PASSWORD))).await;
    let got_in = again.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(got_in, 0, "{got_in} of 50 second guesses were looked at");
    assert_eq!(log_in(&server, 1000, email, PASSWORD).await.status, 200, "the owner, who never guessed");
}

#[tokio::test(flavor = "multi_thread")]
async fn known_unknown_disabled_and_throttled_accounts_look_alike() {
    let (server, shop) = start().await;
    let update = "mutation($id: ID!) { userUpdate(id: $id, input: {isActive: false}) { userErrors { code } } }";
    let (_, disabled) = shop.another_customer(&server, "disabled@example.com").await;
    server.mutate(&shop.admin, update, json!({ "id": disabled })).await;
    for _ in 0..12 {
        log_in(&server, 1, "merchant@example.com", "a wrong password").await;
    }
    let answers = [
        log_in(&server, 1, "customer@example.com", "a wrong password").await,
        log_in(&server, 1, "unknown@example.com", PASSWORD).await,
        log_in(&server, 1, "disabled@example.com", PASSWORD).await,
        log_in(&server, 1, "merchant@example.com", PASSWORD).await,
        log_in(&server, 1, "no address at all", "").await,
    ];
    assert_eq!((answers[0].status, answers[0].outcome()), (401, "UNAUTHENTICATED"));
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(seen(answer), seen(&answers[0]), "{i}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_present_password_cannot_be_guessed_by_who_has_a_token() {
    let (server, shop) = start().await;
    let change =
        "mutation($input: PasswordChangeInput!) { passwordChange(input: $input) { userErrors { field message } } }";
    let give = async |password: &str| {
        let input = json!({"currentPassword": password, "newPassword": "another-long-password"});
        server.mutate(&shop.customer, change, json!({ "input": input })).await["userErrors"].clone()
    };
    let first = give("a wrong password").await;
    for _ in 0..9 {
        assert_eq!(give("a wrong password").await, first);
    }
    assert_eq!(give(PASSWORD).await, first, "the right one comes too late");
    assert_eq!(log_in(&server, 7, "customer@example.com", PASSWORD).await.status, 200, "logging in is another matter");
}
