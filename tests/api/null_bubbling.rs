//! How far an error's null spreads: to the nearest field that may be null, as the GraphQL specification says
//! (section 6.4.4, "Handling Execution Errors"). The library does it; we rely on it.

use serde_json::{Value, json};

use crate::support::{Shop, TestServer};

/// Two orders, of which the second has a line whose product was torn out of the database.
async fn a_good_and_a_broken_order(server: &TestServer, shop: &Shop) -> (Value, Value) {
    let product = shop.product(server, "A", "1.00", 5).await;
    let good = shop.order(server, &shop.customer, &[(product, 1)]).await["order"]["id"].clone();
    let broken = shop.order(server, &shop.customer, &[(product, 1)]).await["order"]["id"].clone();
    let tear = format!(
        "alter table order_items drop constraint order_items_tenant_id_product_id_fkey;
         update order_items set product_id = id where order_id = {}",
        broken.to_string().replace('"', "'"),
    );
    server.database.rows(shop.id, &tear).await;
    (good, broken)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_nulls_the_nearest_nullable_parent_and_nothing_beside_it() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let (good, broken) = a_good_and_a_broken_order(&server, &shop).await;
    let ask = |fields: &str| {
        format!(
            "query($good: ID!, $broken: ID!) {{
                good: order(id: $good) {{ {fields} }} broken: order(id: $broken) {{ {fields} }} }}"
        )
    };
    let variables = json!({"good": good, "broken": broken});

    // name: String! in items: [OrderItem!]! in order: Order. Inside of lists, the library cuts paths off at the item.
    let answer = server.graphql(&shop.customer, &ask("status items { quantity name }"), variables.clone()).await;
    assert_eq!(answer.errors(), ["INTERNAL broken.items.0"]);
    let item = json!({"quantity": 1, "name": "Product A"});
    assert_eq!(answer.body["data"], json!({"good": {"status": "PENDING", "items": [item]}, "broken": null}));
    let message = answer.body["errors"][0]["message"].as_str().expect("a message");
    assert!(!message.contains("product"), "what is wrong inside is not told: {message}");

    // product: Product may be null itself. But when its own resolver fails, the library nulls the parent nevertheless:
    // it catches errors below a nullable field, and not in it. `guards::may_see` is for fields that must stay alone.
    let answer = server.graphql(&shop.customer, &ask("items { quantity product { sku } }"), variables).await;
    assert_eq!(answer.errors(), ["INTERNAL broken.items.0"]);
    let item = json!({"quantity": 1, "product": {"sku": "A"}});
    assert_eq!(answer.body["data"], json!({"good": {"items": [item]}, "broken": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_below_nothing_but_non_null_fields_nulls_all_data() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    a_good_and_a_broken_order(&server, &shop).await;
    let query = "{ viewer { email } orders { nodes { id items { name } } } }";
    let answer = server.graphql(&shop.customer, query, json!({})).await;
    assert_eq!(answer.errors(), ["INTERNAL orders.nodes.0"]);
    assert_eq!(answer.body.get("data"), Some(&Value::Null));

    let answer = server.graphql(&shop.customer, "{ viewer { email } users { totalCount } }", json!({})).await;
    assert_eq!((answer.status, answer.errors()), (200, vec!["FORBIDDEN users".to_owned()]));
    assert_eq!(answer.body.get("data"), Some(&Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mutation_leaves_those_before_it_done() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let create = "productCreate(input: {name: \"A\", sku: \"A\", price: 1}) { product { sku } userErrors { code } }";
    let rename = "tenantUpdate(input: {name: \"Mine\"}) { userErrors { code } }";
    let later = create.replace("\"A\"", "\"B\"");
    let mutation = format!("mutation {{ first: {create} {rename} later: {later} }}");
    let answer = server.graphql(&shop.merchant, &mutation, json!({})).await;
    assert_eq!(answer.errors(), ["FORBIDDEN tenantUpdate"]);
    assert_eq!(answer.body.get("data"), Some(&Value::Null));
    assert_eq!(server.database.rows(shop.id, "select sku from products").await, ["A"]);
    assert_eq!(server.database.rows(shop.id, "select name from tenants").await, ["engines"]);
}
