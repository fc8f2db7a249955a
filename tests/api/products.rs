//! What a shop sells: adding, changing and taking off sale. Lists are in `product_lists`.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::expect::{shape, user_errors};
use crate::support::shop::id;
use crate::support::{As, TestServer};

const CREATE: &str = "mutation($input: ProductCreateInput!) { productCreate(input: $input) {
    product { id name description price { amount currencyCode } sku category imageUrls isActive createdAt updatedAt
        inventory { quantity threshold isLowStock } }
    userErrors { code message field details } } }";

const UPDATE: &str = "mutation($id: ID!, $input: ProductUpdateInput!) { productUpdate(id: $id, input: $input) {
    product { name description price { amount } sku category imageUrls isActive }
    userErrors { code message field details } } }";

const DELETE: &str = "mutation($id: ID!) { productDelete(id: $id) {
    product { id isActive } userErrors { code message field details } } }";

const GET: &str = "query($id: ID!) { product(identifier: {id: $id}) { id name isActive } }";

/// A product with everything that can be said of one.
fn engine() -> Value {
    json!({"name": "Difference engine", "description": "Adds & carries.\n✔", "price": "19.99", "sku": "ENG-1",
        "category": "engines", "imageUrls": ["https://images.example.com/engine.jpg"], "quantity": 5, "threshold": 3})
}

/// The same with one field changed.
fn engine_with(field: &str, value: &Value) -> Value {
    let mut engine = engine();
    engine[field] = value.clone();
    engine
}

/// A product as REST shows it.
fn as_rest(engine: &Value) -> Value {
    let mut product = json!({"id": "<id>", "isActive": true, "createdAt": "<time>", "updatedAt": "<time>"});
    for field in ["name", "description", "price", "sku", "category", "imageUrls"] {
        product[field] = engine[field].clone();
    }
    product
}

