//! Which requests are the same, whose they are, and for how long.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{CANCEL, GRAPHQL_JSON, KEY, Told, World, assert_once, assert_same, graphql};
use crate::support::As;
use crate::support::database::text_rows;
use crate::support::shop::{ORDER_CREATE, PASSWORD, order_input};

const REGISTER: &str = "mutation($input: CustomerRegisterInput!) { customerRegister(input: $input) {
    user { id email } userErrors { code message field } } }";
const TENANT: &str = "mutation($input: TenantRegisterInput!) { tenantRegister(input: $input) {
    tenant { id } apiKey admin { id } userErrors { code message field } } }";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_is_given_again() {
    let world = World::start().await;
    let first = world.order("one", 2).await;
    assert_eq!(first.outcome(), "OK", "{}", first.text);
    assert_same(&first, &world.order("one", 2).await);
    let created = world.rest_order("two", 3).await;
    assert_eq!((created.answer.status, created.outcome()), (201, "OK"), "{}", created.text);
    assert_same(&created, &world.rest_order("two", 3).await);
    assert_eq!((world.orders().await.len(), world.stock().await.as_str()), (2, "95"));

    // PATCH and DELETE take a key as well; without it the second one would find the order cancelled.
    let path = format!("/orders/{}", created.answer.body["data"]["id"].as_str().expect("an id"));
    let cancel = async || Told::by(world.rest(&world.shop.customer, "three", Method::DELETE, &path)).await;
    let cancelled = cancel().await;
    assert_eq!(cancelled.answer.body["data"]["status"], "CANCELLED");
    assert_same(&cancelled, &cancel().await);
    let path = format!("/inventory/{}", world.product);
    let body = json!({"delta": 5});
    let adjust = async || Told::by(world.rest(&world.shop.merchant, "four", Method::PATCH, &path).json(&body)).await;
    assert_same(&adjust().await, &adjust().await);
    assert_eq!(world.stock().await, "103");
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_stays_what_it_was() {
    let world = World::start().await;
    let (World { server, shop, .. }, customer) = (&world, &world.shop.customer);
    let first = world.order("one", 1).await;
    let created = world.rest_order("two", 1).await;
    for order in world.orders().await {
        server.mutate(customer, CANCEL, json!({ "id": order })).await;
    }
    let rename = "mutation($id: ID!) { productUpdate(id: $id, input: {name: \"Other\", price: \"1.00\"}) {
        product { name } userErrors { code } } }";
    let renamed = server.mutate(&shop.merchant, rename, json!({ "id": world.product })).await;
    assert_eq!(renamed["product"]["name"], "Other");
    assert_same(&first, &world.order("one", 1).await);
    assert_same(&created, &world.rest_order("two", 1).await);
    // The order of a JSON object's fields says nothing.
    let input = world.basket(1)["input"].to_string();
    let fields: Value = serde_json::from_str(&input).expect("JSON");
    let turned: Vec<_> =
        fields.as_object().expect("fields").iter().rev().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let body = format!(
        r#"{{"variables":{{"input":{{{}}}}},"query":{}}}"#,
        turned.join(","),
        Value::String(ORDER_CREATE.to_owned())
    );
    let request = server.request(Method::POST, "/graphql", customer).header(KEY, "one").body(body);
    assert_same(&first, &Told::by(request.header("content-type", "application/json")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request() {
    let world = World::start().await;
    assert_eq!(world.order("key", 1).await.outcome(), "OK");
    let expected = "this Idempotency-Key was used for a different request; use a new key for a new request";
    let other = world.order("key", 2).await;
    assert_eq!((other.answer.status, other.outcome(), other.message()), (200, "IDEMPOTENCY_KEY_REUSED", expected));
    let request = graphql(&world.server, &world.shop.customer, "key", ORDER_CREATE, world.basket(2));
    let other = Told::by(request.header("accept", GRAPHQL_JSON)).await;
    assert_eq!((other.answer.status, other.outcome()), (422, "IDEMPOTENCY_KEY_REUSED"), "{}", other.text);
    assert!(!other.is_replayed());
    // The same mutation by another document is another request.
    let other = world.rest_order("key", 1).await;
    assert_eq!((other.answer.status, other.outcome(), other.message()), (422, "IDEMPOTENCY_KEY_REUSED", expected));
    let other = world.graphql(&world.shop.customer, "key", &format!("{ORDER_CREATE} "), world.basket(1)).await;
    assert_eq!(other.outcome(), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(world.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_caller_and_one_operation() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let (other, _) = shop.another_customer(server, "other@example.com").await;
    let first = world.order("key", 1).await;
    let mut by_staff = world.basket(1);
    by_staff["input"]["customerId"] = json!(shop.customer_id);
    for (who, basket) in [(&other, world.basket(1)), (&shop.merchant, by_staff)] {
        let order = world.graphql(who, "key", ORDER_CREATE, basket.clone()).await;
        assert_eq!((order.outcome(), order.is_replayed()), ("OK", false), "{}", order.text);
        assert_ne!(order.text, first.text);
        assert_same(&order, &world.graphql(who, "key", ORDER_CREATE, basket).await);
    }
    let order = json!({"id": first.answer.body["data"]["orderCreate"]["order"]["id"]});
    let cancelled = world.graphql(&shop.customer, "key", CANCEL, order).await;
    assert_eq!((cancelled.outcome(), cancelled.is_replayed()), ("OK", false), "{}", cancelled.text);

    let elsewhere = server.shop("elsewhere").await;
    let register = async |who: &As| {
        let input = json!({"input": {"email": "new@example.com", "password": PASSWORD}});
        world.graphql(who, "key", REGISTER, input).await
    };
    let (here, there) = (register(&shop.shopper).await, register(&elsewhere.shopper).await);
    assert_eq!((there.outcome(), there.is_replayed()), ("OK", false), "{}", there.text);
    assert_ne!(here.text, there.text);
    assert_same(&here, &register(&shop.shopper).await);
    assert_same(&there, &register(&elsewhere.shopper).await);
    let orders = server.database.rows(elsewhere.id, "select count(*) from orders").await;
    assert_eq!((world.orders().await.len(), orders.concat().as_str()), (3, "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_tried_is_not_kept() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let invalid = world.basket(0);
    let without_codes = ORDER_CREATE.replace("code message", "message");
    for query in [ORDER_CREATE, &without_codes] {
        for _ in 0..2 {
            let refused = world.graphql(&shop.customer, "key", query, invalid.clone()).await;
            let payload = &refused.answer.body["data"]["orderCreate"];
            assert_eq!(payload["userErrors"][0]["field"], json!(["items", "0", "quantity"]), "{}", refused.text);
            assert!(!refused.is_replayed());
        }
    }
    for _ in 0..2 {
        let refused = world.rest_order("key", 0).await;
        assert_eq!((refused.answer.wrong_fields(), refused.is_replayed()), (vec!["items.0.quantity"], false));
    }
    for (who, code) in shop.but_users() {
        let refused = world.graphql(who, "key", ORDER_CREATE, world.basket(1)).await;
        assert_eq!((refused.outcome(), refused.is_replayed()), (code, false));
    }
    assert_eq!(world.kept().await, "0");
    // So the key is still good for the request as it should have been.
    assert_eq!(world.order("key", 1).await.outcome(), "OK");
    assert_eq!(server.database.rows(shop.id, "select count(*) from orders").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keys_are_refused() {
    let world = World::start().await;
    let too_long = "x".repeat(256);
    let malformed: [&[&[u8]]; 7] = [
        &[too_long.as_bytes()],
        &[b""],
        &[b"two words"],
        &[b"tab\tbed"],
        &["schl\u{fc}ssel".as_bytes()],
        &[b"once", b"twice"],
        &[b"once", b"once"],
    ];
    let expected = "Idempotency-Key: must be sent once, with 1 to 255 visible ASCII characters, like a UUID";
    for keys in malformed {
        let body = json!({"query": ORDER_CREATE, "variables": world.basket(1)});
        let by_graphql = world.server.request(Method::POST, "/graphql", &world.shop.customer).json(&body);
        let by_graphql = by_graphql.header("accept", GRAPHQL_JSON);
        let by_rest = world.server.request(Method::POST, "/api/v1/orders", &world.shop.customer);
        for request in [by_graphql, by_rest.json(&order_input(&[(world.product, 1)]))] {
            let request = keys.iter().fold(request, |request, key| request.header(KEY, *key));
            let refused = Told::by(request).await;
            assert_eq!((refused.answer.status, refused.outcome()), (400, "VALIDATION_ERROR"), "{keys:?}");
            assert_eq!(refused.message(), expected);
            let body = &refused.answer.body;
            let details = if body["error"].is_null() { &body["errors"][0]["extensions"] } else { &body["error"] };
            assert_eq!(details["details"]["fields"][0]["field"], "Idempotency-Key", "{}", refused.text);
        }
    }
    let longest = "~".repeat(255);
    assert_same(&world.order(&longest, 1).await, &world.order(&longest, 1).await);
    assert_eq!(world.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_mutation() {
    let world = World::start().await;
    let create =
        |alias: &str| format!("{alias}: orderCreate(input: $input) {{ order {{ id }} userErrors {{ code }} }}");
    let document = |selections: &str| format!("mutation($input: OrderCreateInput!) {{ {selections} }}");
    let both = document(&format!("{} {}", create("a"), create("b")));
    let spread = format!("{} fragment All on Mutation {{ {} }}", document("...All"), create("a"));
    let inline = document(&format!("... on Mutation {{ {} }}", create("a")));
    for query in [&both, &spread, &inline] {
        let refused = world.graphql(&world.shop.customer, "key", query, world.basket(1)).await;
        assert_eq!(refused.outcome(), "VALIDATION_ERROR", "{query}: {}", refused.text);
        assert!(refused.message().starts_with("Idempotency-Key: stands for one mutation"), "{}", refused.message());
    }
    assert_eq!((world.orders().await.len(), world.kept().await.as_str()), (0, "0"));

    let named = format!("{} query Read {{ __typename }}", document(&format!("__typename {}", create("a"))));
    let named = named.replacen("mutation", "mutation Write", 1);
    let ask = async || {
        let body = json!({"query": named, "variables": world.basket(1), "operationName": "Write"});
        let request = world.server.request(Method::POST, "/graphql", &world.shop.customer).header(KEY, "key");
        Told::by(request.json(&body)).await
    };
    let first = ask().await;
    assert_eq!(first.outcome(), "OK", "{}", first.text);
    assert_same(&first, &ask().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persisted_query_is_the_same_request_with_and_without_its_text() {
    use sha2::{Digest, Sha256};

    let world = World::start().await;
    let hash = format!("{:x}", Sha256::digest(ORDER_CREATE));
    let ask = async |key: &str, text: Option<&str>, hash: Option<&str>| {
        let mut body = json!({"variables": world.basket(1)});
        if let Some(text) = text {
            body["query"] = text.into();
        }
        if let Some(hash) = hash {
            body["extensions"] = json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
        }
        let request = world.server.request(Method::POST, "/graphql", &world.shop.customer).header(KEY, key);
        Told::by(request.json(&body)).await
    };
    let first = ask("key", Some(ORDER_CREATE), Some(&hash)).await;
    assert_eq!(first.outcome(), "OK", "{}", first.text);
    for (text, hash) in [(Some(ORDER_CREATE), None), (None, Some(&*hash)), (None, Some(&*hash.to_uppercase()))] {
        assert_same(&first, &ask("key", text, hash).await);
    }
    assert_eq!(world.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_is_registered_once() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    for (key, who) in [("nobody", &As::Nobody), ("shopper", &shop.shopper), ("admin", &shop.admin)] {
        let input = json!({"name": key, "subdomain": format!("new-{key}"), "adminEmail": "a@example.com",
            "adminPassword": PASSWORD});
        let register = || world.graphql(who, key, TENANT, json!({ "input": input }));
        let first = register().await;
        assert_eq!(first.outcome(), "OK", "{}", first.text);
        assert_same(&first, &register().await);
        let again = world.graphql(who, &format!("{key}-2"), TENANT, json!({ "input": input })).await;
        assert_eq!((again.outcome(), again.is_replayed()), ("CONFLICT", false), "{}", again.text);
        let mut other = input.clone();
        other["adminPassword"] = json!("quite-another-password");
        let other = world.graphql(who, key, TENANT, json!({ "input": other })).await;
        assert_eq!(other.outcome(), "IDEMPOTENCY_KEY_REUSED");
        assert!(!other.text.contains("pk_"), "{}", other.text);
    }
    let body =
        json!({"name": "Rest", "subdomain": "new-rest", "adminEmail": "a@example.com", "adminPassword": PASSWORD});
    let register = async || Told::by(world.rest(&As::Nobody, "rest", Method::POST, "/tenants").json(&body)).await;
    let (first, again) = (register().await, register().await);
    assert_eq!(first.answer.status, 201, "{}", first.text);
    assert_same(&first, &again);
    let mut hosts = text_rows(&server.database.as_superuser().await, "select subdomain from tenants").await;
    hosts.sort();
    assert_eq!(hosts, ["keyed", "new-admin", "new-nobody", "new-rest", "new-shopper"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_a_key_is_free_again() {
    let world = World::start().await;
    let age = async |hours: f64| {
        let age = format!("update idempotency_keys set created_at = now() - interval '1 hour' * {hours}");
        world.server.database.as_superuser().await.batch_execute(&age).await.expect("time goes by");
    };
    let first = world.order("key", 1).await;
    age(23.9).await;
    assert_same(&first, &world.order("key", 1).await);
    assert_eq!(world.order("key", 2).await.outcome(), "IDEMPOTENCY_KEY_REUSED");
    age(24.1).await;
    let second = world.order("key", 2).await;
    assert_eq!((second.outcome(), second.is_replayed()), ("OK", false), "{}", second.text);
    assert_same(&second, &world.order("key", 2).await);
    assert_eq!(world.order("key", 1).await.outcome(), "IDEMPOTENCY_KEY_REUSED");
    age(24.1).await;
    assert_once(&join_all((0..10).map(|_| world.order("key", 3))).await);
    assert_eq!(world.orders().await.len(), 3);
}
