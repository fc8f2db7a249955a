//! What is refused before it has a cost is charged all the same, whichever way it comes, and bounded by that.

use mercato::config::Config;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::support::counter::Counter;
use crate::support::quotas::{address, ask, from, limited, seconds, with_shop};
use crate::support::{As, TestDatabase, TestServer, answer};

/// Nothing is read, and nothing looked up, for those who have nothing left.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_nothing_left_is_refused_before_anything_is_read() {
    let (server, shop) = with_shop(10).await;
    for who in [&shop.shopper, &shop.customer] {
        let address = address();
        let send = async |body: &'static str| {
            let request = server.request(Method::POST, "/graphql", who).header("content-type", "application/json");
            answer(from(request.body(body), &address)).await
        };
        assert_eq!(send("{").await.outcome(), "VALIDATION_ERROR");
        assert_eq!(send("{").await.outcome(), "RATE_LIMITED");
        // What is wrong with it nobody finds out any more.
        let refused = send("[[[").await;
        assert_eq!((refused.status, refused.outcome()), (429, "RATE_LIMITED"));
        assert!((1..=360).contains(&seconds(&refused, "retry-after")), "{refused:?}");
    }
}

/// Anybody may register a persisted query, and nobody without paying for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_not_paid_for_is_not_kept() {
    let (server, shop) = with_shop(1).await;
    let replica = TestServer::on_database(server.database.clone(), |_| {}).await;
    let address = address();
    let mut known = Vec::new();
    for name in ["Paid", "Unpaid", "Long"] {
        // Of the long one, every replica knows only what it was sent itself.
        let fill = if name == "Long" { "#".repeat(9_000) } else { String::new() };
        let query = format!("query {name}{} {{ __typename }} {fill}", Uuid::now_v7().simple());
        let extensions = json!({"persistedQuery": {"version": 1, "sha256Hash": hex::encode(Sha256::digest(&query))}});
        let request = server.request(Method::POST, "/graphql", &shop.shopper);
        let address = if name == "Long" { self::address() } else { address.clone() };
        let sent = answer(from(request.json(&json!({"query": query, "extensions": extensions})), &address)).await;
        assert_eq!(sent.status, if name == "Unpaid" { 429 } else { 200 }, "{name}");
        let request = replica.request(Method::POST, "/graphql", &shop.shopper);
        known.push(answer(request.json(&json!({ "extensions": extensions }))).await.outcome() == "OK");
    }
    assert_eq!(known, [true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pretends_to_be_somebody_is_charged() {
    let (server, shop) = with_shop(10).await;
    let wrong_headers = [("authorization", "Bearer nonsense"), ("x-api-key", "pk_nonsense"), ("x-tenant", "nonsense")];
    for (name, value) in wrong_headers {
        let address = address();
        let mut statuses = Vec::new();
        for _ in 0..12 {
            let request = server.request(Method::GET, "/api/v1/products", &As::Nobody).header(name, value);
            statuses.push(answer(from(request, &address)).await.status);
        }
        let expected = if name == "x-tenant" { 404 } else { 401 };
        assert_eq!((&statuses[..10], &statuses[10..]), (&[expected; 10][..], &[429, 429][..]), "{name}");
        assert_eq!(ask(&server, &shop.customer, &address).await.status, 200, "who is logged in is not charged for it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_before_it_has_a_cost_is_charged_too() {
    let (server, shop) = with_shop(25).await;
    let address = address();
    let send = async |body: &str| {
        let request =
            server.request(Method::POST, "/graphql", &shop.shopper).header("content-type", "application/json");
        answer(from(request.body(body.to_owned()), &address)).await
    };
    let bomb = json!({"query": "{ a ".repeat(40) + &"}".repeat(40) + &"[".repeat(70)}).to_string();
    for body in [&bomb, "{\"query\": 1}"] {
        let refused = send(body).await;
        assert_eq!((refused.status, refused.outcome()), (400, "VALIDATION_ERROR"), "{:#}", refused.body);
    }
    assert_eq!(send(&bomb).await.outcome(), "RATE_LIMITED");
}

/// Finding out what is wrong with a request takes work, whichever way it comes.
#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_is_charged() {
    type Ask<'a> = Box<dyn Fn() -> RequestBuilder + 'a>;
    let (server, shop) = with_shop(15).await;
    let graphql = |body: Value| server.request(Method::POST, "/graphql", &shop.shopper).json(&body);
    let rest = |method: Method, path: &str| server.request(method, &format!("/api/v1{path}"), &shop.shopper);
    let missing = "query($id: ID!) { product(identifier: {id: $id}) { id } }";
    let asks: [(&str, Ask<'_>); 10] = [
        ("no gzip", Box::new(|| graphql(json!({})).header("content-encoding", "gzip"))),
        ("no brotli", Box::new(|| rest(Method::POST, "/orders").json(&json!({})).header("content-encoding", "br"))),
        ("a document that does not parse", Box::new(|| graphql(json!({"query": "{ a"})))),
        ("no variable", Box::new(|| graphql(json!({ "query": missing })))),
        ("no JSON", Box::new(|| rest(Method::POST, "/orders").header("content-type", "application/json").body("{"))),
        ("no object", Box::new(|| rest(Method::POST, "/auth/login").json(&json!([1])))),
        ("an unknown field", Box::new(|| rest(Method::POST, "/products").json(&json!({"colour": "red"})))),
        ("no JSON at all", Box::new(|| rest(Method::POST, "/tenants").header("content-type", "text/plain").body("x"))),
        ("an unknown parameter", Box::new(|| rest(Method::GET, "/products?colour=red"))),
        ("no id", Box::new(|| rest(Method::GET, "/products/17"))),
    ];
    for (what, ask) in &asks {
        let address = address();
        let first = answer(from(ask(), &address)).await;
        assert!(["VALIDATION_ERROR", "UNSUPPORTED_MEDIA_TYPE"].contains(&first.outcome()), "{what}: {:#}", first.body);
        assert!(first.header("ratelimit").is_some_and(|told| told.starts_with("\"anonymous\";r=5;")), "{what}");
        let second = answer(from(ask(), &address)).await;
        assert_eq!((second.status, second.outcome()), (429, "RATE_LIMITED"), "{what}: {:#}", second.body);
    }
    // Stripe pays nothing, whatever it sends.
    let address = address();
    for _ in 0..3 {
        let webhook = rest(Method::POST, "/webhooks/stripe").header("stripe-signature", "t=1").body("nonsense");
        assert_eq!(answer(from(webhook, &address)).await.outcome(), "UNAUTHENTICATED");
    }
    assert_eq!(ask(&server, &shop.shopper, &address).await.status, 200);
}

/// Whoever has given too many wrong names is refused before anybody looks the next one up.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_are_refused_cost_no_query() {
    let database = TestDatabase::create().await;
    let counter = Counter::of(&database).await;
    let url = counter.url.clone();
    let change = |config: &mut Config| {
        limited(config, 3);
        config.database_url = url.into();
    };
    let server = TestServer::on_database(database, change).await;
    let key = format!("svc_{}", "A".repeat(86));
    for (name, value) in
        [("x-api-key", "pk_nonsense"), ("x-tenant", "nonsense"), ("authorization", &*format!("Bearer {key}"))]
    {
        let address = address();
        let try_it = async || {
            let request = server.request(Method::GET, "/api/v1/products", &As::Nobody).header(name, value);
            answer(from(request, &address)).await
        };
        let looked_up = counter.of_work(async || assert_ne!(try_it().await.status, 429, "{name}")).await;
        assert!(looked_up > 0, "{name}");
        assert_eq!(try_it().await.status, 429);
        let asked = counter
            .of_work(async || {
                for _ in 0..20 {
                    let refused = try_it().await;
                    assert_eq!((refused.status, refused.outcome()), (429, "RATE_LIMITED"));
                    assert!((1..=1200).contains(&seconds(&refused, "retry-after")));
                }
            })
            .await;
        assert_eq!(asked, 0, "{name}");
    }
}
