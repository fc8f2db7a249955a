//! What is around every request: its id, its log line, health and metrics, and how the process stops.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::text_rows;
use crate::support::expect::until;
use crate::support::process::Serving;
use crate::support::shop::{ORDER_CREATE, PASSWORD, order_input};
use crate::support::{As, TestServer, answer};

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_say_what_is_agreed() {
    let server = TestServer::start().await;
    for prefix in ["", "/api/v1"] {
        let health = answer(server.request(Method::GET, &format!("{prefix}/health"), &As::Nobody)).await;
        assert_eq!((health.status, health.body), (200, json!({"status": "ok"})));
        let ready = answer(server.request(Method::GET, &format!("{prefix}/ready"), &As::Nobody)).await;
        assert_eq!((ready.status, ready.body), (200, json!({"status": "ready", "db": "ok", "redis": "ok"})));
    }
    // Nobody listens there.
    let no_redis = TestServer::start_with(|config| config.redis_url = "redis://127.0.0.1:1".into()).await;
    let no_database =
        TestServer::start_with(|config| config.database_url = "postgresql://mercato_app@127.0.0.1:1/none".into()).await;
    for (server, db, redis) in [(no_redis, "ok", "error"), (no_database, "error", "ok")] {
        let ready = answer(server.request(Method::GET, "/ready", &As::Nobody)).await;
        assert_eq!((ready.status, &ready.body["db"], &ready.body["redis"]), (503, &json!(db), &json!(redis)));
        assert_ne!(ready.body["status"], "ready");
        let health = answer(server.request(Method::GET, "/health", &As::Nobody)).await;
        assert_eq!(health.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_requests_by_pattern_and_orders_by_status() {
    let server = TestServer::start().await;
    let shop = server.shop("counted").await;
    let product = shop.product(&server, "A", "1.00", 5).await;
    shop.order(&server, &shop.customer, &[(product, 1)]).await;
    server.rest(&shop.shopper, Method::GET, &format!("/products/{product}"), None).await;
    server.rest(&As::Nobody, Method::GET, "/no/such/route-canary?query-canary", None).await;
    let metrics = answer(server.request(Method::GET, "/metrics", &As::Nobody)).await;
    assert!(metrics.header("content-type").is_some_and(|value| value.starts_with("text/plain; version=0.0.4")));
    let text = metrics.body.as_str().expect("text");
    let tenant = shop.id;
    for line in [
        format!(
            "http_requests_total{{method=\"GET\",path=\"/api/v1/products/{{id}}\",status=\"200\",tenant_id=\"{tenant}\"}} 1"
        ),
        format!("orders_total{{status=\"PENDING\",tenant_id=\"{tenant}\"}} 1"),
    ] {
        assert!(text.lines().any(|present| present == line), "{line} in:\n{text}");
    }
    let series =
        "http_request_duration_seconds_bucket{method=\"GET\",path=\"/api/v1/products/{id}\",status=\"200\",le=\"";
    let bounds: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(series)?.split('"').next()).collect();
    assert_eq!(bounds, ["0.01", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "+Inf"]);
    assert!(!text.contains("canary"), "{text}");
    assert!(!text.contains(&product.to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_taken_or_made_and_always_returned() {
    let server = TestServer::start().await;
    let shop = server.shop("tracked").await;
    let asked = |path: &str, id: Option<&str>| {
        let request = server.request(Method::GET, path, &shop.admin);
        answer(match id {
            Some(id) => request.header("x-request-id", id),
            None => request,
        })
    };
    let paths = [
        "/health",
        "/api/v1/products",
        "/api/v1/orders/x",
        "/api/v1/none",
        "/none",
        "/graphql",
        "/graphql?query={viewer{id}}",
    ];
    for path in paths {
        let taken = asked(path, Some("the-clients.own_ID-1")).await;
        assert_eq!(taken.header("x-request-id"), Some("the-clients.own_ID-1"), "{path}");
        for malformed in [None, Some(""), Some("two words"), Some("quote'"), Some("x".repeat(65).as_str()), Some("é")]
        {
            let made = asked(path, malformed).await;
            let id = made.header("x-request-id").expect("an id");
            assert!(id.parse::<uuid::Uuid>().is_ok(), "{path} {malformed:?}: {id}");
            assert_eq!(made.headers.iter().filter(|(name, _)| name == "x-request-id").count(), 1);
        }
    }
    let failed = asked("/graphql?query={nothing}", Some("told-1")).await;
    assert_eq!(failed.body["errors"][0]["extensions"]["requestId"], "told-1");
    // It ties the audit log to the request.
    let rename = json!({"query": "mutation { tenantUpdate(input: {name: \"New\"}) { userErrors { code } } }"});
    let renamed =
        server.request(Method::POST, "/graphql", &shop.admin).header("x-request-id", "audited-1").json(&rename);
    assert_eq!(answer(renamed).await.outcome(), "OK");
    let audited =
        server.data(&shop.admin, "{ auditLogs(first: 1) { nodes { requestId userId action } } }", json!({})).await;
    let expected = json!({"requestId": "audited-1", "userId": shop.admin_id, "action": "UPDATE"});
    assert_eq!(audited["auditLogs"]["nodes"][0], expected);
}

/// Everything that may never be logged, planted wherever a client can put it.
#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_line_without_secrets() {
    let serving = Serving::start().await;
    let server = &serving.server;
    let shop = server.shop("logged").await;
    let As::Shopper(api_key) = &shop.shopper else { panic!("a shopper has a key") };
    let As::Token(token) = &shop.admin else { panic!("an admin has a token") };
    let canary = "canary-9b7f3a";
    let email = format!("{canary}@example.com");
    let account = json!({"subdomain": "logged", "email": email, "password": canary});
    server.rest(&As::Nobody, Method::POST, "/auth/login", Some(account.clone())).await;
    server.rest(&As::Nobody, Method::POST, "/tenants", Some(account)).await;
    shop.another_customer(server, &email).await;
    let product = shop.product(server, "P", "1.00", 5).await;
    let mut basket = order_input(&[(product, 1)]);
    basket["customerEmail"] = json!(email);
    basket["customerName"] = json!(canary);
    server.mutate(&shop.customer, ORDER_CREATE, json!({ "input": basket })).await;
    server.graphql(&As::Token(format!("{canary}.{canary}.{canary}")), "{ viewer { id } }", json!({})).await;
    server.graphql(&As::Shopper(canary.into()), "{ tenant { id } }", json!({})).await;
    server.graphql(&shop.admin, &format!("{{ {} }}", canary.replace('-', "_")), json!({"password": canary})).await;
    for path in [
        format!("/products?search={canary}"),
        format!("/{canary}/{email}"),
        format!("/products/{canary}?{canary}={canary}"),
    ] {
        server.rest(&shop.shopper, Method::GET, &path, None).await;
    }
    let last =
        answer(server.request(Method::GET, "/api/v1/products", &shop.admin).header("x-request-id", "last-one")).await;
    assert_eq!(last.status, 200);
    let admin_id = shop.admin_id;
    serving.ask_to_stop();
    let (status, output, errors) = serving.ended().await;
    assert!(status.success(), "{errors}");
    for secret in
        [canary, &canary.replace('-', "_"), api_key, token, PASSWORD, "@example.com", "argon2", "PRIVATE KEY", "Bearer"]
    {
        let found: Vec<_> = output.lines().chain(errors.lines()).filter(|line| line.contains(secret)).collect();
        assert!(found.is_empty(), "{secret}: {found:?}");
    }
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line.get("statusCode").is_some()).collect();
    assert!(requests.len() > 15, "{output}");
    for line in &requests {
        let keys: Vec<_> = line.as_object().expect("an object").keys().cloned().collect();
        let agreed = [
            "correlationId",
            "duration",
            "level",
            "message",
            "method",
            "path",
            "statusCode",
            "tenantId",
            "timestamp",
            "userId",
        ];
        assert_eq!(keys, agreed, "{line}");
    }
    let line = requests.iter().find(|line| line["correlationId"] == "last-one").expect("the last request");
    let told =
        [&line["level"], &line["method"], &line["path"], &line["statusCode"], &line["tenantId"], &line["userId"]];
    assert_eq!(
        told.map(Clone::clone),
        [json!("INFO"), json!("GET"), json!("/api/v1/products"), json!(200), json!(shop.id), json!(admin_id)]
    );
    assert!(line["duration"].as_f64().is_some_and(|duration| duration > 0.0), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_running_request_finish() {
    let serving = Serving::start().await;
    let server = &serving.server;
    let shop = server.shop("stopping").await;
    let product = shop.product(server, "P", "1.00", 5).await;
    // The order has to wait for the stock's row.
    let mut superuser = server.database.as_superuser().await;
    let watcher = server.database.as_superuser().await;
    let lock = superuser.transaction().await.expect("a transaction");
    lock.batch_execute("select from inventory for update").await.expect("a lock");
    let body = json!({"query": ORDER_CREATE, "variables": {"input": order_input(&[(product, 1)])}});
    let ordering = tokio::spawn(answer(server.request(Method::POST, "/graphql", &shop.customer).json(&body)));
    let waiting = "select from pg_stat_activity where datname = current_database() and usename = 'mercato_app' and wait_event_type = 'Lock'";
    until("the order waits", 10, async || !text_rows(&watcher, waiting).await.is_empty()).await;
    serving.ask_to_stop();
    let address = server.url.trim_start_matches("http://").to_owned();
    until("no new connection is accepted", 10, async || tokio::net::TcpStream::connect(&address).await.is_err()).await;
    assert!(!ordering.is_finished());
    lock.rollback().await.expect("the lock is gone");
    let ordered = ordering.await.expect("no panic");
    assert_eq!((ordered.status, ordered.outcome()), (200, "OK"), "{:#}", ordered.body);
    let (status, _, errors) = serving.ended().await;
    assert!(status.success(), "{errors}");
}
