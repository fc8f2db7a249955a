//! The number of SQL statements of a request does not depend on how much it shows.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::counter::Counter;
use crate::support::{Shop, TestDatabase, TestServer};

/// Lists with everything below their rows that other tables hold. `$n` is the size of the page.
const LISTS: [(&str, &str); 5] = [
    (
        "orders",
        "id totalAmount { amount } customer { email } statusHistory { to }
         items { name sku priceAtTime { amount } product { name inventory { quantity product { name } } } }",
    ),
    ("products", "name price { amount } inventory { quantity isLowStock product { sku } }"),
    ("inventory", "quantity product { name price { amount } inventory { threshold } }"),
    ("users", "email role"),
    ("auditLogs", "action resource changes"),
];

/// A shop with more than a hundred of everything, on a server whose statements are counted.
async fn full_shop() -> (TestServer, Counter, Shop) {
    let database = TestDatabase::create().await;
    let counter = Counter::of(&database).await;
    let url = counter.url.clone();
    let server = TestServer::on_database(database, |config| {
        config.database_url = url.into();
        config.server.database_pool_size = 1;
    })
    .await;
    let shop = server.shop("full").await;
    shop.fill(&server, 120).await;
    (server, counter, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_hundred_costs_what_a_page_of_ten_costs() {
    let (server, counter, shop) = full_shop().await;
    for (list, selection) in LISTS {
        let query = format!("query($n: Int!) {{ {list}(first: $n) {{ nodes {{ {selection} }} }} }}");
        let page = async |n: usize| {
            let data = server.data(&shop.admin, &query, json!({ "n": n })).await;
            assert_eq!(data[list]["nodes"].as_array().map(Vec::len), Some(n), "{list}");
        };
        let (ten, hundred) =
            (counter.of_work(async || page(10).await).await, counter.of_work(async || page(100).await).await);
        assert_eq!(ten, hundred, "{list}");
        assert!((1..=8).contains(&ten), "{list}: {ten}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_pages_cost_the_same_too() {
    let (server, counter, shop) = full_shop().await;
    for list in ["orders", "products", "inventory"] {
        let page = async |limit: usize| {
            let answer = server.rest(&shop.admin, Method::GET, &format!("/{list}?limit={limit}"), None).await;
            assert_eq!(answer.body["data"].as_array().map(Vec::len), Some(limit), "{list}: {:#}", answer.body);
        };
        let (ten, hundred) =
            (counter.of_work(async || page(10).await).await, counter.of_work(async || page(100).await).await);
        assert_eq!(ten, hundred, "{list}");
        assert!((1..=8).contains(&ten), "{list}: {ten}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_one_statement_and_only_when_it_is_asked_for() {
    let (server, counter, shop) = full_shop().await;
    for list in ["orders", "products", "inventory", "users", "auditLogs"] {
        let ask = async |selection: &str| {
            let query = format!("{{ {list}(first: 5) {{ {selection} }} }}");
            let data: Value = server.data(&shop.admin, &query, json!({})).await;
            assert!(data[list].is_object());
        };
        let without = counter.of_work(async || ask("nodes { id } pageInfo { hasNextPage }").await).await;
        let with = counter.of_work(async || ask("nodes { id } pageInfo { hasNextPage } totalCount").await).await;
        let only = counter.of_work(async || ask("totalCount").await).await;
        assert_eq!(with, without + 1, "{list}");
        assert!(only <= with, "{list}: {only}");
    }
}
