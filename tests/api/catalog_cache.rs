//! What shops show to everybody alike is kept, and let go of with every change.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::Request;
use futures_util::future::join_all;
use mercato::app::{self, App};
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::support::clients::abandoned_after;
use crate::support::counter::Counter;
use crate::support::database::variable;
use crate::support::expect::until;
use crate::support::redis_line::RedisLine;
use crate::support::{As, Shop, TestDatabase, TestServer, answer};

const LIST: &str = "{ products(first: 50, sort: {field: NAME}) { nodes { id name price { amount } } totalCount } }";
const ONE: &str = "query($id: ID!) { product(identifier: {id: $id}) { id name price { amount currencyCode } } }";
const UPDATE: &str = "mutation($id: ID!, $name: String!) { productUpdate(id: $id, input: {name: $name}) {
    product { name } userErrors { code } } }";

/// A server whose statements are counted.
async fn counted(database: TestDatabase) -> (TestServer, Counter) {
    let counter = Counter::of(&database).await;
    let url = counter.url.clone();
    (TestServer::on_database(database, |config| config.database_url = url.into()).await, counter)
}

/// The names of the shop's products, as somebody sees them.
async fn names(server: &TestServer, who: &As) -> Vec<String> {
    let data = server.data(who, LIST, json!({})).await;
    let nodes = data["products"]["nodes"].as_array().expect("nodes");
    nodes.iter().map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}

/// The product's name, as somebody sees it; none if it is not shown.
async fn name(server: &TestServer, who: &As, id: Uuid) -> Option<String> {
    let data = server.data(who, ONE, json!({ "id": id })).await;
    data["product"]["name"].as_str().map(str::to_owned)
}

async fn rename(server: &TestServer, shop: &Shop, id: Uuid, name: &str) {
    let renamed = server.mutate(&shop.merchant, UPDATE, json!({"id": id, "name": name})).await;
    assert_eq!(renamed["product"]["name"], name);
}

