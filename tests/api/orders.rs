//! Placing and reading orders. What becomes of them is in `order_status`.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::expect::{shape, user_errors};
use crate::support::shop::{ORDER_CREATE, id, order_input};
use crate::support::{As, TestServer};

const GET: &str = "query($id: ID!) { order(id: $id) { id } node(id: $id) { id } }";

const LIST: &str = "query($filter: OrderFilter) { orders(filter: $filter) { totalCount nodes { id } } }";

async fn stock(server: &TestServer, tenant: Uuid) -> Vec<String> {
    let sql = "select sku, quantity from inventory join products on products.id = product_id order by sku";
    server.database.rows(tenant, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_places_an_order() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let (a, b) = (shop.product(&server, "A", "19.99", 5).await, shop.product(&server, "B", "0.01", 5).await);
    // Lines of the same product are put together, in the order in which they were asked for.
    let payload = shop.order(&server, &shop.customer, &[(b, 1), (a, 2), (b, 2)]).await;
    let line = |sku: &str, quantity: i32, price: &str| {
        json!({"id": "<id>", "productId": "<id>", "sku": sku, "name": format!("Product {sku}"), "quantity": quantity,
            "priceAtTime": {"amount": price}})
    };
    let order = json!({"id": "<id>", "status": "PENDING", "totalAmount": {"amount": "40.01", "currencyCode": "USD"},
        "customerId": "<id>", "allowedTransitions": ["PAID", "CANCELLED"],
        "items": [line("B", 3, "0.01"), line("A", 2, "19.99")]});
    assert_eq!(shape(&payload), json!({"order": order, "userErrors": []}));
    assert_eq!(payload["order"]["customerId"], json!(shop.customer_id));

    let everything = "query($id: ID!) { order(id: $id) { status customer { email } customerName customerEmail
        shippingAddress { street city state zip country } createdAt updatedAt
        items { product { sku price { amount } } } statusHistory { from to userId createdAt } } }";
    let data = server.data(&shop.customer, everything, json!({"id": payload["order"]["id"]})).await;
    let history = json!([{"from": null, "to": "PENDING", "userId": "<id>", "createdAt": "<time>"}]);
    let products = json!([
        {"product": {"sku": "B", "price": {"amount": "0.01"}}},
        {"product": {"sku": "A", "price": {"amount": "19.99"}}},
    ]);
    let order = json!({"status": "PENDING", "customer": {"email": "customer@example.com"},
        "customerName": "Ada Lovelace", "customerEmail": "ada@example.com", "createdAt": "<time>",
        "updatedAt": "<time>", "items": products,
        "shippingAddress": {"street": "12 St James's Square", "city": "London", "state": "", "zip": "SW1Y 4JH",
            "country": "GB"},
        "statusHistory": history});
    assert_eq!(shape(&data["order"]), order);
    assert_eq!(data["order"]["statusHistory"][0]["userId"], json!(shop.customer_id));
    assert_eq!(stock(&server, shop.id).await, ["A|3", "B|2"]);
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_and_read_by_rest() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "19.99", 5).await;
    let body = order_input(&[(product, 2)]);
    let created = server.rest(&shop.customer, Method::POST, "/orders", Some(body)).await;
    let item = json!({"id": "<id>", "productId": "<id>", "sku": "A", "name": "Product A", "quantity": 2,
        "priceAtTime": "19.99"});
    let order = json!({"id": "<id>", "customerId": "<id>", "status": "PENDING", "totalAmount": "39.98",
        "customerName": "Ada Lovelace", "customerEmail": "ada@example.com", "items": [item],
        "shippingAddress": {"street": "12 St James's Square", "city": "London", "state": "", "zip": "SW1Y 4JH",
            "country": "GB"},
        "createdAt": "<time>", "updatedAt": "<time>"});
    let envelope = json!({"success": true, "data": order, "error": null});
    assert_eq!((created.status, shape(&created.body)), (201, envelope));

    let path = format!("/orders/{}", id(&created.body["data"]["id"]));
    for who in [&shop.customer, &shop.merchant, &shop.admin] {
        let read = server.rest(who, Method::GET, &path, None).await;
        assert_eq!((read.status, &read.body), (200, &created.body), "{who:?}");
        let list = server.rest(who, Method::GET, "/orders?status=PENDING&limit=5", None).await;
        let page = json!({"success": true, "data": [created.body["data"]], "error": null,
            "meta": {"page": 1, "limit": 5, "total": 1}});
        assert_eq!((list.status, list.body), (200, page), "{who:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_order_on_behalf_of_a_customer() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    let (_, second) = shop.another_customer(&server, "second@example.com").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let for_customer = |customer: Value| {
        let mut input = order_input(&[(product, 1)]);
        input["customerId"] = customer;
        input
    };
    for (who, customer, error) in [
        (&shop.merchant, json!(second), ""),
        (&shop.admin, json!(second), ""),
        (&shop.customer, json!(shop.customer_id), ""),
        (&shop.customer, json!(second), "VALIDATION_ERROR customerId"),
        (&shop.merchant, Value::Null, "VALIDATION_ERROR customerId"),
        (&shop.merchant, json!(shop.admin_id), "NOT_FOUND customerId"),
        (&shop.merchant, json!(other.customer_id), "NOT_FOUND customerId"),
        (&shop.merchant, json!(Uuid::nil()), "NOT_FOUND customerId"),
    ] {
        let input = for_customer(customer.clone());
        let payload = server.mutate(who, ORDER_CREATE, json!({ "input": input })).await;
        let answer = server.rest(who, Method::POST, "/orders", Some(input)).await;
        if error.is_empty() {
            assert_eq!(payload["order"]["customerId"], customer, "{payload:#}");
            assert_eq!((answer.status, &answer.body["data"]["customerId"]), (201, &customer));
        } else {
            assert_eq!(user_errors(&payload), [error], "{customer}");
            assert_eq!(payload["order"], Value::Null);
            let (code, _) = error.split_once(' ').expect("a code");
            assert_eq!(answer.failure().1, code, "{customer}");
        }
    }
    assert_eq!(stock(&server, shop.id).await, ["A|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_orders_are_refused_with_the_fields() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let other = server.shop("other").await.product(&server, "A", "1.00", 9).await;
    let item = |quantity: i64| json!({"productId": product, "quantity": quantity});
    let unknown = |id: Uuid| json!([item(1), {"productId": id, "quantity": 1}]);
    for (pointer, value, fields) in [
        ("/customerName", json!(" "), &["customerName"][..]),
        ("/customerName", json!("x".repeat(201)), &["customerName"]),
        ("/customerEmail", json!("ada"), &["customerEmail"]),
        ("/shippingAddress/street", json!(""), &["shippingAddress.street"]),
        ("/shippingAddress/city", json!("x".repeat(101)), &["shippingAddress.city"]),
        ("/shippingAddress/zip", json!("x".repeat(21)), &["shippingAddress.zip"]),
        ("/shippingAddress/country", json!("gb"), &["shippingAddress.country"]),
        ("/shippingAddress/country", json!("GBR"), &["shippingAddress.country"]),
        ("/items", json!([]), &["items"]),
        ("/items", json!(vec![item(1); 101]), &["items"]),
        ("/items", json!([item(0)]), &["items.0.quantity"]),
        ("/items", json!([item(1), item(-1)]), &["items.1.quantity"]),
        ("/items", json!([item(0), item(1_000_001)]), &["items.0.quantity", "items.1.quantity"]),
        ("/items", json!([item(600_000), item(600_000)]), &["items.1.quantity"]),
        ("/items", unknown(Uuid::nil()), &["items.1.productId"]),
        ("/items", unknown(other), &["items.1.productId"]),
    ] {
        let mut input = order_input(&[(product, 1)]);
        *input.pointer_mut(pointer).expect("a field") = value.clone();
        let payload = server.mutate(&shop.customer, ORDER_CREATE, json!({ "input": input })).await;
        let expected: Vec<_> = fields.iter().map(|field| format!("VALIDATION_ERROR {field}")).collect();
        assert_eq!((user_errors(&payload), &payload["order"]), (expected, &Value::Null), "{value}");
        let answer = server.rest(&shop.customer, Method::POST, "/orders", Some(input)).await;
        assert_eq!(answer.wrong_fields(), fields, "{value}");
    }
    assert_eq!(server.database.rows(shop.id, "select count(*) from orders").await, ["0"]);
    assert_eq!(stock(&server, shop.id).await, ["A|9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_short_takes_nothing_and_tells_every_short_line() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let a = shop.product(&server, "A", "1.00", 2).await;
    let b = shop.product(&server, "B", "1.00", 9).await;
    let c = shop.product(&server, "C", "1.00", 0).await;
    // A is asked for on two lines, each of which could be filled alone.
    let basket = [(b, 9), (c, 1), (a, 2), (a, 1)];
    let short =
        |id: Uuid, requested: i32, left: i32| json!({"productId": id, "requested": requested, "available": left});
    let lines = [short(c, 1, 0), short(a, 3, 2)];
    let payload = shop.order(&server, &shop.customer, &basket).await;
    assert_eq!(user_errors(&payload), ["INSUFFICIENT_STOCK items.1.quantity", "INSUFFICIENT_STOCK items.2.quantity"]);
    assert_eq!([&payload["userErrors"][0]["details"], &payload["userErrors"][1]["details"]], lines.each_ref());
    assert_eq!(payload["order"], Value::Null);

    let answer = server.rest(&shop.customer, Method::POST, "/orders", Some(order_input(&basket))).await;
    assert_eq!(answer.failure(), (409, "INSUFFICIENT_STOCK"));
    let mut details = lines[0].clone();
    details["lines"] = json!(lines);
    assert_eq!(answer.body["error"]["details"], details);
    assert_eq!(stock(&server, shop.id).await, ["A|2", "B|9", "C|0"]);
    assert_eq!(server.database.rows(shop.id, "select count(*) from orders").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_see_their_own_orders_only() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let (second, second_id) = shop.another_customer(&server, "second@example.com").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let first_order = shop.order(&server, &shop.customer, &[(product, 1)]).await["order"].clone();
    let second_order = shop.order(&server, &second, &[(product, 1)]).await["order"].clone();
    let (own, others, line) = (&first_order["id"], &second_order["id"], &second_order["items"][0]["id"]);

    let data = server.data(&shop.customer, GET, json!({ "id": own })).await;
    assert_eq!(data, json!({"order": {"id": own}, "node": {"id": own}}));
    for stranger in [others, &json!(Uuid::nil())] {
        let data = server.data(&shop.customer, GET, json!({ "id": stranger })).await;
        assert_eq!(data, json!({"order": null, "node": null}));
        let answer = server.rest(&shop.customer, Method::GET, &format!("/orders/{}", id(stranger)), None).await;
        assert_eq!(answer.failure(), (404, "NOT_FOUND"));
        assert_eq!(answer.body["error"]["message"], "Order not found");
    }
    let data = server.data(&shop.customer, "query($id: ID!) { node(id: $id) { id } }", json!({ "id": line })).await;
    assert_eq!(data["node"], Value::Null);

    let both = json!([{"id": others}, {"id": own}]);
    let of = |customer: Uuid| json!({"filter": {"customerId": customer}});
    for (who, variables, listed) in [
        (&shop.customer, json!({}), json!([{"id": own}])),
        (&shop.customer, of(shop.customer_id), json!([{"id": own}])),
        (&second, json!({}), json!([{"id": others}])),
        (&shop.merchant, json!({}), both.clone()),
        (&shop.admin, json!({}), both),
        (&shop.merchant, of(second_id), json!([{"id": others}])),
        (&shop.merchant, of(Uuid::nil()), json!([])),
        (&shop.merchant, json!({"filter": {"status": "PAID"}}), json!([])),
    ] {
        let orders = server.data(who, LIST, variables.clone()).await["orders"].clone();
        assert_eq!(orders["totalCount"], listed.as_array().map_or(0, Vec::len), "{variables}");
        assert_eq!(orders["nodes"], listed, "{who:?} {variables}");
    }
    let nosy = vec![(&shop.customer, "FORBIDDEN")];
    server.refuses(nosy.clone(), "orders", LIST, &of(second_id)).await;
    server.refuses_rest(nosy, Method::GET, &format!("/orders?customerId={second_id}"), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_account_is_shown_to_the_customer_and_admins() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let order = shop.order(&server, &shop.customer, &[(product, 1)]).await["order"]["id"].clone();
    let query = "query($id: ID!) { order(id: $id) { status customer { id } } }";
    for (who, customer, errors) in [
        (&shop.customer, json!({"id": shop.customer_id}), &[][..]),
        (&shop.admin, json!({"id": shop.customer_id}), &[]),
        (&shop.merchant, Value::Null, &["FORBIDDEN order.customer"]),
    ] {
        let answer = server.graphql(who, query, json!({ "id": order })).await;
        assert_eq!(answer.errors(), errors);
        assert_eq!(answer.body["data"]["order"], json!({"status": "PENDING", "customer": customer}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_for_those_who_are_logged_in() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let order = id(&shop.order(&server, &shop.customer, &[(product, 1)]).await["order"]["id"]);
    let input = order_input(&[(product, 1)]);
    server
        .refuses(shop.but_users(), "order", "query($id: ID!) { order(id: $id) { id } }", &json!({ "id": order }))
        .await;
    server.refuses(shop.but_users(), "orders", LIST, &json!({})).await;
    server.refuses(shop.but_users(), "orderCreate", ORDER_CREATE, &json!({ "input": input })).await;
    server.refuses_rest(shop.but_users(), Method::GET, &format!("/orders/{order}"), None).await;
    server.refuses_rest(shop.but_users(), Method::GET, "/orders", None).await;
    server.refuses_rest(shop.but_users(), Method::POST, "/orders", Some(input)).await;
    let node = server.data(&shop.shopper, "query($id: ID!) { node(id: $id) { id } }", json!({ "id": order })).await;
    assert_eq!(node, json!({"node": null}));
    let nobody = server.graphql(&As::Nobody, "query($id: ID!) { node(id: $id) { id } }", json!({ "id": order })).await;
    assert_eq!(nobody.errors(), ["UNAUTHENTICATED node"]);
    assert_eq!(stock(&server, shop.id).await, ["A|8"]);
}
