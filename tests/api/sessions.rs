//! Sessions: refresh tokens and their reuse, logging out, and what ends access before tokens do.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::counter::Counter;
use crate::support::expect::until;
use crate::support::shop::PASSWORD;
use crate::support::{As, Shop, TestDatabase, TestServer};

const LOGIN: &str = "mutation($input: LoginInput!) { login(input: $input) { accessToken refreshToken } }";
const REFRESH: &str = "mutation($input: TokenRefreshInput!) { tokenRefresh(input: $input) {
    accessToken refreshToken expiresAt viewer { email } userErrors { code message } } }";
const LOGOUT: &str = "mutation($input: LogoutInput!) { logout(input: $input) { loggedOut userErrors { code } } }";

/// A token and what it can be exchanged for.
struct Session {
    who: As,
    refresh: String,
}

impl Session {
    fn of(payload: &Value) -> Self {
        let text = |name: &str| payload[name].as_str().unwrap_or_else(|| panic!("{name}: {payload:#}")).to_owned();
        Self { who: As::Token(text("accessToken")), refresh: text("refreshToken") }
    }

    async fn begin(server: &TestServer, shop: &Shop, email: &str) -> Self {
        let input = json!({"tenant": shop.subdomain, "email": email, "password": PASSWORD});
        Self::of(&server.mutate(&As::Nobody, LOGIN, json!({ "input": input })).await)
    }
}

async fn refresh(server: &TestServer, token: &str) -> Value {
    server.mutate(&As::Nobody, REFRESH, json!({"input": {"refreshToken": token}})).await
}

/// Whether a token still opens something, by both transports.
async fn is_let_in(server: &TestServer, who: &As) -> bool {
    let graphql = server.graphql(who, "{ viewer { id } }", json!({})).await;
    let rest = server.rest(who, Method::GET, "/orders", None).await;
    assert_eq!(graphql.outcome() == "OK", rest.status == 200, "{:#} {:#}", graphql.body, rest.body);
    rest.status == 200
}