/// What is wrong with products, by field.
fn mistakes() -> Vec<(&'static str, Value)> {
    let image = "https://images.example.com/1.jpg";
    vec![
        ("name", json!("")),
        ("name", json!(" ")),
        ("name", json!("x".repeat(201))),
        ("name", json!("a\u{0}b")),
        ("description", json!("x".repeat(10_001))),
        ("price", json!("-0.01")),
        ("price", json!(-1)),
        ("price", json!("1.234")),
        ("price", json!(1.234)),
        ("price", json!("1e3")),
        ("price", json!("100000000")),
        ("price", json!(1e20)),
        ("price", json!("")),
        ("sku", json!("")),
        ("sku", json!("x".repeat(65))),
        ("category", json!("")),
        ("category", json!("x".repeat(101))),
        ("imageUrls", json!(["http://images.example.com/1.jpg"])),
        ("imageUrls", json!([image, "javascript:alert(1)"])),
        ("imageUrls", json!(vec![image; 21])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_add_products_with_their_stock() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let payload = server.mutate(&shop.merchant, CREATE, json!({"input": engine()})).await;
    let mut product = as_rest(&engine());
    product["price"] = json!({"amount": "19.99", "currencyCode": "USD"});
    product["inventory"] = json!({"quantity": 5, "threshold": 3, "isLowStock": false});
    assert_eq!(shape(&payload), json!({"product": product, "userErrors": []}));

    let bare = json!({"name": "Bare", "price": 5, "sku": "BARE"});
    let product = server.mutate(&shop.admin, CREATE, json!({ "input": bare })).await["product"].clone();
    let expected = json!({"id": "<id>", "name": "Bare", "description": "", "sku": "BARE", "category": null,
        "price": {"amount": "5.00", "currencyCode": "USD"}, "imageUrls": [], "isActive": true,
        "createdAt": "<time>", "updatedAt": "<time>",
        "inventory": {"quantity": 0, "threshold": 10, "isLowStock": true}});
    assert_eq!(shape(&product), expected);
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn products_by_rest_are_created_read_changed_and_deleted() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let envelope = |data: &Value| json!({"success": true, "data": data, "error": null});
    let created = server.rest(&shop.merchant, Method::POST, "/products", Some(engine())).await;
    assert_eq!((created.status, shape(&created.body)), (201, envelope(&as_rest(&engine()))));
    let path = format!("/products/{}", id(&created.body["data"]["id"]));

    for who in [&shop.shopper, &shop.customer, &shop.merchant, &shop.admin] {
        let read = server.rest(who, Method::GET, &path, None).await;
        assert_eq!((read.status, &read.body), (200, &created.body), "{who:?}");
    }
    let changed = server.rest(&shop.merchant, Method::PATCH, &path, Some(json!({"price": 18, "category": null}))).await;
    let mut expected = as_rest(&engine());
    expected["price"] = json!("18.00");
    expected["category"] = Value::Null;
    assert_eq!((changed.status, shape(&changed.body)), (200, envelope(&expected)));
    let deleted = server.rest(&shop.admin, Method::DELETE, &path, None).await;
    expected["isActive"] = json!(false);
    assert_eq!((deleted.status, shape(&deleted.body)), (200, envelope(&expected)));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_products_are_refused_with_the_field() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "OLD", "1.00", 1).await;
    let path = format!("/products/{product}");
    let stock = [("quantity", json!(-1)), ("quantity", json!(1_000_001)), ("threshold", json!(-1))];
    for (field, value) in mistakes().into_iter().chain(stock) {
        let input = engine_with(field, &value);
        let payload = server.mutate(&shop.merchant, CREATE, json!({ "input": input })).await;
        assert_eq!(user_errors(&payload), [format!("VALIDATION_ERROR {field}")], "{value}");
        assert_eq!(payload["product"], Value::Null);
        let answer = server.rest(&shop.merchant, Method::POST, "/products", Some(input)).await;
        assert_eq!(answer.wrong_fields(), [field], "{value}");
    }
    for (field, value) in mistakes() {
        let input = json!({ field: value });
        let payload = server.mutate(&shop.merchant, UPDATE, json!({"id": product, "input": input})).await;
        assert_eq!(user_errors(&payload), [format!("VALIDATION_ERROR {field}")], "{value}");
        let answer = server.rest(&shop.merchant, Method::PATCH, &path, Some(input)).await;
        assert_eq!(answer.wrong_fields(), [field], "{value}");
    }
    let all = json!({"name": "", "price": "-1", "sku": "", "category": "", "imageUrls": ["ftp://a.b"]});
    for (method, path) in [(Method::POST, "/products"), (Method::PATCH, &path)] {
        let answer = server.rest(&shop.merchant, method, path, Some(all.clone())).await;
        assert_eq!(answer.wrong_fields(), ["category", "imageUrls", "name", "price", "sku"]);
    }
    let products = server.database.rows(shop.id, "select sku, price from products").await;
    assert_eq!(products, ["OLD|1.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sku_is_taken_once_in_a_shop() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    shop.product(&server, "ENG-1", "1.00", 1).await;
    let second = shop.product(&server, "ENG-2", "1.00", 1).await;
    let created = server.mutate(&shop.merchant, CREATE, json!({"input": engine()})).await;
    let renamed = server.mutate(&shop.merchant, UPDATE, json!({"id": second, "input": {"sku": "ENG-1"}})).await;
    for payload in [created, renamed] {
        assert_eq!(user_errors(&payload), ["CONFLICT sku"]);
        assert_eq!(payload["userErrors"][0]["details"], json!({"field": "sku"}));
    }
    let path = format!("/products/{second}");
    for (method, path, body) in
        [(Method::POST, "/products", engine()), (Method::PATCH, path.as_str(), json!({"sku": "ENG-1"}))]
    {
        let answer = server.rest(&shop.merchant, method, path, Some(body)).await;
        assert_eq!(answer.failure(), (409, "CONFLICT"));
        assert_eq!(answer.body["error"]["details"], json!({"field": "sku"}));
    }
    let elsewhere = server.mutate(&other.merchant, CREATE, json!({"input": engine()})).await;
    assert_eq!(user_errors(&elsewhere), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_given_changes_and_null_clears_the_category() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let created = server.mutate(&shop.merchant, CREATE, json!({"input": engine()})).await;
    let product = id(&created["product"]["id"]);
    let mut expected = engine();
    expected["price"] = json!({"amount": "19.99"});
    expected["isActive"] = json!(true);
    for only_at_the_start in ["quantity", "threshold"] {
        expected.as_object_mut().expect("an object").remove(only_at_the_start);
    }
    for (field, value, shown) in [
        ("name", json!("Analytical engine"), json!("Analytical engine")),
        ("description", json!(""), json!("")),
        ("price", json!("21"), json!({"amount": "21.00"})),
        ("sku", json!("ENG-9"), json!("ENG-9")),
        ("category", Value::Null, Value::Null),
        ("category", json!("machines"), json!("machines")),
        ("imageUrls", json!([]), json!([])),
        ("isActive", json!(false), json!(false)),
    ] {
        let input = json!({"id": product, "input": {field: value}});
        // Taking a product off sale is deleting it.
        let who = if field == "isActive" { &shop.admin } else { &shop.merchant };
        let payload = server.mutate(who, UPDATE, input).await;
        expected[field] = shown;
        assert_eq!(payload, json!({"product": expected, "userErrors": []}), "{field}");
    }
    let off_sale = json!({"id": product, "input": {"isActive": false}});
    let denied = server.graphql(&shop.merchant, UPDATE, off_sale).await;
    assert_eq!(denied.body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let nothing = server.mutate(&shop.merchant, UPDATE, json!({"id": product, "input": {}})).await;
    assert_eq!(user_errors(&nothing), ["VALIDATION_ERROR input"]);
    let nothing = server.rest(&shop.merchant, Method::PATCH, &format!("/products/{product}"), Some(json!({}))).await;
    assert_eq!(nothing.wrong_fields(), ["body"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_found_by_id_or_sku() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    let product = shop.product(&server, "ENG-1", "1.00", 1).await;
    let foreign = other.product(&server, "ENG-2", "1.00", 1).await;
    let query = "query($by: ProductIdentifier!) { product(identifier: $by) { id } }";
    for (by, found) in [
        (json!({"id": product}), json!({"id": product})),
        (json!({"sku": "ENG-1"}), json!({"id": product})),
        (json!({"sku": "eng-1"}), Value::Null),
        (json!({"sku": "ENG-2"}), Value::Null),
        (json!({"id": foreign}), Value::Null),
        (json!({"id": Uuid::nil()}), Value::Null),
    ] {
        let data = server.data(&shop.shopper, query, json!({ "by": by })).await;
        assert_eq!(data, json!({"product": found}), "{by}");
    }
    for by in [json!({"id": product, "sku": "ENG-1"}), json!({}), json!({"id": "7"}), json!({"sku": ""})] {
        let answer = server.graphql(&shop.shopper, query, json!({ "by": by })).await;
        assert_eq!(answer.codes(), ["VALIDATION_ERROR"], "{by}: {:#}", answer.body);
    }
    for stranger in [foreign, Uuid::nil()] {
        for who in [&shop.shopper, &shop.admin] {
            let answer = server.rest(who, Method::GET, &format!("/products/{stranger}"), None).await;
            assert_eq!(answer.failure(), (404, "NOT_FOUND"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_product_is_gone_for_customers_only() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "ENG-1", "1.00", 5).await;
    let order = shop.order(&server, &shop.customer, &[(product, 2)]).await["order"]["id"].clone();
    for _ in 0..2 {
        let payload = server.mutate(&shop.admin, DELETE, json!({ "id": product })).await;
        assert_eq!(payload, json!({"product": {"id": product, "isActive": false}, "userErrors": []}));
    }
    let everywhere =
        "query($id: ID!) { product(identifier: {id: $id}) { id } node(id: $id) { id } products { totalCount } }";
    let there = json!({"product": {"id": product}, "node": {"id": product}, "products": {"totalCount": 1}});
    let gone = json!({"product": null, "node": null, "products": {"totalCount": 0}});
    for (who, expected, status) in [
        (&shop.shopper, &gone, 404),
        (&shop.customer, &gone, 404),
        (&shop.merchant, &there, 200),
        (&shop.admin, &there, 200),
    ] {
        assert_eq!(&server.data(who, everywhere, json!({ "id": product })).await, expected, "{who:?}");
        assert_eq!(
            server.rest(who, Method::GET, &format!("/products/{product}"), None).await.status,
            status,
            "{who:?}"
        );
    }
    // Orders keep what it was called, but lead nowhere.
    let query = "query($id: ID!) { order(id: $id) { items { name sku product { id } } } }";
    for (who, link) in [(&shop.customer, Value::Null), (&shop.merchant, json!({"id": product}))] {
        let data = server.data(who, query, json!({ "id": order })).await;
        let line = json!({"name": "Product ENG-1", "sku": "ENG-1", "product": link});
        assert_eq!(data["order"]["items"], json!([line]), "{who:?}");
    }
    assert_eq!(
        user_errors(&shop.order(&server, &shop.customer, &[(product, 1)]).await),
        ["VALIDATION_ERROR items.0.productId"]
    );
    server.mutate(&shop.merchant, UPDATE, json!({"id": product, "input": {"isActive": true}})).await;
    assert_eq!(server.data(&shop.shopper, everywhere, json!({ "id": product })).await, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_unknown_products_are_refused() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    let foreign = other.product(&server, "ENG-1", "1.00", 1).await;
    let body = json!({"name": "Mine now"});
    for stranger in [foreign, Uuid::nil()] {
        let updated = server.mutate(&shop.admin, UPDATE, json!({"id": stranger, "input": body})).await;
        let deleted = server.mutate(&shop.admin, DELETE, json!({ "id": stranger })).await;
        for payload in [updated, deleted] {
            assert_eq!((user_errors(&payload), &payload["product"]), (vec!["NOT_FOUND id".into()], &Value::Null));
        }
        let path = format!("/products/{stranger}");
        for (method, body) in [(Method::PATCH, Some(body.clone())), (Method::DELETE, None)] {
            assert_eq!(server.rest(&shop.admin, method, &path, body).await.failure(), (404, "NOT_FOUND"));
        }
    }
    let data = server.data(&other.admin, GET, json!({ "id": foreign })).await;
    assert_eq!(data["product"], json!({"id": foreign, "name": "Product ENG-1", "isActive": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_change_products_and_only_admins_delete_them() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "ENG-1", "1.00", 1).await;
    let before = server.database.rows(shop.id, "select * from products").await;
    let change = json!({"name": "Mine now"});
    server.refuses(shop.but_staff(), "productCreate", CREATE, &json!({"input": engine()})).await;
    server.refuses(shop.but_staff(), "productUpdate", UPDATE, &json!({"id": product, "input": change})).await;
    server.refuses(shop.but_admins(), "productDelete", DELETE, &json!({ "id": product })).await;
    let path = format!("/products/{product}");
    server.refuses_rest(shop.but_staff(), Method::POST, "/products", Some(engine())).await;
    server.refuses_rest(shop.but_staff(), Method::PATCH, &path, Some(change)).await;
    server.refuses_rest(shop.but_admins(), Method::DELETE, &path, None).await;
    assert_eq!(server.database.rows(shop.id, "select * from products").await, before);

    let nobody = vec![(&As::Nobody, "UNAUTHENTICATED")];
    server.refuses(nobody.clone(), "product", GET, &json!({ "id": product })).await;
    server.refuses(nobody.clone(), "products", "{ products { totalCount } }", &json!({})).await;
    server.refuses_rest(nobody.clone(), Method::GET, &path, None).await;
    server.refuses_rest(nobody, Method::GET, "/products", None).await;
}
