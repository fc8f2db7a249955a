//! Canaries: texts that are planted in every input of every operation, and then looked for where they must not be.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::{text_rows, variable};
use crate::support::operations::{Input, Operation, put};
use crate::support::payments::{SECRETS, event};
use crate::support::process::Serving;
use crate::support::samples::Goods;
use crate::support::shop::PASSWORD;
use crate::support::stripe::StandIn;
use crate::support::{Answer, As, Shop, TestServer, answer};

/// In every canary.
const MARK: &str = "7d1f9ca0";
/// In every password, token and key that is planted: nobody is ever shown it again, not even who sent it.
const SECRET: &str = "hush7d1f9ca0";
const CARD: &str = "4000056655665556";
const STRIPE_KEY: &str = "sk_test_hush7d1f9ca0";

/// What is planted in this input, fit to be taken where that is possible.
fn canary(input: &Input, number: usize) -> Value {
    let name = input.name().to_lowercase();
    json!(match input.kind.as_str() {
        _ if name.contains("password") => format!("{SECRET}-a-long-password"),
        _ if name.contains("token") => format!("rt_{SECRET}"),
        _ if name.contains("email") => format!("canary{number}.{MARK}@example.com"),
        "String" if name.contains("subdomain") || name == "tenant" => format!("canary{number}-{MARK}"),
        "String" if name.contains("url") => format!("https://example.com/{MARK}-{number}.png"),
        "String" if name == "country" => "GB".to_owned(),
        "String" if matches!(name.as_str(), "after" | "before" | "zip") => format!("{MARK}{number}"),
        "String" => format!("Canary {number} {MARK} {CARD}"),
        _ => format!("{MARK}-{number}"),
    })
}

/// A client whose every request has canaries in its headers.
fn client(idempotency_key: Option<&str>) -> reqwest::Client {
    let garbage = format!("canary {MARK} <{CARD}>");
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"));
    };
    for name in ["x-request-id", "user-agent", "referer", "x-forwarded-for", "traceparent", "origin", "x-anything"] {
        add(name, &garbage);
    }
    add("cookie", &format!("session={SECRET}"));
    add("proxy-authorization", &format!("Basic {SECRET}"));
    if let Some(key) = idempotency_key {
        add("idempotency-key", key);
    }
    reqwest::Client::builder().default_headers(headers).build().expect("a client")
}

/// Operations after which the caller is somebody else, or nobody: they come last.
fn ends_access(operation: &Operation) -> bool {
    ["logout", "passwordChange", "/auth/logout"].iter().any(|name| operation.name.ends_with(name))
}

/// Those who come in, and those who do not, with canaries in all that they send.
struct Planting {
    server: TestServer,
    shop: Shop,
    goods: Goods,
    /// What is wrong with answers.
    wrongs: Vec<String>,
    planted: usize,
}

impl Planting {
    fn note(&mut self, what: &str, answer: &Answer) {
        self.planted += 1;
        let headers = format!("{:?}", answer.headers);
        for text in [answer.body.to_string(), headers] {
            if text.contains(SECRET) || text.contains("INTERNAL") {
                self.wrongs.push(format!("{what}: {} {text:.500}", answer.status));
            }
        }
    }

    /// Every input by itself, then all at once, then with a key that makes it safe to send again.
    async fn operation(&mut self, operation: &Operation) {
        let Some(sample) = self.goods.arguments(&operation.name, &self.shop) else {
            panic!("no arguments for {}", operation.name);
        };
        let mut all = sample.clone();
        let who = self.shop.admin.clone();
        self.server.http = client(None);
        for input in &operation.inputs {
            let value = canary(input, self.planted);
            let mut one = sample.clone();
            put(&mut one, &input.path, value.clone());
            let answer = operation.call(&self.server, &who, &one).await;
            self.note(&format!("{} {}", operation.name, input.path.join(".")), &answer);
            if input.kind == "String" && !input.name().contains("urrentPassword") {
                put(&mut all, &input.path, value);
            }
        }
        if operation.changes && !ends_access(operation) {
            self.server.http = client(Some(&format!("{SECRET}-{}", Uuid::now_v7())));
        }
        let answer = operation.call(&self.server, &who, &all).await;
        self.note(&format!("{}, everything", operation.name), &answer);
    }

