//! Rate limits: who is charged what, what the headers say, several replicas, and life without Redis.

use futures_util::future::join_all;
use mercato::config::Config;
use mercato::domain::limits::Quota;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::quotas::{address, ask, from, limited, quotas, seconds, with_shop};
use crate::support::shop::PASSWORD;
use crate::support::{As, TestDatabase, TestServer, answer, tally};

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

/// One customer of a provider can have thousands of networks, each of which would be somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_ipv6_has_a_quota_too() {
    let (server, shop) = with_shop(5).await;
    let site = address().split(':').take(3).collect::<Vec<_>>().join(":");
    let mut answers = Vec::new();
    for network in 0..100 {
        answers.push(ask(&server, &shop.shopper, &format!("{site}:{network:x}::1")).await);
    }
    let admitted = tally(&answers)["OK"];
    // Sixteen times five, of which one that was taken ahead may be lost.
    assert!((78..=81).contains(&admitted), "{admitted} were let in");
    assert_eq!(ask(&server, &shop.shopper, &address()).await.status, 200, "another site");
}

#[tokio::test(flavor = "multi_thread")]
async fn shops_are_registered_now_and_then() {
    let change = |config: &mut Config| {
        limited(config, 100_000);
        quotas(config).register = Quota::new(2, 3600);
    };
    let server = TestServer::on_database(TestDatabase::create().await, change).await;
    let address = address();
    let register = async |name: &str, address: &str| {
        let body =
            json!({"name": "Engines", "subdomain": name, "adminEmail": "ada@example.com", "adminPassword": PASSWORD});
        answer(from(server.request(Method::POST, "/api/v1/tenants", &As::Nobody).json(&body), address)).await
    };
    assert_eq!(register("one", &address).await.status, 201);
    assert_eq!(register("two", &address).await.status, 201);
    let refused = register("three", &address).await;
    assert_eq!((refused.status, refused.header("ratelimit-policy")), (429, Some("\"register\";q=2;w=3600")));
    assert_eq!(register("three", &self::address()).await.status, 201);
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
    let (another, _) = shop.another_customer(&open, "another@example.com").await;
    for (who, status) in [(&shop.customer, 200), (&another, 200), (&shop.customer, 200), (&another, 429)] {
        assert_eq!(ask(&server, who, &address).await.status, status);
    }
    let refused = ask(&server, &shop.customer, &address).await;
    assert_eq!(refused.header("ratelimit-policy"), Some("\"tenant\";q=3;w=3600"));
    // Everybody can become a customer; those who run the shop are none the worse for it.
    for (who, status) in [(&shop.merchant, 200), (&shop.admin, 200), (&shop.merchant, 200), (&shop.admin, 429)] {
        assert_eq!(ask(&server, who, &address).await.status, status);
    }
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
