//! The router as clients see it, with a database and a Redis that are out of reach.

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::*;
use crate::app;
use crate::config::{self, Config};
use crate::services::tokens;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

fn state() -> Arc<HttpState> {
    static KEY: LazyLock<String> = LazyLock::new(|| tokens::generate_private_key().unwrap());
    let mut server = config::for_dev().unwrap().server;
    (server.database_pool_size, server.database_pool_wait) = (1, Duration::from_millis(50));
    // Nothing listens on port 1.
    let config = Config {
        server,
        database_url: "postgres://nobody@127.0.0.1:1/none".into(),
        migration_database_url: None,
        redis_url: "redis://127.0.0.1:1".into(),
        jwt_private_key: KEY.as_str().into(),
        data_encryption_keys: vec!["3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=".into()],
        stripe_secret_key: "sk_test".into(),
        stripe_webhook_secrets: vec!["whsec_test".into()],
    };
    let services = app::services(&config).unwrap();
    let schema = crate::graphql::schema();
    let arguments = crate::graphql::Arguments::of(&schema).unwrap();
    let engine = Engine { schema, arguments, services, timeout: Duration::from_secs(30) };
    let settings = Settings {
        base_domain: Some("mercato.test".to_owned()),
        max_body_bytes: 70_000,
        trusted_proxies: Vec::new(),
        body_timeout: Duration::from_secs(30),
        origins: None,
        introspection: true,
        graphiql: Some(Bytes::from_static(b"<!doctype html>")),
    };
    Arc::new(HttpState::new(Arc::new(engine), settings))
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: impl axum::http::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status, and the code of the first error.
    fn outcome(&self) -> (u16, Value) {
        (self.status, self.json()["errors"][0]["extensions"]["code"].clone())
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status, headers, body }
}

async fn fetch(router: &Router, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header(ACCEPT, accept).body(Body::empty());
    send(router, request.unwrap()).await
}

async fn post(router: &Router, accept: &str, body: impl Into<String>) -> Answer {
    let request = Request::post("/graphql").header(ACCEPT, accept).header(CONTENT_TYPE, JSON);
    send(router, request.body(Body::from(body.into())).unwrap()).await
}

#[tokio::test]
async fn the_status_depends_on_the_fault_and_on_the_media_type() {
    let router = router(&state());
    for (body, graphql, json) in [
        (json!({"query": "{ __typename }"}), 200, 200),
        (json!({"query": "{"}), 400, 200),
        (json!({"query": "{ nothing }"}), 400, 200),
        (json!({"query": "query ($id: ID!) { __typename }"}), 400, 200),
        (json!({"query": "query A { __typename } query B { __typename }"}), 400, 200),
        (json!({"query": "{ __typename }", "operationName": "A"}), 400, 200),
        (json!({"query": "{ __typename }", "variables": []}), 400, 400),
        (json!({"operationName": "A"}), 400, 400),
        (json!([{"query": "{ __typename }"}]), 400, 400),
        (json!({"query": format!("{{ a(b: {} }}", "[".repeat(9_000))}), 400, 400),
        (json!({"query": "{ ...A } fragment A on Query { ...A ...A }"}), 400, 400),
        (json!({"query": "#".repeat(65_537)}), 400, 400),
        (json!({"query": "#".repeat(70_001)}), 413, 413),
    ] {
        for (accept, status) in [(GRAPHQL, graphql), (JSON, json)] {
            let answer = post(&router, accept, body.to_string()).await;
            assert_eq!(answer.status, status, "{accept}: {}", answer.body);
            assert_eq!(answer.header(CONTENT_TYPE), format!("{accept}; charset=utf-8"));
            assert_eq!(answer.header(CACHE_CONTROL), "no-store");
            assert_eq!(answer.json().get("data").is_some(), graphql == 200, "{}", answer.body);
            if graphql != 200 {
                let error = &answer.json()["errors"][0]["extensions"];
                let code = if status == 413 { "PAYLOAD_TOO_LARGE" } else { "VALIDATION_ERROR" };
                assert_eq!(error["code"], code);
                assert_eq!(error["requestId"], answer.header("x-request-id"));
            }
        }
    }
}

#[tokio::test]
async fn failed_fields_leave_the_status_alone() {
    let router = router(&state());
    let answer = post(&router, GRAPHQL, json!({"query": "{ products { totalCount } }"}).to_string()).await;
    assert_eq!(answer.outcome(), (200, json!("UNAUTHENTICATED")));
    assert_eq!(answer.json().get("data"), Some(&Value::Null));
}