    /// Credentials of every kind that are none.
    async fn credentials(&mut self) {
        for (name, value) in [
            ("authorization", format!("Bearer {SECRET}")),
            ("authorization", format!("Bearer {SECRET}.{SECRET}.{SECRET}")),
            ("authorization", format!("Bearer {}x{SECRET}", self.shop.admin.token())),
            ("authorization", format!("Basic {SECRET}")),
            ("authorization", format!("Bearer {SECRET} {SECRET}")),
            ("x-api-key", format!("pk_{SECRET}")),
            ("x-tenant", SECRET.to_owned()),
            ("idempotency-key", format!("{SECRET}{}", "x".repeat(300))),
            ("stripe-signature", format!("t=1,v1={SECRET}")),
        ] {
            let query = json!({"query": "mutation { logout(input: {}) { loggedOut } }"});
            let graphql = self.server.request(Method::POST, "/graphql", &As::Nobody).header(name, &value).json(&query);
            self.note(name, &answer(graphql).await);
            let rest = self.server.request(Method::POST, "/api/v1/products", &As::Nobody).header(name, &value);
            self.note(name, &answer(rest.json(&json!({"name": MARK}))).await);
            let stripe = self.server.request(Method::POST, "/api/v1/webhooks/stripe", &As::Nobody);
            self.note(name, &answer(stripe.header(name, &value).body(format!("{{\"card\": \"{SECRET}\"}}"))).await);
        }
    }

    /// Requests that are none, events, and paths.
    async fn oddities(&mut self) {
        let literal = format!(
            "mutation {{ login(input: {{tenant: \"t\", email: \"{MARK}@example.com\", password: \"{SECRET}\"}})"
        );
        for query in [
            format!("{literal} {{ accessToken userErrors {{ message }} }} }}"),
            format!("{literal} {{ accessToken }}"),
            format!("{literal} {{ nothing }} }}"),
            literal,
        ] {
            let answer = self.server.graphql(&As::Nobody, &query, json!({"password": SECRET})).await;
            self.note(&query, &answer);
        }
        for path in [format!("/{MARK}"), format!("/products/{MARK}"), format!("/products?search={MARK}&{MARK}={CARD}")]
        {
            let answer = self.server.rest(&self.shop.admin, Method::GET, &path, None).await;
            self.note(&path, &answer);
        }
        for kind in ["payment_intent.succeeded", "charge.refunded", "payment_intent.payment_failed", MARK] {
            let card = json!({"id": format!("pi_{MARK}"), "client_secret": SECRET, "last_payment_error": {"message": SECRET},
                "billing_details": {"name": format!("Canary {MARK}"), "email": format!("{MARK}@example.com")},
                "payment_method_details": {"card": {"number": CARD}}, "payment_intent": format!("pi_{MARK}")});
            let answer = self.server.stripe_says(&event(kind, &card)).await;
            self.note(kind, &answer);
        }
    }
}

/// What others get to see, by both transports and on purpose with errors.
async fn seen_by_others(server: &TestServer, other: &Shop) -> String {
    let mut seen = vec![];
    for who in [&other.admin, &other.shopper, &As::Nobody] {
        for query in [
            "{ products { nodes { name sku } } orders { nodes { customerName customerEmail } } }",
            "{ users { nodes { email } } auditLogs { nodes { changes } } }",
            "{ nothing }",
            "mutation { tenantRegister(input: {name: \"x\", subdomain: \"planted\", adminEmail: \"x\", adminPassword: \"x\"}) { userErrors { message details } } }",
        ] {
            let answer = server.graphql(who, query, json!({})).await;
            seen.push(format!("{} {:?}", answer.body, answer.headers));
        }
        for path in ["/products", "/orders", "/nothing", "/products/x"] {
            let answer = server.rest(who, Method::GET, path, None).await;
            seen.push(format!("{} {:?}", answer.body, answer.headers));
        }
    }
    seen.join("\n")
}

