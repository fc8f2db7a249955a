//! Rate limits: who is charged what, what the headers say, several replicas, and life without Redis.

use futures_util::future::join_all;
use mercato::config::Config;
use mercato::domain::limits::{Quota, Quotas};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::counter::Counter;
use crate::support::shop::PASSWORD;
use crate::support::{Answer, As, TestDatabase, TestServer, answer, tally};

/// So much for everybody, in an hour, so that nothing comes back while a test runs.
fn limited(config: &mut Config, units: u32) {
    let (quota, plenty) = (Quota::new(units, 3600), Quota::new(1_000_000, 1));
    config.server.quotas =
        Some(Quotas { anonymous: quota, customer: quota, staff: quota, service: quota, login: plenty, tenant: plenty });
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
}

fn quotas(config: &mut Config) -> &mut Quotas {
    config.server.quotas.as_mut().expect("limits")
}

/// An address that nobody else has: tests share a Redis.
fn address() -> String {
    let bits = Uuid::now_v7().as_u128();
    format!("fd00:{:x}:{:x}:{:x}::1", bits >> 96 & 0xffff, bits >> 80 & 0xffff, bits & 0xffff)
}

/// A server with so much for everybody, on a database where a shop is open already.
async fn with_shop(units: u32) -> (TestServer, crate::support::Shop) {
    let open = TestServer::start().await;
    let shop = open.shop("engines").await;
    (TestServer::on_database(open.database.clone(), |config| limited(config, units)).await, shop)
}

fn from(request: RequestBuilder, address: &str) -> RequestBuilder {
    request.header("x-forwarded-for", address)
}

/// The cheapest query.
async fn ask(server: &TestServer, who: &As, address: &str) -> Answer {
    let request = server.request(Method::POST, "/graphql", who).json(&json!({"query": "{ __typename }"}));
    answer(from(request, address)).await
}

