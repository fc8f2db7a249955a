//! A dependency is gone, slow or full: what still works does, and the rest says so, honestly and soon.

use std::time::{Duration, Instant};

use futures_util::future::join;
use mercato::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::text_rows;
use crate::support::shop::{ORDER_CREATE, PASSWORD, order_input};
use crate::support::{Answer, As, Shop, TestServer, answer, try_answer};

const WAIT: Duration = Duration::from_millis(200);
const PRODUCTS: &str = "{ products { nodes { sku } } }";

async fn start(change: impl FnOnce(&mut Config)) -> (TestServer, Shop, Uuid) {
    let server = TestServer::start_with(change).await;
    let shop = server.shop("faulty").await;
    let product = shop.product(&server, "A", "1.00", 10).await;
    (server, shop, product)
}

/// The same, with a server that gives requests up soon. Another one made the shop, however long that took.
async fn start_impatient(soon: Duration) -> (TestServer, Shop, Uuid) {
    let (server, shop, product) = start(|_| {}).await;
    let server = TestServer::on_database(server.database.clone(), |config| config.server.request_timeout = soon).await;
    (server, shop, product)
}

async fn probe(server: &TestServer, path: &str) -> (u16, Value) {
    let answer = answer(server.http.get(format!("{}{path}", server.url))).await;
    (answer.status, answer.body)
}

async fn order(server: &TestServer, shop: &Shop, product: Uuid) -> Answer {
    server.rest(&shop.customer, Method::POST, "/orders", Some(order_input(&[(product, 1)]))).await
}

