//! Stock, and its ledger.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::expect::{shape, user_errors};
use crate::support::{As, TestServer};

const LIST: &str = "query($filter: InventoryFilter, $first: Int) { inventory(filter: $filter, first: $first) {
    totalCount nodes { id quantity threshold isLowStock updatedAt product { sku } } pageInfo { hasNextPage } } }";

const ADJUST: &str = "mutation($input: InventoryAdjustInput!) { inventoryAdjust(input: $input) {
    inventory { quantity threshold isLowStock product { sku } } userErrors { code message field details } } }";

/// The ledger, oldest first.
const LEDGER: &str = "select delta, kind, reason, user_id is not null, request_id from inventory_movements order by id";

async fn ledger(server: &TestServer, tenant: Uuid) -> Vec<String> {
    let rows = server.database.rows(tenant, LEDGER).await;
    // Request ids are made by the server here; that each is there is what counts.
    let short = |row: &String| row.rsplit_once('|').map(|(row, id)| format!("{row}|{}", id != "null"));
    rows.iter().filter_map(short).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_list_stock_and_what_is_low() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for (sku, quantity) in [("A", 11), ("B", 10), ("C", 0)] {
        shop.product(&server, sku, "1.00", quantity).await;
    }
    for (low_stock, query, skus) in [
        (Value::Null, "", &["A", "B", "C"][..]),
        (json!(true), "?lowStock=true", &["B", "C"]),
        (json!(false), "?lowStock=false", &["A"]),
    ] {
        let data = server.data(&shop.merchant, LIST, json!({"filter": {"lowStock": low_stock}})).await;
        let nodes = data["inventory"]["nodes"].as_array().expect("nodes");
        let listed: Vec<_> = nodes.iter().map(|stock| &stock["product"]["sku"]).collect();
        assert_eq!(listed, skus);
        assert_eq!(data["inventory"]["totalCount"], skus.len());
        let answer = server.rest(&shop.admin, Method::GET, &format!("/inventory{query}"), None).await;
        let listed: Vec<_> =
            answer.body["data"].as_array().expect("a list").iter().map(|stock| &stock["sku"]).collect();
        assert_eq!(listed, skus);
        assert_eq!(answer.body["meta"], json!({"page": 1, "limit": 20, "total": skus.len()}));
    }
    let first = server.data(&shop.merchant, LIST, json!({"first": 1})).await;
    let stock = json!({"id": "<id>", "quantity": 11, "threshold": 10, "isLowStock": false, "updatedAt": "<time>",
        "product": {"sku": "A"}});
    let expected = json!({"totalCount": 3, "nodes": [stock], "pageInfo": {"hasNextPage": true}});
    assert_eq!(shape(&first["inventory"]), expected);
    let second = server.rest(&shop.merchant, Method::GET, "/inventory?page=2&limit=1", None).await;
    let stock = json!({"productId": "<id>", "sku": "B", "name": "Product B", "quantity": 10, "threshold": 10,
        "isLowStock": true, "updatedAt": "<time>"});
    let meta = json!({"page": 2, "limit": 1, "total": 3});
    let expected = json!({"success": true, "data": [stock], "meta": meta, "error": null});
    assert_eq!((second.status, shape(&second.body)), (200, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_adjustment_is_in_the_ledger() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 20).await;
    for (change, quantity, threshold) in [
        (json!({"delta": -5, "reason": "broken"}), 15, 10),
        (json!({"delta": 1}), 16, 10),
        (json!({"quantity": 12, "reason": "counted"}), 12, 10),
        (json!({"quantity": 12, "reason": "counted again"}), 12, 10),
        (json!({"threshold": 12}), 12, 12),
        (json!({"delta": -12, "threshold": 0, "reason": "sold off"}), 0, 0),
    ] {
        let mut input = change.clone();
        input["productId"] = json!(product);
        let payload = server.mutate(&shop.merchant, ADJUST, json!({ "input": input })).await;
        let stock = json!({"quantity": quantity, "threshold": threshold, "isLowStock": quantity <= threshold,
            "product": {"sku": "A"}});
        assert_eq!(payload, json!({"inventory": stock, "userErrors": []}), "{change}");
    }
    let expected = [
        "20|INITIAL|null|t|true",
        "-5|ADJUSTMENT|broken|t|true",
        "1|ADJUSTMENT|null|t|true",
        "-4|ADJUSTMENT|counted|t|true",
        "-12|ADJUSTMENT|sold off|t|true",
    ];
    assert_eq!(ledger(&server, shop.id).await, expected);
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_adjusted_by_rest_too() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 20).await;
    let path = format!("/inventory/{product}");
    for (body, quantity) in [(json!({"delta": -11, "reason": "gift"}), 9), (json!({"quantity": 8}), 8)] {
        let answer = server.rest(&shop.merchant, Method::PATCH, &path, Some(body)).await;
        let stock = json!({"productId": "<id>", "sku": "A", "name": "Product A", "quantity": quantity, "threshold": 10,
            "isLowStock": true, "updatedAt": "<time>"});
        let expected = json!({"success": true, "data": stock, "error": null});
        assert_eq!((answer.status, shape(&answer.body)), (200, expected));
    }
    let expected = ["20|INITIAL|null|t|true", "-11|ADJUSTMENT|gift|t|true", "-1|ADJUSTMENT|null|t|true"];
    assert_eq!(ledger(&server, shop.id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_adjustments_are_refused_with_the_field_and_change_nothing() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 20).await;
    for (change, field) in [
        (json!({}), "delta"),
        (json!({"reason": "no reason"}), "delta"),
        (json!({"delta": 0}), "delta"),
        (json!({"delta": 1, "quantity": 1}), "delta"),
        (json!({"delta": -21}), "delta"),
        (json!({"delta": 1_000_000}), "delta"),
        (json!({"delta": i32::MIN}), "delta"),
        (json!({"delta": i32::MAX}), "delta"),
        (json!({"quantity": -1}), "quantity"),
        (json!({"quantity": 1_000_001}), "quantity"),
        (json!({"threshold": -1}), "threshold"),
        (json!({"delta": 1, "reason": ""}), "reason"),
        (json!({"delta": 1, "reason": "x".repeat(501)}), "reason"),
        (json!({"delta": 1, "reason": "a\u{0}b"}), "reason"),
    ] {
        let answer =
            server.rest(&shop.merchant, Method::PATCH, &format!("/inventory/{product}"), Some(change.clone())).await;
        assert_eq!(answer.wrong_fields(), [field], "{change}");
        let mut input = change.clone();
        input["productId"] = json!(product);
        let payload = server.mutate(&shop.merchant, ADJUST, json!({ "input": input })).await;
        assert_eq!(user_errors(&payload), [format!("VALIDATION_ERROR {field}")], "{change}");
        assert_eq!(payload["inventory"], Value::Null);
    }
    assert_eq!(server.database.rows(shop.id, "select quantity, threshold from inventory").await, ["20|10"]);
    assert_eq!(ledger(&server, shop.id).await, ["20|INITIAL|null|t|true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_of_unknown_products_cannot_be_adjusted() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    let foreign = other.product(&server, "A", "1.00", 20).await;
    for stranger in [foreign, Uuid::nil()] {
        let input = json!({"productId": stranger, "quantity": 0});
        let payload = server.mutate(&shop.merchant, ADJUST, json!({ "input": input })).await;
        assert_eq!(user_errors(&payload), ["NOT_FOUND productId"]);
        let path = format!("/inventory/{stranger}");
        let answer = server.rest(&shop.merchant, Method::PATCH, &path, Some(json!({"quantity": 0}))).await;
        assert_eq!(answer.failure(), (404, "NOT_FOUND"));
    }
    assert_eq!(server.database.rows(other.id, "select quantity from inventory").await, ["20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_for_staff() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 20).await;
    let input = json!({"input": {"productId": product, "quantity": 0}});
    let path = format!("/inventory/{product}");
    server.refuses(shop.but_staff(), "inventory", LIST, &json!({})).await;
    server.refuses(shop.but_staff(), "inventoryAdjust", ADJUST, &input).await;
    server.refuses_rest(shop.but_staff(), Method::GET, "/inventory", None).await;
    server.refuses_rest(shop.but_staff(), Method::PATCH, &path, Some(json!({"quantity": 0}))).await;
    assert_eq!(server.database.rows(shop.id, "select quantity from inventory").await, ["20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_products_stock_is_null_with_an_error_for_those_who_may_not_see_it() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    shop.product(&server, "A", "1.00", 20).await;
    let query = "{ products { totalCount nodes { sku inventory { quantity } } } }";
    for (who, quantity, errors) in [
        (&shop.merchant, Some(20), &[][..]),
        (&shop.admin, Some(20), &[]),
        (&shop.customer, None, &["FORBIDDEN products.nodes.0.inventory"]),
        (&shop.shopper, None, &["UNAUTHENTICATED products.nodes.0.inventory"]),
    ] {
        let answer = server.graphql(who, query, json!({})).await;
        assert_eq!(answer.errors(), errors, "{who:?}");
        let inventory = quantity.map(|quantity| json!({ "quantity": quantity }));
        let products = json!({"totalCount": 1, "nodes": [{"sku": "A", "inventory": inventory}]});
        assert_eq!(answer.body["data"], json!({ "products": products }), "{who:?}");
    }
    let nobody = server.graphql(&As::Nobody, query, json!({})).await;
    assert_eq!((nobody.errors(), &nobody.body["data"]), (vec!["UNAUTHENTICATED products".to_owned()], &Value::Null));
}
