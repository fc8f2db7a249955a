//! `Idempotency-Key`: what is sent again is not done again, whoever asks, however often, and whatever breaks.

mod requests;
mod transactions;
mod world;

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::process::ServerProcess;
use crate::support::samples::unique;
use crate::support::shop::{ORDER_CREATE, PASSWORD, order_input};
use crate::support::{Answer, As, Shop, TestDatabase, TestServer, answer, tally, try_answer};

const PRODUCT: &str = "mutation($input: ProductCreateInput!) { productCreate(input: $input) {
    product { id name inventory { quantity } } userErrors { code field } } }";

/// Sends a GraphQL operation with a key.
fn keyed(server: &TestServer, who: &As, key: &str, query: &str, variables: &Value) -> reqwest::RequestBuilder {
    let body = json!({"query": query, "variables": variables});
    server.request(Method::POST, "/graphql", who).header("idempotency-key", key).json(&body)
}

async fn send(server: &TestServer, who: &As, key: &str, query: &str, variables: &Value) -> Answer {
    answer(keyed(server, who, key, query, variables)).await
}

async fn rest(server: &TestServer, who: &As, key: &str, path: &str, body: &Value) -> Answer {
    let request = server.request(Method::POST, &format!("/api/v1{path}"), who);
    answer(request.header("idempotency-key", key).json(body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

async fn count(server: &TestServer, shop: &Shop, table: &str) -> usize {
    server.database.rows(shop.id, &format!("select 1 from {table}")).await.len()
}

async fn start() -> (TestServer, Shop, Uuid) {
    let server = TestServer::start().await;
    let shop = server.shop("once").await;
    let product = shop.product(&server, "ONE", "19.99", 1).await;
    (server, shop, product)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_is_given_again() {
    let (server, shop, product) = start().await;
    let variables = json!({ "input": order_input(&[(product, 1)]) });
    let first = send(&server, &shop.customer, "key", ORDER_CREATE, &variables).await;
    assert_eq!((first.outcome(), is_replayed(&first)), ("OK", false), "{:#}", first.body);
    // Whatever happens to the order and its product meanwhile.
    let order = &first.body["data"]["orderCreate"]["order"]["id"];
    let change = "mutation($order: ID!, $product: ID!) { orderStatusUpdate(id: $order, input: {status: PAID}) { userErrors { code } }
        productUpdate(id: $product, input: {name: \"Renamed\", sku: \"NEW\"}) { userErrors { code } } }";
    server.data(&shop.merchant, change, json!({"order": order, "product": product})).await;
    for _ in 0..3 {
        let again = send(&server, &shop.customer, "key", ORDER_CREATE, &variables).await;
        assert!(is_replayed(&again));
        assert_eq!((again.status, again.body.to_string()), (first.status, first.body.to_string()));
    }
    assert_eq!(count(&server, &shop, "orders").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_answers_again_too() {
    let (server, shop, product) = start().await;
    let first = rest(&server, &shop.customer, "key", "/orders", &order_input(&[(product, 1)])).await;
    let again = rest(&server, &shop.customer, "key", "/orders", &order_input(&[(product, 1)])).await;
    assert_eq!((first.status, is_replayed(&first), is_replayed(&again)), (201, false, true));
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(count(&server, &shop, "orders").await, 1);
    let other = rest(&server, &shop.customer, "key", "/orders", &order_input(&[(product, 2)])).await;
    assert_eq!((other.status, other.outcome()), (422, "IDEMPOTENCY_KEY_REUSED"));
    // The same key means something else for every other operation, user and shop.
    let intent = json!({"orderId": first.body["data"]["id"]});
    let first = rest(&server, &shop.customer, "key", "/payments/intents", &intent).await;
    let again = rest(&server, &shop.customer, "key", "/payments/intents", &intent).await;
    assert_eq!((first.status, is_replayed(&first), is_replayed(&again)), (201, false, true), "{:#}", first.body);
    assert_eq!(again.body, first.body);
    assert_eq!(server.stripe.calls("/v1/payment_intents").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_for_one_user_of_one_shop() {
    let (server, shop, _) = start().await;
    let other = server.shop("another").await;
    let input = json!({"input": {"name": "Tea", "sku": "TEA", "price": "1.00"}});
    let first = send(&server, &shop.merchant, "key", PRODUCT, &input).await;
    assert_eq!(first.outcome(), "OK");
    let by_admin = send(&server, &shop.admin, "key", PRODUCT, &input).await;
    assert_eq!((by_admin.outcome(), is_replayed(&by_admin)), ("CONFLICT", false));
    let elsewhere = send(&server, &other.merchant, "key", PRODUCT, &input).await;
    assert_eq!((elsewhere.outcome(), is_replayed(&elsewhere)), ("OK", false));
    assert_ne!(elsewhere.body, first.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_same_key_is_refused() {
    let (server, shop, _) = start().await;
    let named = |name: &str| json!({"input": {"name": name, "sku": "TEA", "price": "1.00"}});
    assert_eq!(send(&server, &shop.merchant, "key", PRODUCT, &named("Tea")).await.outcome(), "OK");
    for query in [PRODUCT.to_owned(), PRODUCT.replace("name ", "")] {
        let other = send(&server, &shop.merchant, "key", &query, &named("Other")).await;
        assert_eq!(other.outcome(), "IDEMPOTENCY_KEY_REUSED", "{:#}", other.body);
        assert!(!is_replayed(&other));
    }
    let other_document = send(&server, &shop.merchant, "key", &PRODUCT.replace("name ", ""), &named("Tea")).await;
    assert_eq!(other_document.outcome(), "IDEMPOTENCY_KEY_REUSED");
    // Another password is another request, though nobody could tell from what is stored.
    let register = "mutation($input: CustomerRegisterInput!) { customerRegister(input: $input) { user { id } userErrors { code } } }";
    let account = |password: &str| json!({"input": {"email": "new@example.com", "password": password}});
    let first = send(&server, &shop.shopper, "account", register, &account(PASSWORD)).await;
    let again = send(&server, &shop.shopper, "account", register, &account(PASSWORD)).await;
    assert_eq!((first.outcome(), is_replayed(&again), &again.body), ("OK", true, &first.body));
    let guessed = send(&server, &shop.shopper, "account", register, &account("another-long-password")).await;
    assert_eq!(guessed.outcome(), "IDEMPOTENCY_KEY_REUSED");
    let stored = server.database.rows(shop.id, "select response || fingerprint from idempotency_keys").await;
    assert!(stored.iter().all(|row| !row.contains(PASSWORD)), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_fifty_under_one_key_is_done_once() {
    const ROUNDS: usize = 100;
    let patient = |config: &mut mercato::config::Config| config.server.database_pool_wait = Duration::from_mins(1);
    let server = TestServer::start_with(patient).await;
    let other = TestServer::with_stripe(server.database.clone(), server.stripe.clone(), patient).await;
    let shop = server.shop("once").await;
    // In each round there is one piece: whoever does not wait for the first is refused, and seen.
    let product = shop.product(&server, "ONE", "19.99", 1).await;
    let adjust = "mutation($id: ID!) { inventoryAdjust(input: {productId: $id, quantity: 1}) { userErrors { code } } }";
    let variables = json!({ "input": order_input(&[(product, 1)]) });
    for round in 0..ROUNDS {
        server.mutate(&shop.merchant, adjust, json!({ "id": product })).await;
        let key = format!("round-{round}");
        let asks = (0..50).map(|n| {
            let server = if n % 2 == 0 { &server } else { &other };
            send(server, &shop.customer, &key, ORDER_CREATE, &variables)
        });
        let answers = join_all(asks).await;
        assert_eq!(tally(&answers), [("OK", 50)].into(), "{key}");
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{key}");
        assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1, "{key}");
    }
    assert_eq!(count(&server, &shop, "orders").await, ROUNDS);
    assert_eq!(server.database.violations(shop.id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_kept_and_mistakes_are_not() {
    let (server, shop, product) = start().await;
    let two = json!({ "input": order_input(&[(product, 2)]) });
    assert_eq!(send(&server, &shop.customer, "short", ORDER_CREATE, &two).await.outcome(), "INSUFFICIENT_STOCK");
    let adjust = "mutation($id: ID!) { inventoryAdjust(input: {productId: $id, delta: 9}) { userErrors { code } } }";
    server.mutate(&shop.merchant, adjust, json!({ "id": product })).await;
    let again = send(&server, &shop.customer, "short", ORDER_CREATE, &two).await;
    assert_eq!((again.outcome(), is_replayed(&again)), ("INSUFFICIENT_STOCK", true));
    // A mistake can be corrected under the same key.
    let none = json!({ "input": order_input(&[]) });
    assert_eq!(send(&server, &shop.customer, "typo", ORDER_CREATE, &none).await.outcome(), "VALIDATION_ERROR");
    let mended = send(&server, &shop.customer, "typo", ORDER_CREATE, &two).await;
    assert_eq!((mended.outcome(), is_replayed(&mended)), ("OK", false));
    // And nothing is kept of somebody who may not.
    let input = json!({"input": {"name": "Tea", "sku": "TEA", "price": "1.00"}});
    assert_eq!(send(&server, &shop.customer, "role", PRODUCT, &input).await.outcome(), "FORBIDDEN");
    let roles = server.database.rows(shop.id, "select 1 from idempotency_keys where key = 'role'").await;
    assert_eq!(roles.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_none_are_refused_by_name() {
    let (server, shop, product) = start().await;
    let body = order_input(&[(product, 1)]);
    let long = "x".repeat(256);
    for key in ["", "two words", &long] {
        let refused = rest(&server, &shop.customer, key, "/orders", &body).await;
        assert_eq!((refused.status, refused.outcome()), (400, "VALIDATION_ERROR"), "{key:.20}");
        assert_eq!(refused.body["error"]["details"]["fields"][0]["field"], "Idempotency-Key", "{:#}", refused.body);
        let refused = send(&server, &shop.customer, key, ORDER_CREATE, &json!({ "input": body })).await;
        assert_eq!(refused.outcome(), "VALIDATION_ERROR");
    }
    let twice = server.request(Method::POST, "/api/v1/orders", &shop.customer).json(&body);
    let twice = answer(twice.header("idempotency-key", "a").header("idempotency-key", "b")).await;
    assert_eq!((twice.status, twice.outcome()), (400, "VALIDATION_ERROR"));
    assert_eq!(count(&server, &shop, "orders").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_mutation() {
    let (server, shop, _) = start().await;
    let two = "mutation { a: tenantUpdate(input: {name: \"A\"}) { userErrors { code } } b: tenantUpdate(input: {name: \"B\"}) { userErrors { code } } }";
    let fragment =
        "mutation { ...F } fragment F on Mutation { tenantUpdate(input: {name: \"A\"}) { userErrors { code } } }";
    for document in [two, fragment] {
        let refused = send(&server, &shop.admin, "key", document, &json!({})).await;
        assert_eq!(refused.outcome(), "VALIDATION_ERROR", "{:#}", refused.body);
    }
    let name = server.data(&shop.admin, "{ tenant { name } }", json!({})).await;
    assert_eq!(name["tenant"]["name"], "once");
    // Queries need no key, and nothing is kept of them.
    for _ in 0..2 {
        let read = send(&server, &shop.admin, "key", "{ tenant { name } }", &json!({})).await;
        assert_eq!((read.outcome(), is_replayed(&read)), ("OK", false));
    }
    assert_eq!(count(&server, &shop, "idempotency_keys").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_is_registered_once() {
    let server = TestServer::start().await;
    let body =
        json!({"name": "New", "subdomain": "new-shop", "adminEmail": "a@example.com", "adminPassword": PASSWORD});
    let answers = join_all((0..6).map(|_| rest(&server, &As::Nobody, "shop", "/tenants", &body))).await;
    assert!(answers.iter().all(|answer| (answer.status, &answer.body) == (201, &answers[0].body)), "{answers:#?}");
    // Logging in keeps nothing: a token must not lie in a table.
    let login = json!({"subdomain": "new-shop", "email": "a@example.com", "password": PASSWORD});
    for _ in 0..2 {
        let logged_in = rest(&server, &As::Nobody, "login", "/auth/login", &login).await;
        assert_eq!((logged_in.status, is_replayed(&logged_in)), (200, false));
    }
    let kept = "select operation from idempotency_keys";
    assert_eq!(server.database.rows(Uuid::nil(), kept).await, ["tenantRegister"]);
    let stored = server.database.rows(Uuid::nil(), "select response from idempotency_keys").await.concat();
    assert!(!stored.contains("pk_") && !stored.contains("new-shop"), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_a_key_is_new() {
    let (server, shop, _) = start().await;
    let named = |name: &str| json!({"input": {"name": name, "sku": unique(), "price": "1.00"}});
    assert_eq!(send(&server, &shop.merchant, "key", PRODUCT, &named("First")).await.outcome(), "OK");
    let age = "update idempotency_keys set created_at = now() - interval '24 hours 1 second'";
    server.database.as_superuser().await.batch_execute(age).await.expect("the superuser may");
    let second = send(&server, &shop.merchant, "key", PRODUCT, &named("Second")).await;
    assert_eq!((second.outcome(), is_replayed(&second)), ("OK", false), "{:#}", second.body);
    assert_eq!(count(&server, &shop, "idempotency_keys").await, 1);
    // The sweep, which every server does when it starts, takes what nobody asked for again.
    server.database.as_superuser().await.batch_execute(age).await.expect("the superuser may");
    let other = TestServer::on_database(server.database.clone(), |_| {}).await;
    while count(&other, &shop, "idempotency_keys").await > 0 {}
}

/// What was announced before it was committed is done soon after.
#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_keyed_request_is_done_at_once() {
    let (server, shop, product) = start().await;
    let paying = server.paying(&shop, product).await;
    server.stripe.confirm(&paying.intent).await;
    server.until_standing(&shop, paying.order, "PAID PAID").await;
    let cancel = "mutation($id: ID!) { orderCancel(id: $id) { userErrors { code } } }";
    assert_eq!(send(&server, &shop.customer, "key", cancel, &json!({"id": paying.order})).await.outcome(), "OK");
    server.until_standing(&shop, paying.order, "CANCELLED REFUNDED").await;
}

/// A key that has been parked with a lock must not wait for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_intent_replaces_a_cancelled_one() {
    let (server, shop, product) = start().await;
    let paying = server.paying(&shop, product).await;
    server.stripe.hold_webhooks();
    assert_eq!(server.stripe.cancel(&paying.intent).await, 200);
    let intent = json!({"orderId": paying.order});
    let first = rest(&server, &shop.customer, "key", "/payments/intents", &intent).await;
    assert_eq!(first.status, 201, "{:#}", first.body);
    assert_ne!(first.body["data"]["stripePaymentIntent"], json!(paying.intent));
    let secret = first.body["data"]["clientSecret"].as_str().expect("a secret");
    let stored = server.database.rows(shop.id, "select response from idempotency_keys").await.concat();
    assert!(!stored.contains(secret), "{stored}");
}

/// A part of the answer that cannot be read leaves nothing done, so that sending it again is right.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_leaves_nothing_done() {
    let (server, shop, _) = start().await;
    let superuser = server.database.as_superuser().await;
    superuser.batch_execute("revoke select on inventory from mercato_app").await.expect("the superuser may");
    let input = json!({"input": {"name": "Tea", "sku": "TEA", "price": "1.00"}});
    let broken = send(&server, &shop.merchant, "key", PRODUCT, &input).await;
    let error = &broken.body["errors"][0]["extensions"];
    assert_eq!((&error["code"], &error["retryable"]), (&json!("INTERNAL"), &json!(true)), "{:#}", broken.body);
    assert_eq!(count(&server, &shop, "products").await, 1);
    superuser.batch_execute("grant select on inventory to mercato_app").await.expect("the superuser may");
    let whole = send(&server, &shop.merchant, "key", PRODUCT, &input).await;
    assert_eq!((whole.outcome(), is_replayed(&whole)), ("OK", false), "{:#}", whole.body);
}

/// A client that goes away, and a server that is killed, half-way: the next attempt does it, or answers what was done.
#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_is_done_once_when_it_is_sent_again() {
    let database = TestDatabase::create().await;
    let mut process = ServerProcess::start(database.clone()).await;
    let shop = process.server.shop("breaking").await;
    let product = shop.product(&process.server, "MANY", "1.00", 1000).await;
    let variables = json!({ "input": order_input(&[(product, 1)]) });
    let mut rounds = 0;
    for round in 0..6_u64 {
        let keys: Vec<_> = (0..8).map(|n| format!("{round}-{n}")).collect();
        let server = TestServer::at(process.server.url.clone(), database.clone(), process.server.stripe.clone());
        let asks = keys.iter().map(|key| try_answer(keyed(&server, &shop.customer, key, ORDER_CREATE, &variables)));
        let asks = join_all(asks);
        let kill = async {
            // From nothing under way to most of it done.
            while count(&server, &shop, "orders").await < rounds * 8 + usize::try_from(round).expect("small") {}
            process.kill().await;
        };
        let (first, ()) = futures_util::future::join(asks, kill).await;
        process = ServerProcess::with_stripe(database.clone(), server.stripe.clone()).await;
        let again = keys.iter().map(|key| send(&process.server, &shop.customer, key, ORDER_CREATE, &variables));
        let again = join_all(again).await;
        assert_eq!(tally(&again), [("OK", 8)].into());
        for (first, again) in first.iter().zip(&again) {
            if let Ok(first) = first {
                assert_eq!(first.body, again.body);
            }
        }
        rounds += 1;
        assert_eq!(count(&process.server, &shop, "orders").await, rounds * 8);
    }
    assert_eq!(database.violations(shop.id).await, Vec::<String>::new());
}
