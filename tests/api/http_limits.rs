//! What the open internet sends: other origins' pages, compressed bodies and bombs, and questions about the schema.

use std::io::Read;

use brotli::enc::BrotliEncoderParams;
use chrono::Utc;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::future::join_all;
use mercato::config::Origins;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::payments::{SECRETS, signature};
use crate::support::process::ServerProcess;
use crate::support::stripe::StandIn;
use crate::support::{Answer, As, Shop, TestDatabase, TestServer, answer};

const SHOP: &str = "https://shop.example.com";
const LOGIN: &str = "/api/v1/auth/login";
const CODINGS: [&str; 3] = ["gzip", "br", "deflate"];

fn preflight(server: &TestServer, path: &str, origin: &str) -> RequestBuilder {
    server
        .request(Method::OPTIONS, path, &As::Nobody)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key")
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_listed_origins_may_ask_and_read() {
    let listed = Origins::Listed(vec![SHOP.to_owned(), "http://localhost:5173".to_owned()]);
    let server = TestServer::start_with(|config| config.server.cors_allowed_origins = Some(listed)).await;
    for path in ["/graphql", "/api/v1/products", "/api/v1/nothing"] {
        let told = answer(preflight(&server, path, SHOP)).await;
        assert_eq!((told.status, told.header("access-control-allow-origin")), (200, Some(SHOP)), "{path}");
        let methods = told.header("access-control-allow-methods").expect("methods");
        assert!(["GET", "POST", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
        let sent = told.header("access-control-allow-headers").expect("headers");
        for header in
            ["authorization", "content-type", "x-api-key", "x-tenant", "x-request-id", "idempotency-key", "traceparent"]
        {
            assert!(sent.contains(header), "{header}: {sent}");
        }
        assert_eq!(told.header("access-control-max-age"), Some("7200"));
        assert!(told.header("x-request-id").is_some());
        assert_eq!(told.header("access-control-allow-credentials"), None);
        for origin in
            ["https://evil.example", "null", "https://shop.example.com.evil.example", "http://shop.example.com"]
        {
            let told = answer(preflight(&server, path, origin)).await;
            assert_eq!(told.header("access-control-allow-origin"), None, "{origin}");
        }
    }
    // Refusals can be read as well, and what caches keep is kept for each origin.
    for (path, token) in [("/graphql?query=%7B__typename%7D", ""), ("/api/v1/products", "x.y.z"), ("/none", "")] {
        let ask = |origin: &str| {
            let request = server.request(Method::GET, path, &As::Nobody).header("origin", origin);
            answer(if token.is_empty() { request } else { request.bearer_auth(token) })
        };
        let read = ask(SHOP).await;
        assert_eq!(read.header("access-control-allow-origin"), Some(SHOP), "{path}");
        assert!(read.header("access-control-expose-headers").is_some_and(|told| {
            ["x-request-id", "idempotent-replayed", "retry-after", "ratelimit", "ratelimit-policy"]
                .iter()
                .all(|header| told.contains(header))
        }));
        let stranger = ask("https://evil.example").await;
        assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (read.status, None));
        for told in [&read, &stranger] {
            let varies = told.headers.iter().any(|(name, value)| name == "vary" && value.contains("origin"));
            assert!(varies, "{path}: {:?}", told.headers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_no_other_origin_may_read_and_with_a_star_all_may() {
    let closed = TestServer::start().await;
    let refused = answer(preflight(&closed, "/graphql", SHOP)).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (405, None));
    let open = TestServer::start_with(|config| config.server.cors_allowed_origins = Some(Origins::Any)).await;
    let told = answer(preflight(&open, "/graphql", SHOP)).await;
    let headers = ["access-control-allow-origin", "access-control-allow-credentials"].map(|name| told.header(name));
    assert_eq!((told.status, headers), (200, [Some("*"), None]));
}

/// Status, headers and the bytes as they came.
async fn raw(request: RequestBuilder) -> (reqwest::Response, Vec<u8>) {
    let mut response = request.send().await.expect("an answer");
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("a body") {
        bytes.extend_from_slice(&chunk);
    }
    (response, bytes)
}

fn unpacked(coding: &str, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => GzDecoder::new(packed).read_to_end(&mut plain).expect("gzip"),
        "br" => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain).expect("brotli"),
        _ => panic!("{coding}"),
    };
    plain
}

fn header(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_packed_for_those_who_accept_it() {
    let server = TestServer::start().await;
    let shop = server.shop("packed").await;
    for number in 0..12 {
        shop.product(&server, &format!("P-{number}"), "1.00", 5).await;
    }
    let query = "/graphql?query=%7Bproducts%7Bnodes%7Bid%20sku%20name%20description%20isActive%20createdAt%7D%7D%7D";
    for path in ["/api/v1/products", query, "/openapi.json", "/docs/swagger-ui.css"] {
        let (plain, expected) = raw(server.request(Method::GET, path, &shop.shopper)).await;
        assert!(expected.len() > 1024, "{path}");
        assert_eq!(header(&plain, "content-encoding"), "");
        for coding in ["gzip", "br"] {
            let ask = |method| server.request(method, path, &shop.shopper).header("accept-encoding", coding);
            let (packed, bytes) = raw(ask(Method::GET)).await;
            assert_eq!(
                (packed.status().as_u16(), header(&packed, "content-encoding").as_str()),
                (200, coding),
                "{path}"
            );
            assert!(bytes.len() * 2 < expected.len(), "{path}: {} of {}", bytes.len(), expected.len());
            assert_eq!(header(&packed, "content-length"), bytes.len().to_string());
            assert!(unpacked(coding, &bytes) == expected, "{path} {coding}");
            for name in ["content-type", "cache-control"] {
                assert_eq!(header(&packed, name), header(&plain, name), "{path}");
            }
            let head = ask(Method::HEAD).send().await.expect("an answer");
            for told in [&plain, &packed, &head] {
                assert!(header(told, "vary").contains("accept-encoding"), "{path}: {:?}", told.headers());
            }
        }
    }
    // Short ones are not, nor what is packed already; and nothing that was done is taken back by what is accepted.
    let health = raw(server.request(Method::GET, "/health", &As::Nobody).header("accept-encoding", "gzip")).await;
    assert_eq!((header(&health.0, "content-encoding").as_str(), &health.1[..]), ("", &br#"{"status":"ok"}"#[..]));
    let page = raw(server.request(Method::GET, "/graphql", &As::Nobody).header("accept", "text/html")).await.1;
    let page = String::from_utf8(page).expect("text");
    let asset = page.split('"').find(|part| part.contains("react.js")).expect("a script");
    let asset = raw(server.request(Method::GET, asset, &As::Nobody).header("accept-encoding", "br, gzip")).await;
    assert_eq!(header(&asset.0, "content-encoding"), "gzip");
    assert!(unpacked("gzip", &asset.1).len() > 5000);
    let nothing = server.request(Method::GET, "/api/v1/products", &shop.shopper).header("accept-encoding", "*;q=0");
    assert_eq!(answer(nothing).await.status, 200);
}

fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
    packed_from(coding, &mut &*plain)
}

fn packed_from(coding: &str, plain: &mut impl Read) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            std::io::copy(plain, &mut encoder).expect("memory");
            encoder.finish().expect("memory")
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            std::io::copy(plain, &mut encoder).expect("memory");
            encoder.finish().expect("memory")
        }
        _ => {
            let mut bytes = Vec::new();
            let params = BrotliEncoderParams { quality: 5, ..BrotliEncoderParams::default() };
            brotli::BrotliCompress(plain, &mut bytes, &params).expect("memory");
            bytes
        }
    }
}

fn post(server: &TestServer, who: &As, path: &str, coding: &str, body: Vec<u8>) -> RequestBuilder {
    let request = server.request(Method::POST, path, who).header("content-type", "application/json");
    let request = request.header("accept", "application/graphql-response+json, application/json");
    request.header("content-encoding", coding).body(body)
}

/// The outcome, which must have the shape of its route.
fn outcome(path: &str, answer: &Answer) -> (u16, String) {
    if path == "/graphql" {
        assert_eq!(answer.errors().len(), 1, "{:#}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/graphql-response+json; charset=utf-8"));
    } else {
        answer.failure();
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    (answer.status, answer.outcome().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_may_come_packed() {
    let server = TestServer::start().await;
    let shop = server.shop("unpacked").await;
    for coding in CODINGS {
        let product = json!({"name": coding.repeat(20), "sku": coding, "price": 1}).to_string();
        let body = packed(coding, product.as_bytes());
        let created = answer(post(&server, &shop.merchant, "/api/v1/products", coding, body)).await;
        assert_eq!((created.status, &created.body["data"]["sku"]), (201, &json!(coding)), "{:#}", created.body);
        let query = json!({"query": "query($sku: String!) { product(identifier: {sku: $sku}) { name } }", "variables": {"sku": coding}});
        let body = packed(coding, query.to_string().as_bytes());
        let found = answer(post(&server, &shop.shopper, "/graphql", coding, body)).await;
        assert_eq!(found.body["data"]["product"]["name"], json!(coding.repeat(20)));
    }
    let plain = br#"{"query": "{ __typename }", "email": "x"}"#;
    for path in ["/graphql", LOGIN] {
        for coding in ["zstd", "compress", "gzip, br", "GZIP,gzip", "é"] {
            let refused = answer(post(&server, &As::Nobody, path, coding, plain.to_vec())).await;
            assert_eq!(outcome(path, &refused), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()), "{coding}");
        }
        for coding in CODINGS {
            let cut = packed(coding, plain);
            for body in [plain.to_vec(), cut[..cut.len() - 1].to_vec(), cut[..5].to_vec()] {
                let refused = answer(post(&server, &As::Nobody, path, coding, body)).await;
                assert_eq!(outcome(path, &refused), (400, "VALIDATION_ERROR".to_owned()), "{coding}");
            }
        }
    }
    // Stripe signs what it sends, not what it means.
    let event = json!({"id": "evt_1", "type": "unknown", "data": {"object": {}}}).to_string();
    for coding in ["gzip", "zstd"] {
        let signed = post(&server, &As::Nobody, "/api/v1/webhooks/stripe", coding, event.clone().into_bytes());
        let received = answer(signed.header("stripe-signature", signature(SECRETS[0], &event, Utc::now()))).await;
        assert_eq!((received.status, received.outcome()), (200, "OK"), "{coding}: {:#}", received.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_in_little_memory_while_others_are_served() {
    const SIZE: u64 = 1000 << 20;
    const SPARE: u64 = 300 << 20;
    let process = ServerProcess::with_stripe(TestDatabase::create().await, StandIn::start().await).await;
    let server = &process.server;
    // What is always there is there before.
    server.graphql(&As::Nobody, "{ __typename }", json!({})).await;
    let before = process.memory_peak();
    let bombs = CODINGS.map(|coding| (coding, packed_from(coding, &mut std::io::repeat(b' ').take(SIZE))));
    let thrown = bombs.iter().flat_map(|(coding, bomb)| {
        assert!(bomb.len() <= 1 << 20, "{coding}: {} bytes are too many before they are unpacked", bomb.len());
        // All at once: together they would be 48 gigabytes.
        ["/graphql", LOGIN].into_iter().cycle().take(16).map(move |path| async move {
            let refused = answer(post(server, &As::Nobody, path, coding, bomb.clone())).await;
            assert_eq!(outcome(path, &refused), (413, "PAYLOAD_TOO_LARGE".to_owned()), "{coding}");
        })
    });
    let mut served = 0;
    tokio::select! {
        _ = join_all(thrown) => {}
        () = async {
            loop {
                assert_eq!(answer(server.request(Method::GET, "/health", &As::Nobody)).await.status, 200);
                served += 1;
            }
        } => {}
    }
    assert!(served > 0);
    let more = process.memory_peak() - before;
    assert!(more < SPARE, "{} MiB more", more >> 20);
}

const SCHEMA: &str = "{ __schema { types { name } } }";

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_told_or_kept() {
    let open = TestServer::start().await;
    let told = open.data(&As::Nobody, SCHEMA, json!({})).await;
    assert!(told["__schema"]["types"].as_array().is_some_and(|types| types.len() > 50));
    let misspelt = "{ viewr { id } product(identifer: {sku: \"a\"}) { id } }";
    assert!(open.graphql(&As::Nobody, misspelt, json!({})).await.body.to_string().contains("Did you mean"));

    let closed = TestServer::start_with(|config| config.server.introspection_enabled = false).await;
    let shop = closed.shop("reticent").await;
    for query in [
        SCHEMA,
        "query IntrospectionQuery { __schema { queryType { name } } }",
        "{ a: __type(name: \"Product\") { fields { name } } }",
        "{ ... on Query { __schema { types { name } } } }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { __schema { types { name } } }",
        "query($yes: Boolean = true) { __schema @include(if: $yes) { types { name } } }",
    ] {
        let refused = closed.graphql(&shop.admin, query, json!({})).await;
        assert_eq!((refused.status, refused.outcome()), (403, "FORBIDDEN"), "{query}: {:#}", refused.body);
        assert!(!refused.body.to_string().contains("Product"), "{:#}", refused.body);
    }
    let by_get = answer(closed.request(Method::GET, "/graphql?query=%7B__schema%7Btypes%7Bname%7D%7D%7D", &shop.admin));
    assert_eq!(by_get.await.status, 403);
    let misspelt = closed.graphql(&As::Nobody, misspelt, json!({})).await;
    assert_eq!(misspelt.outcome(), "VALIDATION_ERROR");
    assert!(!misspelt.body.to_string().contains("Did you mean"), "{:#}", misspelt.body);
    let named = closed.data(&shop.admin, "{ __typename viewer { __typename id } }", json!({})).await;
    assert_eq!((&named["__typename"], &named["viewer"]["__typename"]), (&json!("Query"), &json!("User")));
    assert_eq!(closed.rest(&shop.shopper, Method::GET, "/products", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_refused_as_such() {
    let server = TestServer::start().await;
    let one = json!({"query": "{ __typename }"});
    for batch in [json!([]), json!([one]), json!([one, one])] {
        let refused = answer(server.request(Method::POST, "/graphql", &As::Nobody).json(&batch)).await;
        assert_eq!((refused.status, refused.outcome()), (400, "VALIDATION_ERROR"));
        assert!(refused.body.to_string().contains("batches are not supported"), "{:#}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_what_not_to_do() {
    let listed = Origins::Listed(vec![SHOP.to_owned()]);
    let server = TestServer::start_with(|config| config.server.cors_allowed_origins = Some(listed)).await;
    let shop: Shop = server.shop("headed").await;
    let get = |path: &str| server.request(Method::GET, path, &shop.shopper);
    let html = "text/html,*/*;q=0.8";
    let answers = [
        ("a list", get("/api/v1/products"), false),
        ("a query", get("/graphql?query=%7B__typename%7D"), false),
        ("an error", get("/api/v1/orders"), false),
        ("no route", get("/none"), false),
        ("no method", server.request(Method::PUT, "/graphql", &As::Nobody), false),
        ("health", get("/health"), false),
        ("metrics", get("/metrics"), false),
        ("keys", get("/.well-known/jwks.json"), false),
        ("a preflight", preflight(&server, "/graphql", SHOP), false),
        ("a late refusal", post(&server, &As::Nobody, LOGIN, "zstd", b"{}".to_vec()), false),
        ("too much", post(&server, &As::Nobody, LOGIN, "identity", vec![b' '; 2 << 20]), false),
        ("GraphiQL", get("/graphql").header("accept", html), true),
        ("the documentation", get("/docs/").header("accept", html), true),
    ];
    for (what, request, is_page) in answers {
        let told = answer(request).await;
        let names = ["x-content-type-options", "x-frame-options", "referrer-policy"];
        assert_eq!(names.map(|name| told.header(name)), ["nosniff", "DENY", "no-referrer"].map(Some), "{what}");
        let policy = told.header("content-security-policy").unwrap_or_else(|| panic!("{what} has a policy"));
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(policy.contains("script-src 'self'"), is_page, "{what}: {policy}");
        assert_eq!(told.headers.iter().filter(|(name, _)| name == "content-security-policy").count(), 1, "{what}");
    }
}
