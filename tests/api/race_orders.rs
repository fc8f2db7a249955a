//! Everybody at once: whatever the timing, stock, orders and people add up, and no client sees a deadlock.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, future};
use mercato::config::Config;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::shop::{ORDER_CREATE, PASSWORD, id, login, order_input};
use crate::support::{Answer, As, Shop, TestServer, tally};

const CANCEL: &str = "mutation($id: ID!) { orderCancel(id: $id) { order { status } userErrors { code } } }";
const SET_STATUS: &str = "mutation($id: ID!, $status: OrderStatus!) {
    orderStatusUpdate(id: $id, input: {status: $status}) { order { status } userErrors { code } } }";
const ADJUST: &str = "mutation($input: InventoryAdjustInput!) {
    inventoryAdjust(input: $input) { inventory { quantity } userErrors { code } } }";
const DEMOTE: &str =
    "mutation($id: ID!) { userUpdate(id: $id, input: {role: MERCHANT}) { user { id } userErrors { code } } }";
const DEACTIVATE: &str = "mutation($id: ID!) { userDeactivate(id: $id) { user { id } userErrors { code } } }";
const REINSTATE: &str = "mutation($id: ID!) { userUpdate(id: $id, input: {role: ADMIN, isActive: true}) { user { id } userErrors { code } } }";

/// Hundreds wait for a connection at the same time; on a slow machine that takes a while, which is not the point here.
fn patient(config: &mut Config) {
    config.server.database_pool_wait = Duration::from_mins(1);
}

async fn start() -> (TestServer, Shop) {
    let server = TestServer::start_with(patient).await;
    let shop = server.shop("racing").await;
    (server, shop)
}

fn buy<'a>(server: &'a TestServer, shop: &'a Shop, items: &[(Uuid, i64)]) -> BoxFuture<'a, Answer> {
    let input = json!({ "input": order_input(items) });
    async move { server.graphql(&shop.customer, ORDER_CREATE, input).await }.boxed()
}

fn cancel<'a>(server: &'a TestServer, who: &'a As, order: Uuid) -> BoxFuture<'a, Answer> {
    async move { server.graphql(who, CANCEL, json!({ "id": order })).await }.boxed()
}

async fn place(server: &TestServer, shop: &Shop, items: &[(Uuid, i64)]) -> Uuid {
    id(&shop.order(server, &shop.customer, items).await["order"]["id"])
}

async fn stock(server: &TestServer, shop: &Shop, product: Uuid) -> i64 {
    let sql = format!("select quantity from inventory where product_id = '{product}'");
    let rows = server.database.rows(shop.id, &sql).await;
    rows.first().and_then(|row| row.parse().ok()).expect("a quantity")
}

async fn assert_in_order(server: &TestServer, shop: &Shop) {
    assert_eq!(server.database.violations(shop.id).await, Vec::<String>::new());
}