fn seconds(answer: &Answer, header: &str) -> u64 {
    answer.header(header).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{header}: {answer:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_tell_what_is_left_and_when_to_come_back() {
    let (server, shop) = with_shop(30).await;
    let address = address();
    let ten = json!({"query": "{ products(first: 9) { nodes { id } } }"});
    for left in [20, 10, 0] {
        let request = server.request(Method::POST, "/graphql", &shop.shopper).json(&ten);
        let answer = answer(from(request, &address)).await;
        assert_eq!(answer.header("ratelimit-policy"), Some("\"anonymous\";q=30;w=3600"));
        let told = answer.header("ratelimit").expect("what is left");
        assert!(told.starts_with(&format!("\"anonymous\";r={left};t=")), "{told}");
        assert_eq!((answer.status, answer.header("retry-after")), (200, None));
        let cost = &answer.body["extensions"]["cost"];
        assert_eq!((&cost["requested"], &cost["limit"], &cost["remaining"]), (&json!(10), &json!(30), &json!(left)));
    }
    let graphql = ask(&server, &shop.shopper, &address).await;
    let error = &graphql.body["errors"][0];
    assert_eq!((graphql.status, graphql.outcome()), (429, "RATE_LIMITED"));
    assert_eq!((&error["extensions"]["retryable"], graphql.body.get("data")), (&json!(true), None));
    let rest = answer(from(server.request(Method::GET, "/api/v1/products?limit=1", &shop.shopper), &address)).await;
    assert_eq!((rest.status, rest.outcome()), (429, "RATE_LIMITED"));
    for (refused, details) in [(&graphql, &error["extensions"]["details"]), (&rest, &rest.body["error"]["details"])] {
        let wait = seconds(refused, "retry-after");
        assert!((1..=3600).contains(&wait), "{wait}");
        assert_eq!(details, &json!({ "retryAfter": wait }));
        assert!(refused.header("ratelimit").is_some_and(|told| told.starts_with("\"anonymous\";r=0;t=")));
    }
    let metrics = answer(server.request(Method::GET, "/metrics", &As::Nobody)).await.body.to_string();
    assert!(metrics.contains("rate_limited_total{policy=\\\"anonymous\\\"} 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_a_quota_of_their_own() {
    let (server, shop) = with_shop(2).await;
    let address = address();
    for who in [&shop.shopper, &shop.customer, &shop.merchant] {
        let answers =
            [ask(&server, who, &address).await, ask(&server, who, &address).await, ask(&server, who, &address).await];
        assert_eq!(answers.map(|answer| answer.status), [200, 200, 429], "{who:?}");
    }
    assert_eq!(ask(&server, &shop.shopper, &self::address()).await.status, 200, "another address");
    let neighbour = address.replace("::1", "::dead:beef");
    assert_eq!(ask(&server, &shop.shopper, &neighbour).await.status, 429, "another address of the same network");
    assert_eq!(ask(&server, &shop.customer, &self::address()).await.status, 429, "a user is the same everywhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shops_users_share_a_quota() {
    let open = TestServer::start().await;
    let (shop, other) = (open.shop("engines").await, open.shop("bridges").await);
    let change = |config: &mut Config| {
        limited(config, 1000);
        quotas(config).tenant = Quota::new(3, 3600);
    };
    let server = TestServer::on_database(open.database.clone(), change).await;
    let address = address();
    for (who, status) in [(&shop.customer, 200), (&shop.merchant, 200), (&shop.admin, 200), (&shop.customer, 429)] {
        assert_eq!(ask(&server, who, &address).await.status, status);
    }
    let refused = ask(&server, &shop.merchant, &address).await;
    assert_eq!(refused.header("ratelimit-policy"), Some("\"tenant\";q=3;w=3600"));
    assert_eq!(ask(&server, &other.customer, &address).await.status, 200, "another shop");
    assert_eq!(ask(&server, &shop.shopper, &address).await.status, 200, "shoppers are charged by address");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_addresses_count_from_trusted_proxies_only() {
    let (open, shop) = with_shop(1000).await;
    let nobody = |config: &mut Config| {
        limited(config, 4);
        config.server.trusted_proxies = Vec::new();
    };
    // Without a trusted proxy it is this machine, whatever it says, for all tests of this kind together.
    let server = TestServer::on_database(open.database.clone(), nobody).await;
    let mut statuses = vec![];
    for _ in 0..6 {
        statuses.push(ask(&server, &shop.shopper, &address()).await.status);
    }
    assert_eq!(statuses[4..], [429, 429], "{statuses:?}");
    assert_eq!(ask(&open, &shop.shopper, &address()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_keep_to_one_limit() {
    let (open, shop) = with_shop(1_000_000).await;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(TestServer::on_database(open.database.clone(), |config| limited(config, 1000)).await);
    }
    // From one user and from one address, faster than anything comes back, over all replicas at once.
    for who in [&shop.customer, &shop.shopper] {
        let address = address();
        let asks = (0..60).map(async |worker: usize| {
            let mut answers = Vec::new();
            for _ in 0..30 {
                answers.push(ask(&servers[worker % 3], who, &address).await);
            }
            answers
        });
        let answers = join_all(asks).await.concat();
        let tally = tally(&answers);
        let (admitted, refused) = (tally["OK"], tally["RATE_LIMITED"]);
        assert_eq!(admitted + refused, 1800);
        println!("{admitted} of 1000 were let in");
        // What was taken ahead by one replica can be lost to the others, and a few seconds bring a few back.
        assert!((900..=1010).contains(&admitted), "{admitted} of 1000 were let in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_replica_limits_by_itself() {
    let open = TestServer::start().await;
    let shop = open.shop("engines").await;
    let change = |config: &mut Config| {
        limited(config, 5);
        config.redis_url = "redis://127.0.0.1:1".into();
    };
    let server = TestServer::on_database(open.database.clone(), change).await;
    let address = address();
    let answers = join_all((0..40).map(|_| ask(&server, &shop.customer, &address))).await;
    assert_eq!(tally(&answers), [("OK", 5), ("RATE_LIMITED", 35)].into());
    let login = json!({"subdomain": "engines", "email": "customer@example.com", "password": PASSWORD});
    let login = from(server.request(Method::POST, "/api/v1/auth/login", &As::Nobody).json(&login), &self::address());
    assert_eq!(answer(login).await.outcome(), "RATE_LIMITED", "a mutation costs more than there is");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_charged_by_what_they_cost() {
    let (server, shop) = with_shop(100).await;
    let address = address();
    let cost = async |query: &str| {
        let request = server.request(Method::POST, "/graphql", &shop.customer).json(&json!({ "query": query }));
        answer(from(request, &address)).await
    };
    let list = cost("{ products(first: 30) { nodes { id price { amount } } } }").await;
    let told = &list.body["extensions"]["cost"];
    assert_eq!((&told["requested"], &told["remaining"]), (&json!(61), &json!(39)), "{told}");
    let refused = cost("{ products(first: 30) { nodes { id price { amount } } } }").await;
    assert_eq!(refused.outcome(), "RATE_LIMITED");
    assert_eq!(refused.body["extensions"]["cost"]["remaining"], 39, "nothing was taken");
    assert_eq!(cost("{ products(first: 30) { nodes { id } } }").await.outcome(), "OK");
    let never = cost("{ products(first: 100) { nodes { id price { amount } } } }").await;
    let message = "this costs 201, more than the 100 that may be used at once; ask for less";
    assert_eq!((never.outcome(), &never.body["errors"][0]["message"]), ("RATE_LIMITED", &json!(message)));
    let aliases = (0..20)
        .map(|i| format!("a{i}: products(first: 100) {{ nodes {{ price {{ amount }} inventory {{ id }} }} }} "))
        .collect::<Vec<_>>()
        .concat();
    let dear = cost(&format!("{{ {aliases} }}")).await;
    assert_eq!(dear.outcome(), "VALIDATION_ERROR");
    let message = "query: costs 6020, and may cost 5000 at most; ask for smaller pages or fewer objects";
    assert_eq!(dear.body["errors"][0]["message"], message);
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
async fn giving_passwords_has_a_limit_for_each_address() {
    let database = TestDatabase::create().await;
    let change = |config: &mut Config| {
        limited(config, 100_000);
        quotas(config).login = Quota::new(3, 3600);
    };
    let server = TestServer::on_database(database, change).await;
    let post = async |path: &str, key: Option<&str>, body: &Value, address: &str| {
        let request = server.request(Method::POST, path, &As::Nobody).json(body);
        let request = key.into_iter().fold(request, |request, key| request.header("x-tenant", key));
        answer(from(request, address)).await
    };
    let tenant =
        json!({"name": "Engines", "subdomain": "engines", "adminEmail": "ada@example.com", "adminPassword": PASSWORD});
    let login = json!({"subdomain": "engines", "email": "ada@example.com", "password": PASSWORD});
    let register = json!({"query": "mutation { customerRegister(input: {email: \"bob@example.com\", password: \"a long enough password\"}) { userErrors { code } } }"});
    let address = address();
    assert_eq!(post("/api/v1/tenants", None, &tenant, &address).await.status, 201);
    assert_eq!(post("/api/v1/auth/login", None, &login, &address).await.status, 200);
    assert_eq!(post("/graphql", Some("engines"), &register, &address).await.outcome(), "OK");
    // GraphQL has begun to execute by then.
    for (path, key, body, status) in [
        ("/api/v1/tenants", None, &tenant, 429),
        ("/api/v1/auth/login", None, &login, 429),
        ("/graphql", Some("engines"), &register, 200),
    ] {
        let refused = post(path, key, body, &address).await;
        assert_eq!((refused.status, refused.outcome()), (status, "RATE_LIMITED"), "{path}");
        assert_eq!(refused.header("ratelimit-policy"), Some("\"login\";q=3;w=3600"));
        assert!(seconds(&refused, "retry-after") > 0);
    }
    assert_eq!(post("/api/v1/auth/login", None, &login, &self::address()).await.status, 200);
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
    let asks: [(&str, Ask<'_>); 8] = [
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