/// Every key in Redis with its value, as text.
async fn redis_contents() -> BTreeMap<String, String> {
    let client = redis::Client::open(variable("REDIS_URL")).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("Redis");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("keys");
    let mut contents = BTreeMap::new();
    for key in keys {
        let value = redis_value(&mut redis, &key).await;
        contents.insert(key, value);
    }
    contents
}

async fn redis_value(redis: &mut MultiplexedConnection, key: &str) -> String {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(redis).await.expect("a type");
    let command = match kind.as_str() {
        "string" => redis::cmd("GET").arg(key).to_owned(),
        "hash" => redis::cmd("HGETALL").arg(key).to_owned(),
        "set" => redis::cmd("SMEMBERS").arg(key).to_owned(),
        "list" => redis::cmd("LRANGE").arg(key).arg(0).arg(-1).to_owned(),
        "zset" => redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).to_owned(),
        "none" => return String::new(),
        other => panic!("nobody reads a {other} here"),
    };
    let value: redis::Value = command.query_async(redis).await.expect("a value");
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        redis::Value::Array(values) => {
            let text = |value: &redis::Value| redis::from_redis_value_ref::<Vec<u8>>(value).unwrap_or_default();
            values.iter().map(|value| String::from_utf8_lossy(&text(value)).into_owned() + " ").collect()
        }
        other => format!("{other:?}"),
    }
}

/// Where a text has any of these, with what is around it.
fn found<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lines = secrets.into_iter().flat_map(|secret| text.lines().filter(move |line| line.contains(secret)));
    lines.map(|line| format!("{line:.600}")).take(10).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_is_found_nowhere_else() {
    let further = [("STRIPE_SECRET_KEY", STRIPE_KEY), ("STRIPE_WEBHOOK_SECRET", &SECRETS.join(","))];
    let mut serving = Serving::start_with(&further).await;
    let shop = serving.server.shop("planted").await;
    let other = serving.server.shop("other").await;
    let goods = Goods::new(&serving.server, &shop).await;
    let stand_in = TestServer::at(serving.server.url.clone(), serving.server.database.clone(), StandIn::start().await);
    let server = std::mem::replace(&mut serving.server, stand_in);
    let mut planting = Planting { server, shop: shop.clone(), goods, wrongs: vec![], planted: 0 };
    let (last, first): (Vec<_>, Vec<_>) = Operation::all().await.into_iter().partition(ends_access);
    for operation in first {
        planting.operation(&operation).await;
    }
    planting.server.http = client(None);
    planting.credentials().await;
    planting.oddities().await;
    for operation in last {
        planting.operation(&operation).await;
    }
    let Planting { server: mut plain, goods, wrongs, planted, .. } = planting;
    assert!(planted > 200, "{planted}");
    assert!(wrongs.is_empty(), "{} answers:\n{}", wrongs.len(), wrongs.join("\n"));

    plain.http = reqwest::Client::new();
    let control = plain.request(Method::GET, "/api/v1/products", &other.admin).header("x-request-id", "the-control");
    assert_eq!(answer(control).await.status, 200);
    assert_eq!(found(&seen_by_others(&plain, &other).await, [MARK, CARD]), Vec::<String>::new(), "to others");
    let metrics = answer(plain.http.get(format!("{}/metrics", plain.url))).await.body.to_string();
    assert!(metrics.contains("http_requests_total"));
    assert_eq!(found(&metrics, [MARK, CARD, "@", PASSWORD]), Vec::<String>::new(), "metrics");
    let key = shop.shopper.headers()[0].1.clone();
    let [seed, machine] = made(&plain, &other).await;
    let data_key = std::fs::read_to_string(variable("DATA_ENCRYPTION_KEY_FILE")).expect("the key of secrets");
    let genuine = [shop.admin.token(), shop.customer.token(), &key, &goods.refresh_token, PASSWORD, STRIPE_KEY];
    let genuine = [&genuine[..], &[seed.as_str(), machine.as_str(), data_key.trim()]].concat();
    tables_are_clean(&plain, &genuine).await;
    redis_is_clean(&shop, &genuine).await;

    serving.ask_to_stop();
    let (status, output, errors) = serving.ended().await;
    assert!(status.success(), "{errors}");
    assert!(output.contains("\"the-control\"") && output.contains("\"TRACE\""), "all is logged that can be");
    let never = [MARK, CARD, "@example.com", "argon2", "PRIVATE KEY", "Bearer ", SECRETS[0], "Lovelace", "St James"];
    let never = never.into_iter().chain(genuine);
    assert_eq!(found(&format!("{output}\n{errors}"), never), Vec::<String>::new(), "the log");
    println!("{planted} requests with canaries");
}