/// Changes a name behind the server's back.
async fn rename_secretly(database: &TestDatabase, id: Uuid, name: &str) {
    let update = format!("update products set name = '{name}' where id = '{id}'");
    database.as_superuser().await.batch_execute(&update).await.expect("an update");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_visitors_are_shown_is_asked_of_the_database_once() {
    let (server, counter) = counted(TestDatabase::create().await).await;
    let shop = server.shop("kept").await;
    let id = shop.product(&server, "A", "1.00", 5).await;
    for who in [&shop.shopper, &shop.customer] {
        let first = server.graphql(who, LIST, json!({})).await;
        let again = server.graphql(who, LIST, json!({})).await;
        assert_eq!(first.body, again.body);
        assert_eq!(first.body["extensions"]["cost"]["requested"], 121);
        for path in [format!("/products/{id}"), "/products?search=product&limit=5".to_owned()] {
            let first = server.rest(who, Method::GET, &path, None).await;
            let again = server.rest(who, Method::GET, &path, None).await;
            assert_eq!((first.status, &first.body), (200, &again.body));
        }
        let read = async || {
            server.data(who, LIST, json!({})).await;
            server.data(who, ONE, json!({ "id": id })).await;
            assert_eq!(server.rest(who, Method::GET, &format!("/products/{id}"), None).await.status, 200);
            assert_eq!(server.rest(who, Method::GET, "/products", None).await.status, 200);
        };
        assert_eq!(counter.of_work(read).await, 0);
    }
    for outcome in ["hit", "miss"] {
        assert_counted(&server, outcome).await;
    }
}

async fn assert_counted(server: &TestServer, outcome: &str) {
    let counted = answer(server.request(Method::GET, "/metrics", &As::Nobody)).await.body.to_string();
    let name = format!(r#"cache_requests_total{{cache=\"catalog\",outcome=\"{outcome}\"}}"#);
    assert!(counted.contains(&name), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_seen_by_the_next_visitor() {
    let server = TestServer::start().await;
    let shop = server.shop("changing").await;
    let first = shop.product(&server, "A", "1.00", 5).await;
    let seen = async || (names(&server, &shop.customer).await, name(&server, &shop.shopper, first).await);
    let both = |list: &[&str], one: Option<&str>| {
        (list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), one.map(str::to_owned))
    };
    assert_eq!(seen().await, both(&["Product A"], Some("Product A")));

    let second = shop.product(&server, "B", "1.00", 5).await;
    assert_eq!(seen().await, both(&["Product A", "Product B"], Some("Product A")));

    rename(&server, &shop, first, "Renamed").await;
    assert_eq!(seen().await, both(&["Product B", "Renamed"], Some("Renamed")));

    let patch = json!({"name": "By REST"});
    let patched = server.rest(&shop.merchant, Method::PATCH, &format!("/products/{first}"), Some(patch)).await;
    assert_eq!(patched.status, 200);
    assert_eq!(seen().await, both(&["By REST", "Product B"], Some("By REST")));

    // Whose answer is kept is committed with it, after the use case has ended.
    let body = json!({"query": UPDATE, "variables": {"id": first, "name": "By key"}});
    let keyed = server.request(Method::POST, "/graphql", &shop.merchant).header("idempotency-key", "one").json(&body);
    assert_eq!(answer(keyed).await.outcome(), "OK");
    assert_eq!(seen().await, both(&["By key", "Product B"], Some("By key")));

    let deleted = server.rest(&shop.admin, Method::DELETE, &format!("/products/{first}"), None).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(seen().await, both(&["Product B"], None));

    let back = json!({"isActive": true});
    let back = server.rest(&shop.merchant, Method::PATCH, &format!("/products/{first}"), Some(back)).await;
    assert_eq!(back.status, 200);
    assert_eq!(seen().await, both(&["By key", "Product B"], Some("By key")));

    // What was refused has changed nothing.
    let taken = json!({"sku": "A"});
    let refused = server.rest(&shop.merchant, Method::PATCH, &format!("/products/{second}"), Some(taken)).await;
    assert_eq!(refused.outcome(), "CONFLICT");
    assert_eq!(seen().await, both(&["By key", "Product B"], Some("By key")));
}

/// The same words of two shops, and of those who see more than others, are different questions.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_what_is_kept_for_others() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("own").await, server.shop("other").await);
    let (shown, hidden) = (shop.product(&server, "A", "1.00", 5).await, shop.product(&server, "H", "1.00", 5).await);
    let foreign = other.product(&server, "F", "1.00", 5).await;
    let deleted = server.rest(&shop.admin, Method::DELETE, &format!("/products/{hidden}"), None).await;
    assert_eq!(deleted.status, 200);
    // In both orders, so that whatever could be mixed up is there already.
    for _ in 0..2 {
        for staff in [&shop.merchant, &shop.admin] {
            assert_eq!(names(&server, staff).await, ["Product A", "Product H"]);
            assert_eq!(name(&server, staff, hidden).await.as_deref(), Some("Product H"));
        }
        for visitor in [&shop.customer, &shop.shopper] {
            assert_eq!(names(&server, visitor).await, ["Product A"]);
            assert_eq!(name(&server, visitor, hidden).await, None);
            assert_eq!(name(&server, visitor, foreign).await, None);
            assert_eq!(name(&server, visitor, shown).await.as_deref(), Some("Product A"));
        }
        for visitor in [&other.customer, &other.shopper] {
            assert_eq!(names(&server, visitor).await, ["Product F"]);
            assert_eq!(name(&server, visitor, shown).await, None);
        }
    }
    // Visitors see what is kept, staff what is there.
    rename_secretly(&server.database, shown, "Secretly").await;
    assert_eq!(names(&server, &shop.customer).await, ["Product A"]);
    assert_eq!(names(&server, &shop.merchant).await, ["Product H", "Secretly"]);
    // Refusals are nobody's answer.
    let inactive = "{ products(filter: {isActive: false}) { nodes { name } } }";
    for _ in 0..2 {
        assert_eq!(server.graphql(&shop.customer, inactive, json!({})).await.outcome(), "FORBIDDEN");
        assert_eq!(server.data(&shop.merchant, inactive, json!({})).await["products"]["nodes"][0]["name"], "Product H");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_lists_and_changes() {
    let here = TestServer::start().await;
    let shop = here.shop("shared").await;
    let id = shop.product(&here, "A", "1.00", 5).await;
    let kept = names(&here, &shop.customer).await;
    let (there, counter) = counted(here.database.clone()).await;
    // Whose token it is, and of which shop, is known now.
    there.data(&shop.customer, "{ viewer { id } }", json!({})).await;
    rename_secretly(&here.database, id, "Secretly").await;
    assert_eq!(names(&there, &shop.customer).await, kept, "from Redis");
    assert_eq!(name(&there, &shop.customer, id).await.as_deref(), Some("Secretly"), "from the database");
    assert!(counter.of_work(async || drop(names(&there, &shop.customer).await)).await == 0);

    rename(&there, &shop, id, "Renamed there").await;
    assert_eq!(names(&there, &shop.customer).await, ["Renamed there"]);
    until("the other replica sees it", 20, async || names(&here, &shop.customer).await == ["Renamed there"]).await;
    assert_eq!(name(&here, &shop.shopper, id).await.as_deref(), Some("Renamed there"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_or_when_switched_off_nothing_is_kept() {
    for switched_off in [false, true] {
        let server = TestServer::start_with(|config| {
            if switched_off {
                config.server.catalog_cache_bytes = 0;
            } else {
                config.redis_url = "redis+unix:///nowhere/redis.sock".into();
            }
        })
        .await;
        let shop = server.shop("alone").await;
        let id = shop.product(&server, "A", "1.00", 5).await;
        assert_eq!(names(&server, &shop.customer).await, ["Product A"]);
        rename_secretly(&server.database, id, "Secretly").await;
        assert_eq!(names(&server, &shop.customer).await, ["Secretly"]);
        assert_eq!(name(&server, &shop.shopper, id).await.as_deref(), Some("Secretly"));
        assert_counted(&server, "bypass").await;
    }
}

/// A change that is made while Redis is gone is heard of by everybody once it is back, without being asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_redis_did_not_hear_of_is_told_later() {
    let there = TestServer::start().await;
    let line = RedisLine::new();
    let here = TestServer::on_database(there.database.clone(), |config| config.redis_url = (*line.url).into()).await;
    let shop = there.shop("flaky").await;
    let id = shop.product(&there, "A", "1.00", 5).await;
    for server in [&here, &there] {
        assert_eq!(names(server, &shop.customer).await, ["Product A"]);
    }
    line.cut();
    rename(&here, &shop, id, "Renamed").await;
    assert_eq!(names(&here, &shop.customer).await, ["Renamed"], "whoever made the change knows of it");
    assert_eq!(names(&there, &shop.customer).await, ["Product A"], "the other one goes by what Redis knows");
    line.mend();
    until("the other replica sees it", 20, async || names(&there, &shop.customer).await == ["Renamed"]).await;
    assert_eq!(name(&there, &shop.shopper, id).await.as_deref(), Some("Renamed"));
    // And what is kept is used again.
    until("what is kept is used", 20, async || {
        names(&here, &shop.customer).await;
        rename_secretly(&here.database, id, "Secretly").await;
        let seen = names(&here, &shop.customer).await;
        rename_secretly(&here.database, id, "Renamed").await;
        seen == ["Renamed"]
    })
    .await;
}

/// Whenever a merchant's connection ends, either nothing was changed, or visitors see it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_is_told_though_the_merchant_goes_away() {
    let server = TestServer::start().await;
    let shop = server.shop("hasty").await;
    let id = shop.product(&server, "A", "1.00", 5).await;
    let config = server.database.config();
    let router = App::build(&config, app::services(&config).expect("the services"), None).expect("the app").router();
    let As::Token(token) = &shop.merchant else { panic!("logged in") };
    let (mut changed, mut abandoned, mut last) = (0, 0, name(&server, &shop.merchant, id).await);
    for round in 0..120 {
        let body = json!({"query": UPDATE, "variables": {"id": id, "name": format!("Number {round}")}}).to_string();
        let request = Request::post("/graphql").header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Body::from(body)).expect("a request");
        // What the visitor sees now is kept.
        assert_eq!(name(&server, &shop.shopper, id).await, last);
        if abandoned_after(round / 8, router.clone().oneshot(request)).await.is_none() {
            abandoned += 1;
        }
        server.database.until_idle().await;
        let now = name(&server, &shop.merchant, id).await;
        changed += usize::from(now != last);
        until("visitors see it", 20, async || name(&server, &shop.shopper, id).await == now).await;
        last = now;
    }
    assert!(abandoned > 0 && changed > 0, "{abandoned} abandoned, {changed} changed");
}

/// While visitors keep asking, on both replicas, for what is just being changed, whoever has made a change sees it.
#[tokio::test(flavor = "multi_thread")]
async fn race_of_changes_and_visitors() {
    const CHANGES: usize = 60;
    let here = TestServer::start().await;
    let there = TestServer::on_database(here.database.clone(), |_| {}).await;
    let shop = here.shop("busy").await;
    let id = shop.product(&here, "A", "1.00", 5).await;
    let is_over = AtomicBool::new(false);
    let number = |name: &str| name.trim_start_matches("Number ").parse::<usize>().unwrap_or(0);
    let visit = async |server: &TestServer| {
        let mut last = 0;
        let mut visits = 0_usize;
        while !is_over.load(Ordering::Relaxed) {
            let seen = number(&names(server, &shop.customer).await[0]);
            assert!(seen >= last, "{seen} after {last}");
            (last, visits) = (seen, visits + 1);
        }
        visits
    };
    let change = async {
        for n in 1..=CHANGES {
            let server = if n % 2 == 0 { &here } else { &there };
            rename(server, &shop, id, &format!("Number {n}")).await;
            assert_eq!(number(&names(server, &shop.customer).await[0]), n, "in the list");
            let one = name(server, &shop.shopper, id).await.unwrap_or_default();
            assert_eq!(number(&one), n, "by itself");
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let visitors = join_all([&here, &there, &here, &there].map(visit));
    let (visits, ()) = tokio::join!(visitors, change);
    assert!(visits.iter().all(|&visits| visits > 0), "{visits:?}");
    for server in [&here, &there] {
        until("all replicas see it", 20, async || number(&names(server, &shop.customer).await[0]) == CHANGES).await;
    }
}

/// More questions than are kept, and longer answers, push nothing out of place.
#[tokio::test(flavor = "multi_thread")]
async fn many_questions_are_answered_and_take_little_room() {
    const SHARED: usize = 10_000;
    let server = TestServer::start_with(|config| config.server.catalog_cache_bytes = SHARED as u64).await;
    let shop = server.shop("curious").await;
    let id = shop.product(&server, "A", "1.00", 5).await;
    let search = "query($words: String!) { products(filter: {search: $words}) { nodes { name } } }";
    for n in 0..150 {
        let found = server.data(&shop.shopper, search, json!({"words": format!("prod{}", "u".repeat(n % 2))})).await;
        assert_eq!(found["products"]["nodes"].as_array().map(Vec::len), Some(1));
        let none = server.data(&shop.shopper, search, json!({"words": format!("nothing {n}")})).await;
        assert_eq!(none["products"]["nodes"], Value::Array(vec![]));
    }
    let described = json!({"description": "long ".repeat(400)});
    let described = server.rest(&shop.merchant, Method::PATCH, &format!("/products/{id}"), Some(described)).await;
    assert_eq!(described.status, 200);
    for n in 0..50 {
        let aliases = (0..=n).map(|n| format!("d{n}: description")).collect::<Vec<_>>().join(" ");
        let long = server.data(&shop.shopper, &format!("{{ products {{ nodes {{ {aliases} }} }} }}"), json!({})).await;
        assert_eq!(long["products"]["nodes"][0].as_object().map(serde_json::Map::len), Some(n + 1));
    }
    let (answers, bytes) = shared(&shop).await;
    assert!(answers > 0 && bytes <= SHARED, "{answers} answers, {bytes} bytes");
    rename(&server, &shop, id, "Production").await;
    let found = server.data(&shop.shopper, search, json!({"words": "production"})).await;
    assert_eq!(found["products"]["nodes"][0]["name"], "Production");
    assert_eq!(shared(&shop).await.0, 1, "of a version that is over nothing is kept");
}

/// How many answers of a shop Redis keeps, and how many bytes they are.
async fn shared(shop: &Shop) -> (usize, usize) {
    let client = redis::Client::open(variable("REDIS_URL")).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("Redis");
    let key = format!("mercato:{{{}}}:catalog", shop.id);
    let kept: Vec<Vec<u8>> = redis::cmd("HVALS").arg(key).query_async(&mut redis).await.expect("what is kept");
    (kept.len() - 1, kept.iter().map(Vec::len).sum())
}
