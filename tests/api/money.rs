//! Money: how it is written, and what orders make of it.

use reqwest::Method;
use serde_json::json;

use crate::support::TestServer;
use crate::support::expect::user_errors;

const SET_PRICE: &str = "mutation($id: ID!, $input: ProductUpdateInput!) { productUpdate(id: $id, input: $input) {
    product { price { amount } } userErrors { code message field details } } }";

#[tokio::test(flavor = "multi_thread")]
async fn money_comes_as_text_or_number_and_goes_as_text() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "ENG", "1.00", 1).await;
    for (price, amount) in [
        (json!("19.99"), "19.99"),
        (json!(19.99), "19.99"),
        (json!("19.9"), "19.90"),
        (json!(20), "20.00"),
        (json!("0"), "0.00"),
        (json!(0.1), "0.10"),
        (json!("99999999.99"), "99999999.99"),
        (json!(99_999_999.99), "99999999.99"),
    ] {
        let input = json!({ "price": price });
        let payload = server.mutate(&shop.merchant, SET_PRICE, json!({"id": product, "input": input})).await;
        assert_eq!(payload["product"]["price"]["amount"], amount, "{price}: {payload:#}");
        let answer = server.rest(&shop.merchant, Method::PATCH, &format!("/products/{product}"), Some(input)).await;
        assert_eq!(answer.body["data"]["price"], amount, "{price}: {:#}", answer.body);
    }
    let literal = format!(
        "mutation {{ productUpdate(id: \"{product}\", input: {{price: 7.5}}) {{ product {{ price {{ amount }} }} }} }}"
    );
    let payload = server.mutate(&shop.merchant, &literal, json!({})).await;
    assert_eq!(payload["product"]["price"]["amount"], "7.50");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_keeps_the_prices_of_its_day() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "19.99", 5).await;
    let order = shop.order(&server, &shop.customer, &[(product, 2)]).await["order"]["id"].clone();
    let path = format!("/products/{product}");
    server.rest(&shop.merchant, Method::PATCH, &path, Some(json!({"price": "100.00", "name": "Gold"}))).await;
    let query = "query($id: ID!) { order(id: $id) { totalAmount { amount }
        items { name priceAtTime { amount } product { price { amount } } } } }";
    let data = server.data(&shop.customer, query, json!({ "id": order })).await;
    let item = json!({"name": "Gold", "priceAtTime": {"amount": "19.99"}, "product": {"price": {"amount": "100.00"}}});
    assert_eq!(data["order"], json!({"totalAmount": {"amount": "39.98"}, "items": [item]}));
    let next = shop.order(&server, &shop.customer, &[(product, 1)]).await;
    assert_eq!(next["order"]["totalAmount"]["amount"], "100.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_too_dear_to_count_is_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "GOLD", "99999999.99", 2).await;
    let payload = shop.order(&server, &shop.customer, &[(product, 2)]).await;
    assert_eq!(user_errors(&payload), ["VALIDATION_ERROR items"]);
    assert_eq!(server.database.rows(shop.id, "select quantity from inventory").await, ["2"]);
    let payload = shop.order(&server, &shop.customer, &[(product, 1)]).await;
    assert_eq!(payload["order"]["totalAmount"]["amount"], "99999999.99");
}
