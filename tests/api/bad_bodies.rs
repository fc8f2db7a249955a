//! Bodies, URLs and queries that are no requests at all, and texts that come back as they were sent.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::operations::percent_encoded;
use crate::support::{Answer, As, Shop, TestServer, answer};

/// Where bodies go.
const ROUTES: [(Method, &str); 5] = [
    (Method::POST, "/graphql"),
    (Method::POST, "/api/v1/auth/login"),
    (Method::POST, "/api/v1/orders"),
    (Method::POST, "/api/v1/products"),
    (Method::PATCH, "/api/v1/products/0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42"),
];

async fn send(server: &TestServer, shop: &Shop, route: &(Method, &str), content_type: &str, body: Vec<u8>) -> Answer {
    let request = server.request(route.0.clone(), route.1, &shop.admin);
    answer(request.header("content-type", content_type).body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("bodies").await;
    let nested = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat().into_bytes();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("blank", b"  \n".to_vec()),
        ("half", br#"{"query": "#.to_vec()),
        ("not UTF-8", b"{\"query\": \"\xff\xfe\", \"name\": \"\xff\"}".to_vec()),
        ("overlong UTF-8", b"{\"query\": \"\xc0\x80\", \"name\": \"\xc0\x80\"}".to_vec()),
        ("a lone high surrogate", br#"{"query": "\ud800", "name": "\ud800"}"#.to_vec()),
        ("a lone low surrogate", br#"{"query": "\udc00x", "name": "\udc00x"}"#.to_vec()),
        ("a raw control character", b"{\"query\": \"\x01\", \"name\": \"\x01\"}".to_vec()),
        ("deep arrays", nested("[", "]")),
        ("deep objects", nested("{\"query\":", "}")),
        ("deep in a field", [br#"{"variables": {"x": "#.to_vec(), nested("[", "]"), b"}}".to_vec()].concat()),
        ("two values", b"{} {}".to_vec()),
        ("NaN", br#"{"query": NaN, "price": NaN}"#.to_vec()),
        ("a huge number", br#"{"query": 1e999, "price": 1e999}"#.to_vec()),
        ("a byte-order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("a text", br#""query""#.to_vec()),
        ("null", b"null".to_vec()),
        (
            "the same field twice",
            br#"{"query": "{viewer{id}}", "query": "", "name": "a", "name": "b", "email": "a", "email": "b"}"#.to_vec(),
        ),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec()),
    ];
    for route in &ROUTES {
        for (what, body) in &bodies {
            let refused = send(&server, &shop, route, "application/json", body.clone()).await;
            assert_eq!(
                (refused.status, refused.outcome()),
                (400, "VALIDATION_ERROR"),
                "{what} to {route:?}: {}",
                refused.body
            );
        }
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "multipart/form-data; boundary=x",
            "json",
        ] {
            let refused = send(&server, &shop, route, content_type, b"{}".to_vec()).await;
            assert_eq!(
                (refused.status, refused.outcome()),
                (415, "UNSUPPORTED_MEDIA_TYPE"),
                "{content_type} to {route:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_ten_megabytes_is_too_large() {
    let server = TestServer::start().await;
    let shop = server.shop("large").await;
    let body = json!({"query": "x".repeat(10_000_000), "name": "x", "email": "x"}).to_string();
    for route in &ROUTES {
        let refused = send(&server, &shop, route, "application/json", body.clone().into_bytes()).await;
        assert_eq!((refused.status, refused.outcome()), (413, "PAYLOAD_TOO_LARGE"), "{route:?}");
    }
    let health = answer(server.request(Method::GET, "/health", &As::Nobody)).await;
    assert_eq!(health.status, 200);
}

/// A guess a field: what repeats a root field is refused before any of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_logins_in_one_request_are_refused() {
    let server = TestServer::start().await;
    let guess =
        |n: usize| format!("a{n}: login(input: {{tenant: \"x\", email: \"x\", password: \"{n}\"}}) {{ accessToken }} ");
    let guesses = |n: usize| format!("mutation {{ {} }}", (0..n).map(guess).collect::<String>());
    for n in [21, 1000] {
        let refused = server.graphql(&As::Nobody, &guesses(n), json!({})).await;
        assert_eq!(refused.outcome(), "VALIDATION_ERROR");
        let message = refused.body["errors"][0]["message"].as_str().expect("a message");
        assert!(message.contains("more than 20 root fields") || n == 1000, "{message}");
    }
    assert_eq!(server.graphql(&As::Nobody, &guesses(20), json!({})).await.outcome(), "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_broken_queries_are_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("queries").await;
    let deep_product = "inventory { product { ".repeat(5000);
    let queries = [
        ("nested fields", format!("{{ products {{ nodes {{ {deep_product} id {} }} }} }}", "} }".repeat(5000))),
        ("nested braces", "{".repeat(10_000)),
        (
            "nested lists",
            format!(
                "{{ products(filter: {{search: {}1{}}}) {{ totalCount }} }}",
                "[".repeat(10_000),
                "]".repeat(10_000)
            ),
        ),
        (
            "nested objects",
            format!("{{ products(filter: {}1{}) {{ totalCount }} }}", "{search: ".repeat(10_000), "}".repeat(10_000)),
        ),
        ("nested fragments", format!("{{ {} id {} }}", "... on Query { ".repeat(10_000), "}".repeat(10_000))),
        (
            "a list type without end",
            format!("query($x: {}Int{}) {{ viewer {{ id }} }}", "[".repeat(10_000), "]".repeat(10_000)),
        ),
        ("a fragment of itself", "{ ...A } fragment A on Query { ...A }".to_owned()),
        ("fragments of each other", "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".to_owned()),
        ("an unknown fragment", "{ ...A }".to_owned()),
        ("an unknown field", "{ nothing }".to_owned()),
        ("an unknown argument", "{ products(limit: 1) { totalCount } }".to_owned()),
        ("an unknown enum value", "{ products(sort: {field: COLOUR}) { totalCount } }".to_owned()),
        ("an unknown directive", "{ viewer @nope { id } }".to_owned()),
        ("an undeclared variable", "{ node(id: $id) { id } }".to_owned()),
        ("no selection", "{ viewer }".to_owned()),
        ("a selection of a scalar", "{ viewer { id { id } } }".to_owned()),
        ("a subscription", "subscription { x }".to_owned()),
        ("two operations", "query A { viewer { id } } query B { viewer { id } }".to_owned()),
        ("no text at all", "# nothing".to_owned()),
        ("a NUL", "{ viewer\0 { id } }".to_owned()),
        ("an open text", "{ product(identifier: {sku: \"x}) { id } }".to_owned()),
        ("a lone surrogate", r#"{ product(identifier: {sku: "\ud800"}) { id } }"#.to_owned()),
        ("a huge number", "{ products(first: 99999999999999999999999999) { totalCount } }".to_owned()),
    ];
    for (what, query) in queries {
        let refused = server.graphql(&shop.admin, &query, json!({})).await;
        assert!(matches!(refused.status, 200 | 400), "{what}: {}", refused.status);
        assert_eq!(refused.outcome(), "VALIDATION_ERROR", "{what}: {:#}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_urls_are_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("urls").await;
    let paths = [
        "/api/v1/products?search=%ff%fe",
        "/api/v1/products?search=%00",
        "/api/v1/products?category=%00",
        "/api/v1/products?%ff=1",
        "/api/v1/products?limit=5&limit=6",
        "/api/v1/products?limit",
        "/api/v1/products/%ff",
        "/api/v1/products/%00",
        "/api/v1/orders/..%2f..%2fetc",
        "/graphql?query=%ff",
        "/graphql?query=%00",
        "/graphql?query={viewer{id}}&variables=[",
        "/graphql?query={viewer{id}}&query={tenant{id}}",
        "/graphql?query={viewer{id}}&operationName=%00",
    ];
    for path in paths {
        let request =
            server.request(Method::GET, path, &shop.admin).header("accept", "application/graphql-response+json, */*");
        let refused = answer(request).await;
        assert_eq!((refused.status, refused.outcome()), (400, "VALIDATION_ERROR"), "{path}: {:#}", refused.body);
    }
    let long = format!("/api/v1/products?search={}", "x".repeat(60_000));
    let refused = answer(server.request(Method::GET, &long, &shop.admin)).await;
    assert!(StatusCode::from_u16(refused.status).expect("a status").is_client_error(), "{}", refused.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_come_back_as_they_were_sent() {
    let server = TestServer::start().await;
    let shop = server.shop("texts").await;
    let texts = [
        "مرحبا بالعالم",
        "\u{202e}right to left\u{202c} שלום",
        "𝒳 😀 👩‍👩‍👧 🏳️‍🌈",
        "e\u{301} and é are not the same",
        "line\r\nbreak\tand tab",
        "quote ' \" \\ ` $1 %s {{x}} <b>&amp;</b>",
        "\u{feff}bom \u{200b}zero",
    ];
    for (index, text) in texts.into_iter().enumerate() {
        let new =
            json!({"name": text, "description": text, "category": text, "sku": format!("{index} {text}"), "price": 1});
        let created = server.rest(&shop.merchant, Method::POST, "/products", Some(new.clone())).await;
        assert_eq!(created.status, 201, "{text:?}: {:#}", created.body);
        let query = "query($sku: String!, $category: String!) { product(identifier: {sku: $sku}) { name description category sku }
            products(filter: {category: $category}) { totalCount } }";
        let read = server.data(&shop.shopper, query, json!({"sku": new["sku"], "category": text})).await;
        for field in ["name", "description", "category", "sku"] {
            assert_eq!(created.body["data"][field], new[field]);
            assert_eq!(read["product"][field], new[field]);
        }
        assert_eq!(read["products"]["totalCount"], 1, "{text:?}");
        let path = format!("/products?category={}", percent_encoded(text));
        let listed = server.rest(&shop.shopper, Method::GET, &path, None).await;
        assert_eq!(listed.body["data"][0]["name"], Value::from(text));
    }
    for (word, found) in [("שלום", 1), ("مرحبا", 1), ("بالعا", 1), ("😀", 0)] {
        let count = "query($search: String!) { products(filter: {search: $search}) { totalCount } }";
        let data = server.data(&shop.shopper, count, json!({ "search": word })).await;
        assert_eq!(data["products"]["totalCount"], found, "{word}");
    }
}