/// The seed of a second factor and the key of a machine, which has been used.
async fn made(server: &TestServer, shop: &Shop) -> [String; 2] {
    let make =
        "mutation { mfaSetup { secret } serviceAccountCreate(input: {name: \"till\", scopes: [ORDERS_READ]}) { key } }";
    let made = server.data(&shop.admin, make, json!({})).await;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("a secret: {made:#}")).to_owned();
    let [seed, key] = [text(&made["mfaSetup"]["secret"]), text(&made["serviceAccountCreate"]["key"])];
    let used = server.rest(&As::Token(key.clone()), Method::GET, "/orders", None).await;
    assert_eq!(used.status, 200, "{:#}", used.body);
    [seed, key]
}

/// Passwords, tokens and keys are in no table as they are, and personal data only where it belongs.
async fn tables_are_clean(server: &TestServer, genuine: &[&str]) {
    let superuser = server.database.as_superuser().await;
    let audit = text_rows(&superuser, "select resource || ' ' || changes::text from audit_logs").await;
    assert!(audit.iter().any(|row| row.starts_with("products ") && row.contains(MARK)), "products are audited in full");
    // What is sold and what the shop is called is for everybody to see, and what its machines are called says who it was.
    let named = ["products ", "tenants ", "service_accounts "];
    let private: Vec<_> = audit.iter().filter(|row| !named.iter().any(|name| row.starts_with(name))).collect();
    assert!(private.iter().any(|row| row.starts_with("orders ")), "orders are audited");
    let private = private.into_iter().cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(found(&private, [MARK, CARD, "@"]), Vec::<String>::new(), "audit rows");
    let answers =
        text_rows(&superuser, "select fingerprint || ' ' || response from idempotency_keys where response is not null")
            .await;
    assert!(!answers.is_empty(), "answers are kept");
    assert_eq!(found(&answers.join("\n"), [MARK, CARD, "@", "{"]), Vec::<String>::new(), "idempotency rows");
    // The key of a request is no secret to the shop, and is kept as it is; so is the shop's own API key.
    let contents = server.database.contents(None).await;
    let rows = contents.iter().filter(|row| !row.starts_with("idempotency_keys: "));
    let rows = rows.cloned().collect::<Vec<_>>().join("\n");
    let secrets = genuine.iter().copied().filter(|secret| !secret.starts_with("pk_")).chain([SECRET]);
    assert_eq!(found(&rows, secrets), Vec::<String>::new(), "tables");
}

/// In Redis are hashes and ids.
async fn redis_is_clean(shop: &Shop, genuine: &[&str]) {
    let contents = redis_contents().await;
    let ours: Vec<_> = contents.iter().filter(|(key, _)| key.contains(&shop.id.to_string())).collect();
    assert!(ours.iter().any(|(key, _)| key.contains("session")), "sessions are in Redis: {:?}", contents.keys());
    let ours: Vec<_> = ours.into_iter().map(|(key, value)| format!("{key} {value}")).collect();
    assert_eq!(found(&ours.join("\n"), ["@", "Lovelace", "argon2"]), Vec::<String>::new(), "Redis");
    let all: Vec<_> = contents.iter().map(|(key, value)| format!("{key} {value}")).collect();
    assert_eq!(found(&all.join("\n"), genuine.iter().copied().chain([MARK, CARD])), Vec::<String>::new(), "Redis");
}