fn assert_unavailable(answer: &Answer) {
    let envelope = json!({
        "success": false,
        "error": {"code": "SERVICE_UNAVAILABLE", "message": "the service is temporarily unavailable; try again"},
    });
    assert_eq!((answer.status, &answer.body), (503, &envelope));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_only_readiness_suffers() {
    // Registering, logging in and adding a product went well already when this returns.
    let (server, shop, product) = start(|config| config.redis_url = "redis+unix:///nowhere/redis.sock".into()).await;
    assert_eq!(probe(&server, "/health").await, (200, json!({"status": "ok"})));
    assert_eq!(probe(&server, "/ready").await, (503, json!({"status": "error", "db": "ok", "redis": "error"})));
    let listed = server.data(&shop.shopper, PRODUCTS, json!({})).await;
    assert_eq!(listed["products"]["nodes"], json!([{"sku": "A"}]));
    assert_eq!(server.rest(&shop.shopper, Method::GET, "/products", None).await.status, 200);
    let placed = order(&server, &shop, product).await;
    assert_eq!(placed.status, 201, "{:#}", placed.body);
    let path = format!("/orders/{}", placed.body["data"]["id"].as_str().expect("an id"));
    assert_eq!(server.rest(&shop.customer, Method::DELETE, &path, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_every_answer_says_so() {
    let (living, shop, product) = start(|_| {}).await;
    let server = TestServer::on_database(living.database.clone(), |config| {
        config.database_url = "postgresql://mercato_app@%2Fnowhere/mercato".into();
        config.server.database_pool_wait = WAIT;
    })
    .await;
    assert_eq!(probe(&server, "/health").await, (200, json!({"status": "ok"})));
    assert_eq!(probe(&server, "/ready").await, (503, json!({"status": "error", "db": "error", "redis": "ok"})));
    assert_eq!(probe(&server, "/metrics").await.0, 200);

    let login = json!({"subdomain": shop.subdomain, "email": "admin@example.com", "password": PASSWORD});
    let tenant =
        json!({"name": "New", "subdomain": "new-shop", "adminEmail": "a@example.com", "adminPassword": PASSWORD});
    let one = format!("/products/{product}");
    let stock = format!("/inventory/{product}");
    let routes = [
        (&As::Nobody, Method::POST, "/auth/login", Some(login)),
        (&As::Nobody, Method::POST, "/tenants", Some(tenant)),
        (&shop.shopper, Method::GET, "/products", None),
        (&shop.customer, Method::GET, &one, None),
        (&shop.customer, Method::POST, "/orders", Some(order_input(&[(product, 1)]))),
        (&shop.merchant, Method::PATCH, &stock, Some(json!({"delta": 1}))),
    ];
    for (who, method, path, body) in routes {
        assert_unavailable(&server.rest(who, method, path, body).await);
    }

    let login = format!(
        r#"mutation {{ login(input: {{tenant: "{}", email: "admin@example.com", password: "{PASSWORD}"}}) {{ accessToken }} }}"#,
        shop.subdomain
    );
    let operations = [
        (&As::Nobody, login.as_str(), json!({})),
        (&shop.shopper, PRODUCTS, json!({})),
        (&shop.customer, ORDER_CREATE, json!({"input": order_input(&[(product, 1)])})),
    ];
    for (who, query, variables) in operations {
        let answer = server.graphql(who, query, variables).await;
        let extensions = &answer.body["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "SERVICE_UNAVAILABLE", "{query}: {:#}", answer.body);
        assert_eq!(extensions["retryable"], true);
        assert_eq!(extensions["requestId"].as_str(), answer.header("x-request-id"));
        assert!(!answer.body.to_string().contains("nowhere"), "{:#}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_is_a_503_after_the_wait() {
    let (server, shop, product) = start(|config| {
        config.server.database_pool_size = 1;
        config.server.database_pool_wait = WAIT;
    })
    .await;
    let owner = server.database.as_owner().await;
    owner.batch_execute("begin; lock table inventory in access exclusive mode").await.expect("a lock");
    let meanwhile = async {
        server.database.until_blocked(1).await;
        let asked = Instant::now();
        assert_unavailable(&server.rest(&shop.customer, Method::GET, "/orders", None).await);
        assert!(asked.elapsed() >= WAIT, "{:?}", asked.elapsed());
        let answer = server.graphql(&shop.customer, "{ orders { nodes { id } } }", json!({})).await;
        assert_eq!(answer.outcome(), "SERVICE_UNAVAILABLE");
        owner.batch_execute("commit").await.expect("the lock is released");
    };
    let (blocked, ()) = join(order(&server, &shop, product), meanwhile).await;
    assert_eq!(blocked.status, 201, "{:#}", blocked.body);
    assert_eq!(server.rest(&shop.customer, Method::GET, "/orders", None).await.status, 200);
}

/// An operation that waits for others too long is given up, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_given_up() {
    let (server, shop, product) = start_impatient(Duration::from_secs(1)).await;
    let superuser = server.database.as_superuser().await;
    superuser.batch_execute("begin; lock table inventory in exclusive mode").await.expect("a lock");
    assert_unavailable(&order(&server, &shop, product).await);
    let late = server.graphql(&shop.customer, ORDER_CREATE, json!({"input": order_input(&[(product, 1)])})).await;
    assert_eq!(late.outcome(), "SERVICE_UNAVAILABLE");
    superuser.batch_execute("rollback").await.expect("no lock");
    assert_eq!(server.database.rows(shop.id, "select 1 from orders").await, Vec::<String>::new());
    assert_eq!(order(&server, &shop, product).await.status, 201);
}

/// PostgreSQL is told, and does not work on for an answer that nobody waits for. Its own limit is ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_cancelled() {
    let (server, shop, product) = start_impatient(Duration::from_secs(1)).await;
    sabotage(&server.database.as_owner().await, "perform pg_sleep(60)").await;
    assert_unavailable(&order(&server, &shop, product).await);
    let superuser = server.database.as_superuser().await;
    let running = "select query from pg_stat_activity
        where datname = current_database() and usename = 'mercato_app' and state = 'active'";
    let cancelled = async { while !text_rows(&superuser, running).await.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(6), cancelled).await.expect("it ends long before its own limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let (server, shop, product) = start(|config| config.server.database_pool_size = 1).await;
    let before = server.database.contents(Some(shop.id)).await;
    let owner = server.database.as_owner().await;
    owner.batch_execute("begin; lock table orders in access exclusive mode").await.expect("a lock");
    // The stock is taken, and the order waits to be written, when the client gives up.
    let request = server.request(Method::POST, "/api/v1/orders", &shop.customer).json(&order_input(&[(product, 1)]));
    tokio::select! {
        answer = try_answer(request) => panic!("nobody can answer yet: {answer:?}"),
        () = server.database.until_blocked(1) => {}
    }
    owner.batch_execute("commit").await.expect("the lock is released");
    // This one needs the only connection, so it comes after the end of the other.
    assert_eq!(server.rest(&shop.customer, Method::GET, "/orders", None).await.body["data"], json!([]));
    assert_eq!(server.database.contents(Some(shop.id)).await, before);
}

/// Makes the database do something whenever an order is written.
async fn sabotage(owner: &Client, what: &str) {
    let sql = format!(
        "create or replace function sabotage() returns trigger language plpgsql as $$ begin {what}; return new; end $$;
         create or replace trigger sabotage before insert on orders for each row execute function sabotage()"
    );
    owner.batch_execute(&sql).await.expect("a trigger");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_statement_are_told_apart() {
    let (server, shop, product) = start(|_| {}).await;
    let owner = server.database.as_owner().await;
    // Limits set in a transaction hold from its next statement on; the server's own would take too long here.
    let limits = "create function limits() returns trigger language plpgsql as $$ begin
            perform set_config('statement_timeout', '50ms', true), set_config('lock_timeout', '20ms', true);
            return new;
        end $$;
        create trigger limits before update on inventory for each row execute function limits()";
    owner.batch_execute(limits).await.expect("a trigger");
    let before = server.database.contents(Some(shop.id)).await;
    let locker = server.database.as_owner().await;
    locker.batch_execute("begin; lock table payments in access exclusive mode").await.expect("a lock");
    for what in ["perform pg_sleep(60)", "perform from payments"] {
        sabotage(&owner, what).await;
        assert_unavailable(&order(&server, &shop, product).await);
    }
    owner.batch_execute("drop trigger limits on inventory").await.expect("all the time there is");
    let passing = [
        "raise 'deadlock detected' using errcode = '40P01'",
        "raise 'could not serialize access due to concurrent update' using errcode = '40001'",
        "raise 'terminating connection due to administrator command' using errcode = '57P01'",
    ];
    for what in passing {
        sabotage(&owner, what).await;
        assert_unavailable(&order(&server, &shop, product).await);
    }
    sabotage(&owner, "raise 'canary in the mine'").await;
    let answer = order(&server, &shop, product).await;
    assert_eq!((answer.status, answer.outcome()), (500, "INTERNAL"));
    assert!(!answer.body.to_string().contains("canary"), "{:#}", answer.body);
    locker.batch_execute("commit").await.expect("the lock is released");
    assert_eq!(server.database.contents(Some(shop.id)).await, before);

    owner.batch_execute("drop trigger sabotage on orders").await.expect("the end of it");
    let answer = order(&server, &shop, product).await;
    assert_eq!(answer.status, 201, "{:#}", answer.body);
}

/// Each field of a mutation gives back the connection that its answer was read on before the next one begins.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_for_a_mutation_of_several_fields() {
    let (server, shop, product) = start(|config| {
        config.server.database_pool_size = 1;
        config.server.database_pool_wait = WAIT;
    })
    .await;
    let fields = ["a", "b", "c"].map(|name| {
        format!("{name}: productUpdate(id: $id, input: {{name: \"{name}\"}}) {{ product {{ name inventory {{ quantity }} }} }}")
    });
    let query = format!("mutation($id: ID!) {{ {} }}", fields.join(" "));
    let data = server.data(&shop.merchant, &query, json!({ "id": product })).await;
    assert_eq!(data["c"], json!({"product": {"name": "c", "inventory": {"quantity": 10}}}));
}

/// Whoever hears that it took too long must not send again what was done.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_nothing_is_to_be_sent_again_when_it_took_too_long() {
    let (server, shop, product) = start_impatient(WAIT * 2).await;
    // That the admin may come in is known before nobody can look it up.
    server.data(&shop.admin, "{ viewer { id } }", json!({})).await;
    let owner = server.database.as_owner().await;
    owner.batch_execute("begin; lock table users in access exclusive mode").await.expect("a lock");
    let adjust = "adjusted: inventoryAdjust(input: {productId: $id, delta: 1}) { inventory { id } }";
    let blocked = "userUpdate(id: $id, input: {isActive: false}) { user { id } }";
    let mutation = format!("mutation($id: ID!) {{ {adjust} {blocked} }}");
    let query = "query($id: ID!) { product(identifier: {id: $id}) { id } users { nodes { id } } }";
    for (text, is_retryable) in [(&*mutation, false), (query, true)] {
        let late = server.graphql(&shop.admin, text, json!({ "id": product })).await;
        let extensions = &late.body["errors"][0]["extensions"];
        let told = (late.outcome(), &extensions["retryable"]);
        assert_eq!(told, ("SERVICE_UNAVAILABLE", &json!(is_retryable)), "{:#}", late.body);
    }
    owner.batch_execute("commit").await.expect("the lock is released");
    let stock = server.data(&shop.merchant, "{ inventory { nodes { quantity } } }", json!({})).await;
    assert_eq!(stock["inventory"]["nodes"], json!([{"quantity": 11}]), "the first field was done");
}