fn outcomes<const N: usize>(expected: [(&'static str, usize); N]) -> BTreeMap<&'static str, usize> {
    expected.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn race_for_the_last_pieces() {
    let (server, shop) = start().await;
    let product = shop.product(&server, "LAST", "19.99", 50).await;
    let answers = join_all((0..200).map(|_| buy(&server, &shop, &[(product, 1)]))).await;
    assert_eq!(tally(&answers), outcomes([("INSUFFICIENT_STOCK", 150), ("OK", 50)]));
    assert_eq!(stock(&server, &shop, product).await, 0);
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_for_the_last_pieces_over_two_servers() {
    let (server, shop) = start().await;
    let other = TestServer::on_database(server.database.clone(), patient).await;
    let product = shop.product(&server, "LAST", "19.99", 50).await;
    let servers = [&server, &other].into_iter().cycle().take(200);
    let answers = join_all(servers.map(|server| buy(server, &shop, &[(product, 1)]))).await;
    assert_eq!(tally(&answers), outcomes([("INSUFFICIENT_STOCK", 150), ("OK", 50)]));
    assert_eq!(stock(&server, &shop, product).await, 0);
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_crossing_baskets() {
    let (server, shop) = start().await;
    let a = shop.product(&server, "A", "1.00", 150).await;
    let b = shop.product(&server, "B", "2.00", 170).await;
    let baskets = [[(a, 1), (b, 1)], [(b, 1), (a, 1)]].into_iter().cycle().take(200);
    let answers = join_all(baskets.map(|basket| buy(&server, &shop, &basket))).await;
    assert_eq!(tally(&answers), outcomes([("INSUFFICIENT_STOCK", 50), ("OK", 150)]));
    assert_eq!((stock(&server, &shop, a).await, stock(&server, &shop, b).await), (0, 20));
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_orders_across_cancellations_and_adjustments() {
    let (server, shop) = start().await;
    let a = shop.product(&server, "A", "1.00", 500).await;
    let b = shop.product(&server, "B", "2.00", 500).await;
    let basket = [(b, 1), (a, 1)];
    let placed = join_all((0..50).map(|_| place(&server, &shop, &basket))).await;
    let requests = placed.into_iter().flat_map(|order| {
        [
            cancel(&server, &shop.customer, order),
            buy(&server, &shop, &[(a, 1), (b, 1)]),
            adjust(&server, &shop, json!({"productId": b, "delta": 1})),
            buy(&server, &shop, &[(b, 1), (a, 1)]),
        ]
    });
    let answers = join_all(requests).await;
    assert_eq!(tally(&answers), outcomes([("OK", 200)]));
    assert_eq!((stock(&server, &shop, a).await, stock(&server, &shop, b).await), (400, 450));
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_cancellations_returns_stock_once() {
    let (server, shop) = start().await;
    let product = shop.product(&server, "ONCE", "5.00", 10).await;
    for round in 0..5 {
        let order = place(&server, &shop, &[(product, 3)]).await;
        let everybody = [&shop.customer, &shop.merchant, &shop.admin].into_iter().cycle().take(16);
        let answers = join_all(everybody.map(|who| cancel(&server, who, order))).await;
        assert_eq!(tally(&answers), outcomes([("INVALID_STATUS_TRANSITION", 15), ("OK", 1)]), "round {round}");
        assert_eq!(stock(&server, &shop, product).await, 10, "round {round}");
    }
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_two_steps_takes_one() {
    let (server, shop) = start().await;
    let product = shop.product(&server, "STEP", "5.00", 100).await;
    let mut cancelled = 0;
    for round in 0..8 {
        let order = place(&server, &shop, &[(product, 1)]).await;
        for status in ["PAID", "FULFILLED"] {
            let moved = server.mutate(&shop.merchant, SET_STATUS, json!({"id": order, "status": status})).await;
            assert_eq!(moved["order"]["status"], status);
        }
        // From FULFILLED there are two ways, and none leads from one of them to the other.
        let ship =
            || async { server.graphql(&shop.merchant, SET_STATUS, json!({"id": order, "status": "SHIPPED"})).await };
        let (shipped, calls_off) = future::join(
            join_all((0..4).map(|_| ship())),
            join_all((0..4).map(|_| cancel(&server, &shop.merchant, order))),
        )
        .await;
        let answers = [shipped, calls_off].concat();
        assert_eq!(tally(&answers), outcomes([("INVALID_STATUS_TRANSITION", 7), ("OK", 1)]), "round {round}");
        cancelled += i64::from(answers[4..].iter().any(|answer| answer.outcome() == "OK"));
        assert_eq!(stock(&server, &shop, product).await, 100 - (round + 1) + cancelled);
    }
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_one_product_are_summed() {
    let (server, shop) = start().await;
    let a = shop.product(&server, "A", "1.50", 10).await;
    let b = shop.product(&server, "B", "2.00", 10).await;

    let order = &shop.order(&server, &shop.customer, &[(a, 2), (b, 1), (a, 3)]).await["order"];
    let lines: Vec<_> =
        order["items"].as_array().expect("lines").iter().map(|line| (&line["sku"], &line["quantity"])).collect();
    assert_eq!(lines, [(&json!("A"), &json!(5)), (&json!("B"), &json!(1))]);
    assert_eq!(order["totalAmount"]["amount"], "9.50");

    // Either line alone could be filled.
    let refused = shop.order(&server, &shop.customer, &[(b, 1), (a, 3), (a, 3)]).await;
    assert_eq!(refused["order"], Value::Null);
    let [error] = refused["userErrors"].as_array().expect("errors").as_slice() else { panic!("one error: {refused}") };
    assert_eq!(error["code"], "INSUFFICIENT_STOCK");
    assert_eq!(error["field"], json!(["items", "1", "quantity"]));
    assert_eq!(error["details"], json!({"productId": a, "requested": 6, "available": 5}));
    assert_eq!((stock(&server, &shop, a).await, stock(&server, &shop, b).await), (5, 9));
    assert_in_order(&server, &shop).await;
}

fn adjust<'a>(server: &'a TestServer, shop: &'a Shop, input: Value) -> BoxFuture<'a, Answer> {
    async move { server.graphql(&shop.merchant, ADJUST, json!({ "input": input })).await }.boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_adjustments_and_orders() {
    let (server, shop) = start().await;
    let product = shop.product(&server, "LEDGER", "3.00", 1000).await;
    let requests = (0..30).flat_map(|_| {
        [
            buy(&server, &shop, &[(product, 2)]),
            adjust(&server, &shop, json!({"productId": product, "delta": 5})),
            buy(&server, &shop, &[(product, 1)]),
            adjust(&server, &shop, json!({"productId": product, "delta": -3, "reason": "broken"})),
        ]
    });
    let answers = join_all(requests).await;
    assert_eq!(tally(&answers), outcomes([("OK", 120)]));
    assert_eq!(stock(&server, &shop, product).await, 1000 + 30 * (5 - 3 - 2 - 1));

    // What was counted replaces whatever is there, and the ledger gets the difference.
    let requests = (0..30).flat_map(|counted| {
        [
            buy(&server, &shop, &[(product, 1)]),
            adjust(&server, &shop, json!({"productId": product, "quantity": 500 + counted})),
        ]
    });
    let answers = join_all(requests).await;
    assert_eq!(tally(&answers), outcomes([("OK", 60)]));
    assert_in_order(&server, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_two_admins_leaves_one() {
    let (server, shop) = start().await;
    let create = "mutation($input: UserCreateInput!) { userCreate(input: $input) { user { id } userErrors { code } } }";
    let input = json!({"input": {"email": "second@example.com", "password": PASSWORD, "role": "ADMIN"}});
    server.mutate(&shop.admin, create, input).await;
    let owner = server.database.as_owner().await;
    for round in 0..10 {
        let overthrow = if round % 2 == 0 { DEMOTE } else { DEACTIVATE };
        // Whoever lost the last round lost all tokens with it.
        let (one, one_id) = login(&server, &shop.subdomain, "admin@example.com").await;
        let (other, other_id) = login(&server, &shop.subdomain, "second@example.com").await;
        // Both are let in as admins, and find the way barred until the other is as far.
        owner.batch_execute("begin; lock table users in exclusive mode").await.expect("a lock");
        let (by_one, by_other, ()) = future::join3(
            server.graphql(&one, overthrow, json!({ "id": other_id })),
            server.graphql(&other, overthrow, json!({ "id": one_id })),
            async {
                server.database.until_blocked(2).await;
                owner.batch_execute("commit").await.expect("the lock is released");
            },
        )
        .await;
        let answers = [by_one, by_other];
        assert_eq!(tally(&answers), outcomes([("OK", 1), ("VALIDATION_ERROR", 1)]), "round {round}");
        let left = server.database.rows(shop.id, "select id from users where role = 'ADMIN' and is_active").await;
        let (winner, winner_id, loser_id) = match answers[0].outcome() {
            "OK" => (&one, one_id, other_id),
            _ => (&other, other_id, one_id),
        };
        assert_eq!(left, [winner_id.to_string()], "round {round}");
        server.mutate(winner, REINSTATE, json!({ "id": loser_id })).await;
    }
}