#[tokio::test]
async fn wrong_credentials_are_401_where_the_client_knows_what_that_means() {
    let router = router(&state());
    for (accept, status) in [(GRAPHQL, 401), (JSON, 200)] {
        let request = Request::get("/graphql?query=%7B__typename%7D").header(ACCEPT, accept);
        let request = request.header("authorization", "Bearer not.a.token").body(Body::empty());
        let answer = send(&router, request.unwrap()).await;
        assert_eq!(answer.outcome(), (status, json!("UNAUTHENTICATED")));
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
}

#[tokio::test]
async fn failures_of_ours_are_5xx_in_every_media_type() {
    let router = router(&state());
    for accept in [GRAPHQL, JSON] {
        let request = Request::get("/graphql?query=%7B__typename%7D").header(ACCEPT, accept);
        let request = request.header(HOST, "shop.mercato.test:3000").body(Body::empty());
        let answer = send(&router, request.unwrap()).await;
        assert_eq!(answer.outcome(), (503, json!("SERVICE_UNAVAILABLE")));
        assert_eq!(answer.json()["errors"][0]["extensions"]["retryable"], true);
    }
}

#[tokio::test]
async fn get_runs_queries_and_no_mutations() {
    let router = router(&state());
    let query = fetch(&router, "/graphql?query=%7B__typename%7D&variables=&operationName=", GRAPHQL).await;
    assert_eq!((query.status, &query.json()["data"]), (200, &json!({"__typename": "Query"})));
    for accept in [GRAPHQL, JSON] {
        let mutation = "/graphql?query=query%20A%7B__typename%7D%20mutation%20B%7B__typename%7D&operationName=B";
        let answer = fetch(&router, mutation, accept).await;
        assert_eq!(answer.outcome(), (405, json!("METHOD_NOT_ALLOWED")));
        assert_eq!(answer.header(ALLOW), "POST");
    }
    let other = send(&router, Request::put("/graphql").body(Body::empty()).unwrap()).await;
    assert_eq!(other.outcome(), (405, json!("METHOD_NOT_ALLOWED")));
    assert_eq!(other.header(ALLOW), "GET,HEAD,POST");
}

#[tokio::test]
async fn media_types_that_we_do_not_speak_are_refused() {
    let router = router(&state());
    let answer = fetch(&router, "/graphql?query=%7B__typename%7D", "text/event-stream").await;
    assert_eq!(answer.outcome(), (406, json!("UNSUPPORTED_MEDIA_TYPE")));
    let form = Request::post("/graphql").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = send(&router, form.body(Body::from("query={__typename}")).unwrap()).await;
    assert_eq!(answer.outcome(), (415, json!("UNSUPPORTED_MEDIA_TYPE")));
}

#[tokio::test]
async fn a_registered_document_is_found_by_its_hash() {
    let router = router(&state());
    let query = "query Persisted { __typename }";
    let hash = format!("{:x}", Sha256::digest(query));
    let by_hash = |hash: &str| json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash}}});
    let with_text = |text: &str| {
        let mut request = by_hash(&hash);
        request["query"] = text.into();
        request.to_string()
    };
    let unknown = post(&router, GRAPHQL, by_hash(&hash).to_string()).await;
    assert_eq!(unknown.outcome(), (200, json!("PERSISTED_QUERY_NOT_FOUND")));
    assert_eq!(unknown.json()["errors"][0]["message"], "PersistedQueryNotFound");

    assert_eq!(post(&router, GRAPHQL, with_text("{ __typename }")).await.outcome(), (400, json!("VALIDATION_ERROR")));
    assert_eq!(post(&router, GRAPHQL, with_text(query)).await.status, 200);
    let found = post(&router, GRAPHQL, by_hash(&hash.to_uppercase()).to_string()).await;
    assert_eq!(found.json()["data"]["__typename"], "Query");

    for hash in ["", "abc", &"é".repeat(32), &"+1".repeat(32)] {
        let answer = post(&router, GRAPHQL, by_hash(hash).to_string()).await;
        assert_eq!(answer.outcome(), (400, json!("VALIDATION_ERROR")), "{hash}");
    }
}

#[tokio::test]
async fn browsers_get_pages_and_programs_get_json() {
    let router = router(&state());
    assert_eq!(fetch(&router, "/graphql", BROWSER).await.body, "<!doctype html>");
    assert_eq!(fetch(&router, "/", BROWSER).await.header(LOCATION), "/graphql");
    assert_eq!(fetch(&router, "/", "*/*").await.json()["graphql"], "/graphql");
}