/// Waits until another replica has seen that a token has ended.
async fn until_locked_out(replica: &TestServer, who: &As) {
    let is_out = async || replica.graphql(who, "{ viewer { id } }", json!({})).await.outcome() != "OK";
    until("a replica sees what has ended", 15, is_out).await;
    assert!(!is_let_in(replica, who).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_good_once() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let first = Session::begin(&server, &shop, "customer@example.com").await;
    let payload = refresh(&server, &first.refresh).await;
    assert_eq!(payload["viewer"]["email"], "customer@example.com");
    let second = Session::of(&payload);
    assert_ne!(first.refresh, second.refresh);
    assert!(is_let_in(&server, &second.who).await);

    let again = refresh(&server, &first.refresh).await;
    assert_eq!(again["userErrors"][0]["code"], "UNAUTHENTICATED", "{again:#}");
    assert_eq!((&again["accessToken"], &again["refreshToken"]), (&Value::Null, &Value::Null));
    // Nobody knows who has the stolen one, so nobody keeps the session.
    assert!(!is_let_in(&server, &first.who).await);
    assert!(!is_let_in(&server, &second.who).await);
    assert_eq!(refresh(&server, &second.refresh).await["userErrors"][0]["code"], "UNAUTHENTICATED");
    // Another session of the same user is none of its business.
    assert!(is_let_in(&server, &shop.customer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_refreshes_and_logs_out_too() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let body = json!({"subdomain": "engines", "email": "customer@example.com", "password": PASSWORD});
    let login = server.rest(&As::Nobody, Method::POST, "/auth/login", Some(body)).await;
    let token = login.body["data"]["refreshToken"].clone();
    let body = json!({ "refreshToken": token });
    let refreshed = server.rest(&As::Nobody, Method::POST, "/auth/refresh", Some(body.clone())).await;
    assert_eq!((refreshed.status, &refreshed.body["data"]["expiresIn"]), (200, &json!(3600)));
    assert_eq!(refreshed.body["data"]["user"]["tenantId"], json!(shop.id));
    let who = As::Token(refreshed.body["data"]["token"].as_str().expect("a token").to_owned());
    let out = server.rest(&who, Method::POST, "/auth/logout", Some(json!({}))).await;
    assert_eq!((out.status, &out.body["data"]), (200, &json!({"loggedOut": true})));
    assert!(!is_let_in(&server, &who).await);
    let reused = server.rest(&As::Nobody, Method::POST, "/auth/refresh", Some(body)).await;
    assert_eq!((reused.status, reused.outcome()), (401, "UNAUTHENTICATED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_refreshes_at_once_at_most_one_is_good() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for round in 0..5 {
        let session = Session::begin(&server, &shop, "customer@example.com").await;
        let answers = join_all((0..50).map(|_| refresh(&server, &session.refresh))).await;
        let good: Vec<_> = answers.iter().filter(|answer| answer["accessToken"].is_string()).collect();
        assert_eq!(good.len(), 1, "round {round}");
        // It lives no longer than it takes to see that there were others.
        let winner = Session::of(good[0]);
        assert_eq!(refresh(&server, &winner.refresh).await["userErrors"][0]["code"], "UNAUTHENTICATED");
        assert!(!is_let_in(&server, &winner.who).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_that_are_none_are_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let session = Session::begin(&server, &shop, "customer@example.com").await;
    let As::Token(access) = &session.who else { panic!("no token") };
    let edited = |at: usize| {
        let mut text = session.refresh.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).expect("ASCII")
    };
    // The last one names another session. Whoever edits the secret must know the session, and so ends it: see above.
    for wrong in ["", "rt_", "rt_AAAA", access, &session.refresh[3..], "rt_\u{1F5DD}", &"A".repeat(5000), &edited(30)] {
        let payload = refresh(&server, wrong).await;
        assert_eq!(payload["userErrors"][0]["code"], "UNAUTHENTICATED", "{wrong}");
        assert_eq!(payload["userErrors"][0]["message"], "the refresh token is not valid, or no longer; log in again");
    }
    let as_access = As::Token(session.refresh.clone());
    assert!(!is_let_in(&server, &as_access).await);
    assert!(refresh(&server, &session.refresh).await["accessToken"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_one_session_or_all_on_every_replica() {
    let server = TestServer::start().await;
    let replica = TestServer::on_database(server.database.clone(), |_| {}).await;
    let shop = server.shop("engines").await;
    let email = "customer@example.com";
    let (one, two) = (Session::begin(&server, &shop, email).await, Session::begin(&server, &shop, email).await);
    assert!(is_let_in(&replica, &one.who).await);
    let payload = server.mutate(&one.who, LOGOUT, json!({"input": {}})).await;
    assert_eq!(payload, json!({"loggedOut": true, "userErrors": []}));
    assert!(!is_let_in(&server, &one.who).await);
    until_locked_out(&replica, &one.who).await;
    assert_eq!(refresh(&server, &one.refresh).await["userErrors"][0]["code"], "UNAUTHENTICATED");
    assert!(is_let_in(&server, &two.who).await);

    server.mutate(&two.who, LOGOUT, json!({"input": {"everywhere": true}})).await;
    for ended in [&two.who, &shop.customer] {
        assert!(!is_let_in(&server, ended).await);
        until_locked_out(&replica, ended).await;
    }
    assert_eq!(refresh(&replica, &two.refresh).await["userErrors"][0]["code"], "UNAUTHENTICATED");
    assert!(is_let_in(&server, &shop.merchant).await);
    // Who logs in again is in again.
    assert!(is_let_in(&server, &Session::begin(&replica, &shop, email).await.who).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_role_standing_or_password_ends_access_within_seconds() {
    let server = TestServer::start().await;
    let replica = TestServer::on_database(server.database.clone(), |_| {}).await;
    let shop = server.shop("engines").await;
    let change = "mutation($input: PasswordChangeInput!) { passwordChange(input: $input) { userErrors { code } } }";
    let update =
        "mutation($id: ID!, $input: UserUpdateInput!) { userUpdate(id: $id, input: $input) { userErrors { code } } }";
    let passwords = json!({"currentPassword": PASSWORD, "newPassword": "another-long-password"});
    for (email, by_self, input) in [
        ("demoted@example.com", false, json!({"role": "CUSTOMER"})),
        ("deactivated@example.com", false, json!({"isActive": false})),
        ("careful@example.com", true, passwords),
    ] {
        let create = "mutation($input: UserCreateInput!) { userCreate(input: $input) { user { id } } }";
        let user = json!({"email": email, "password": PASSWORD, "role": "MERCHANT"});
        let created = server.mutate(&shop.admin, create, json!({ "input": user })).await;
        let session = Session::begin(&server, &shop, email).await;
        assert!(is_let_in(&server, &session.who).await && is_let_in(&replica, &session.who).await);
        if by_self {
            server.mutate(&session.who, change, json!({ "input": input })).await;
        } else {
            server.mutate(&shop.admin, update, json!({"id": created["user"]["id"], "input": input})).await;
        }
        assert!(!is_let_in(&server, &session.who).await, "{email}");
        until_locked_out(&replica, &session.who).await;
        assert_eq!(refresh(&server, &session.refresh).await["userErrors"][0]["code"], "UNAUTHENTICATED", "{email}");
    }
}

/// A replica goes by what it saw for a moment. A token that is newer than that tells it better.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_good_at_once_everywhere() {
    let server = TestServer::start().await;
    let replica = TestServer::on_database(server.database.clone(), |_| {}).await;
    let shop = server.shop("engines").await;
    let change = "mutation($input: PasswordChangeInput!) { passwordChange(input: $input) { userErrors { code } } }";
    let login = "mutation($input: LoginInput!) { login(input: $input) { accessToken refreshToken } }";
    let mut who = shop.customer.clone();
    let mut password = PASSWORD.to_owned();
    for round in 0..5 {
        let next = format!("another-long-password-{round}");
        assert!(is_let_in(&replica, &who).await, "round {round}");
        let input = json!({"currentPassword": password, "newPassword": next});
        server.mutate(&who, change, json!({ "input": input })).await;
        let input = json!({"tenant": shop.subdomain, "email": "customer@example.com", "password": next});
        who = Session::of(&server.mutate(&As::Nobody, login, json!({ "input": input })).await).who;
        assert!(is_let_in(&replica, &who).await, "round {round}");
        password = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_session_do_not_ask_the_database_who_it_is() {
    let database = TestDatabase::create().await;
    let counter = Counter::of(&database).await;
    let url = counter.url.clone();
    let server = TestServer::on_database(database, |config| config.database_url = url.into()).await;
    let shop = server.shop("engines").await;
    let work = async || {
        for _ in 0..200 {
            server.data(&shop.customer, "{ __typename }", json!({})).await;
        }
    };
    let asked = counter.of_work(work).await;
    // The standing is read anew every few seconds, the shop as well, with three statements each.
    assert!(asked < 60, "{asked} statements for 200 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_people_log_in_and_log_out() {
    let server = TestServer::start_with(|config| config.redis_url = "redis://127.0.0.1:1".into()).await;
    let shop = server.shop("engines").await;
    let input = json!({"tenant": shop.subdomain, "email": "customer@example.com", "password": PASSWORD});
    let payload = server.mutate(&As::Nobody, LOGIN, json!({ "input": input })).await;
    assert_eq!(payload["refreshToken"], Value::Null);
    let who = As::Token(payload["accessToken"].as_str().expect("a token").to_owned());
    assert!(is_let_in(&server, &who).await);
    server.mutate(&who, LOGOUT, json!({"input": {}})).await;
    assert!(!is_let_in(&server, &who).await);
    // Which session it was cannot be told, so all have ended.
    assert!(!is_let_in(&server, &shop.customer).await);

    let token = "rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let refused = server.graphql(&As::Nobody, REFRESH, json!({"input": {"refreshToken": token}})).await;
    assert_eq!(refused.outcome(), "SERVICE_UNAVAILABLE", "{:#}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_failed_can_be_sent_again() {
    let server = TestServer::start_with(|config| config.server.request_timeout = Duration::from_millis(300)).await;
    let shop = server.shop("engines").await;
    let session = Session::begin(&server, &shop, "customer@example.com").await;
    let owner = server.database.as_owner().await;
    owner.batch_execute("begin; lock table users in access exclusive mode").await.expect("a lock");
    let failed = server.graphql(&As::Nobody, REFRESH, json!({"input": {"refreshToken": session.refresh}})).await;
    assert_eq!(failed.outcome(), "SERVICE_UNAVAILABLE", "{:#}", failed.body);
    owner.batch_execute("commit").await.expect("the lock is released");
    assert!(refresh(&server, &session.refresh).await["accessToken"].is_string());
}