#[tokio::test]
async fn the_documentation_loads_nothing_from_elsewhere() {
    let router = router(&state());
    let page = fetch(&router, "/docs/", BROWSER).await;
    assert!(page.header(CONTENT_SECURITY_POLICY).starts_with("default-src 'none';"));
    assert!(!page.body.contains("=\"http") && !page.body.contains("=\"//"), "{}", page.body);
    let settings = fetch(&router, "/docs/swagger-initializer.js", "*/*").await.body;
    assert!(settings.contains(r#""url": "/openapi.json""#) && settings.contains(r#""validatorUrl": "none""#));
    assert!(fetch(&router, "/openapi.json", "*/*").await.json()["paths"].is_object());
}

#[tokio::test]
async fn what_does_not_exist_is_told_in_the_envelope() {
    let router = router(&state());
    for path in ["/nothing", "/api/v1/nothing", "/graphql/nothing"] {
        let answer = fetch(&router, path, "*/*").await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("NOT_FOUND")), "{path}");
        assert_eq!(answer.json()["success"], false);
        assert_eq!(answer.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
    }
    for path in ["/health", "/api/v1/health", "/openapi.json", "/"] {
        let answer = send(&router, Request::delete(path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (405, &json!("METHOD_NOT_ALLOWED")), "{path}");
        assert_eq!(answer.header(ALLOW), "GET,HEAD");
    }
}

#[tokio::test]
async fn monitoring_finds_what_it_asks_for() {
    let router = router(&state());
    for prefix in ["", "/api/v1"] {
        let health = fetch(&router, &format!("{prefix}/health"), "*/*").await;
        assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));
        let ready = fetch(&router, &format!("{prefix}/ready"), "*/*").await;
        let gone = r#"{"status":"error","db":"error","redis":"error"}"#;
        assert_eq!((ready.status, ready.body.as_str()), (503, gone));
        let metrics = fetch(&router, &format!("{prefix}/metrics"), "*/*").await;
        let line = format!(r#"http_requests_total{{method="GET",path="{prefix}/ready",status="503",tenant_id=""}} 1"#);
        assert!(metrics.body.lines().any(|other| other == line), "{}", metrics.body);
    }
    let keys = fetch(&router, "/.well-known/jwks.json", "*/*").await;
    assert_eq!(keys.header(CACHE_CONTROL), "public, max-age=300");
    assert_eq!(keys.json()["keys"][0]["alg"], "RS256");
}

#[tokio::test]
async fn metrics_never_show_a_raw_path() {
    let router = router(&state());
    for path in ["/private", "/api/v1/private", "/api/v1/products/private", "/docs/private"] {
        fetch(&router, path, "*/*").await;
    }
    let metrics = fetch(&router, "/metrics", "*/*").await.body;
    assert!(!metrics.contains("private"), "{metrics}");
    assert!(
        metrics.contains(r#"path="unmatched""#) && metrics.contains(r#"path="/api/v1/products/{id}""#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let router = router(&state());
    for (sent, taken) in [("abc-1.2_3", true), ("", false), ("a b", false), (&"a".repeat(65), false)] {
        let request = Request::get("/health").header("x-request-id", sent).body(Body::empty());
        let answer = send(&router, request.unwrap()).await;
        let id = answer.header("x-request-id");
        assert_eq!(id == sent, taken, "{sent}");
        assert!(!id.is_empty());
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_in_the_shape_of_its_transport() {
    async fn broken() -> StatusCode {
        panic!("secret detail")
    }

    let state = state();
    let router = Router::new()
        .route("/graphql", get(broken))
        .route("/api/v1/broken", get(broken))
        .layer(from_fn(observe::survive))
        .layer(from_fn_with_state(state, observe::observe));
    let graphql = fetch(&router, "/graphql", "*/*").await;
    assert_eq!(graphql.outcome(), (500, json!("INTERNAL")));
    let rest = fetch(&router, "/api/v1/broken", "*/*").await;
    assert_eq!((rest.status, &rest.json()["error"]["code"]), (500, &json!("INTERNAL")));
    for answer in [graphql, rest] {
        assert!(!answer.body.contains("secret"), "{}", answer.body);
        assert!(!answer.header("x-request-id").is_empty());
    }
}
