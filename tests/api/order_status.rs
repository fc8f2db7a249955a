//! What becomes of orders: the walk through their states, and calling them off.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::expect::{shape, user_errors};
use crate::support::shop::id;
use crate::support::{As, Shop, TestServer, answer};

const SET_STATUS: &str =
    "mutation($id: ID!, $status: OrderStatus!) { orderStatusUpdate(id: $id, input: {status: $status}) {
    order { id status allowedTransitions } userErrors { code message field details } } }";

const CANCEL: &str = "mutation($id: ID!) { orderCancel(id: $id) {
    order { id status allowedTransitions } userErrors { code message field details } } }";

/// Every state, how an order gets there, and where it may go then.
const STATES: [(&str, &[&str], &[&str]); 6] = [
    ("PENDING", &[], &["PAID", "CANCELLED"]),
    ("PAID", &["PAID"], &["FULFILLED", "CANCELLED"]),
    ("FULFILLED", &["PAID", "FULFILLED"], &["SHIPPED", "CANCELLED"]),
    ("SHIPPED", &["PAID", "FULFILLED", "SHIPPED"], &["COMPLETED"]),
    ("COMPLETED", &["PAID", "FULFILLED", "SHIPPED", "COMPLETED"], &[]),
    ("CANCELLED", &["CANCELLED"], &[]),
];

async fn set_status(server: &TestServer, who: &As, order: Uuid, status: &str) -> Value {
    server.mutate(who, SET_STATUS, json!({"id": order, "status": status})).await
}

/// A new order for one piece, taken along this way.
async fn order_in(server: &TestServer, shop: &Shop, product: Uuid, way: &[&str]) -> Uuid {
    let order = id(&shop.order(server, &shop.customer, &[(product, 1)]).await["order"]["id"]);
    for status in way {
        assert_eq!(user_errors(&set_status(server, &shop.merchant, order, status).await), [""; 0]);
    }
    order
}

async fn stock(server: &TestServer, shop: &Shop) -> i64 {
    server.database.rows(shop.id, "select quantity from inventory").await[0].parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_walks_to_its_end_and_leaves_a_trail() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let order = order_in(&server, &shop, product, &[]).await;
    let walk = [
        ("PAID", &shop.merchant, &["FULFILLED", "CANCELLED"][..]),
        ("FULFILLED", &shop.admin, &["SHIPPED", "CANCELLED"]),
        ("SHIPPED", &shop.merchant, &["COMPLETED"]),
        ("COMPLETED", &shop.admin, &[]),
    ];
    for (status, who, allowed) in walk {
        let body = json!({"query": SET_STATUS, "variables": {"id": order, "status": status}});
        let request = server.request(Method::POST, "/graphql", who).header("x-request-id", format!("to-{status}"));
        let payload = answer(request.json(&body)).await.body["data"]["orderStatusUpdate"].clone();
        let expected = json!({"id": order, "status": status, "allowedTransitions": allowed});
        assert_eq!(payload, json!({"order": expected, "userErrors": []}));
    }

    let viewer = server.data(&shop.merchant, "{ viewer { id } }", json!({})).await["viewer"]["id"].clone();
    let (merchant, admin, customer) = (id(&viewer), shop.admin_id, shop.customer_id);
    let query = "query($id: ID!) { order(id: $id) { statusHistory { from to userId } } }";
    let history = server.data(&shop.customer, query, json!({ "id": order })).await["order"]["statusHistory"].clone();
    let expected = json!([
        {"from": null, "to": "PENDING", "userId": customer},
        {"from": "PENDING", "to": "PAID", "userId": merchant},
        {"from": "PAID", "to": "FULFILLED", "userId": admin},
        {"from": "FULFILLED", "to": "SHIPPED", "userId": merchant},
        {"from": "SHIPPED", "to": "COMPLETED", "userId": admin},
    ]);
    assert_eq!(history, expected);

    let query = "query($id: ID!) { auditLogs(filter: {resource: \"orders\", resourceId: $id}) {
        nodes { action userId requestId changes } } }";
    let audit = server.data(&shop.admin, query, json!({ "id": order })).await["auditLogs"]["nodes"].clone();
    let entries: Vec<_> = audit.as_array().expect("entries").iter().rev().collect();
    assert_eq!((entries.len(), &entries[0]["action"], &entries[0]["userId"]), (5, &json!("CREATE"), &json!(customer)));
    for (entry, step) in entries[1..].iter().zip(expected.as_array().expect("steps").iter().skip(1)) {
        let to = step["to"].as_str().expect("a state");
        assert_eq!((&entry["action"], &entry["userId"]), (&json!("UPDATE"), &step["userId"]));
        assert_eq!(entry["requestId"], format!("to-{to}"));
        let changes = &entry["changes"];
        assert_eq!((&changes["before"]["status"], &changes["after"]["status"]), (&step["from"], &step["to"]));
    }
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_step_is_refused_and_told_what_is_possible() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    for (from, way, allowed) in STATES {
        let order = order_in(&server, &shop, product, way).await;
        for (to, ..) in STATES {
            if allowed.contains(&to) {
                continue;
            }
            let details = json!({"from": from, "to": to, "allowed": allowed});
            let payload = set_status(&server, &shop.admin, order, to).await;
            assert_eq!(user_errors(&payload), ["INVALID_STATUS_TRANSITION status"], "{from} to {to}");
            assert_eq!((&payload["order"], &payload["userErrors"][0]["details"]), (&Value::Null, &details));
            let path = format!("/orders/{order}/status");
            let answer = server.rest(&shop.merchant, Method::PATCH, &path, Some(json!({ "status": to }))).await;
            assert_eq!(answer.failure(), (409, "INVALID_STATUS_TRANSITION"), "{from} to {to}");
            assert_eq!(answer.body["error"]["details"], details);
        }
        let status = format!("select status from orders where id = '{order}'");
        assert_eq!(server.database.rows(shop.id, &status).await, [from]);
    }
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_moves_on_by_rest() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.50", 9).await;
    let order = order_in(&server, &shop, product, &[]).await;
    let path = format!("/orders/{order}");
    let patch = format!("{path}/status");
    let before = server.rest(&shop.merchant, Method::GET, &path, None).await.body;
    for status in ["PAID", "FULFILLED", "SHIPPED", "COMPLETED"] {
        let moved = server.rest(&shop.merchant, Method::PATCH, &patch, Some(json!({ "status": status }))).await;
        let mut expected = shape(&before);
        expected["data"]["status"] = json!(status);
        assert_eq!((moved.status, shape(&moved.body)), (200, expected));
        assert_ne!(moved.body["data"]["updatedAt"], before["data"]["updatedAt"]);
    }
    for (body, field) in
        [(json!({"status": "paid"}), "status"), (json!({"status": 1}), "status"), (json!({}), "status")]
    {
        let answer = server.rest(&shop.merchant, Method::PATCH, &patch, Some(body)).await;
        assert_eq!(answer.wrong_fields(), [field], "{:#}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_cancel_depends_on_the_state() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 99).await;
    let mut taken = 0;
    for (from, way, allowed) in STATES {
        for (role, who) in [("CUSTOMER", &shop.customer), ("MERCHANT", &shop.merchant), ("ADMIN", &shop.admin)] {
            let order = order_in(&server, &shop, product, way).await;
            let may = allowed.contains(&"CANCELLED") && (role != "CUSTOMER" || from != "FULFILLED");
            let payload = server.mutate(who, CANCEL, json!({ "id": order })).await;
            if may {
                let cancelled = json!({"id": order, "status": "CANCELLED", "allowedTransitions": []});
                assert_eq!(payload, json!({"order": cancelled, "userErrors": []}), "{role} {from}");
            } else {
                assert_eq!(user_errors(&payload), ["INVALID_STATUS_TRANSITION status"], "{role} {from}");
                let details = &payload["userErrors"][0]["details"];
                assert_eq!((&details["from"], &details["to"]), (&json!(from), &json!("CANCELLED")), "{role}");
                taken += i64::from(from != "CANCELLED");
            }
        }
    }
    assert_eq!(stock(&server, &shop).await, 99 - taken);
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_gives_the_stock_back_once() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let (a, b) = (shop.product(&server, "A", "1.00", 5).await, shop.product(&server, "B", "1.00", 5).await);
    for by_rest in [false, true] {
        let order = id(&shop.order(&server, &shop.customer, &[(a, 2), (b, 5)]).await["order"]["id"]);
        let path = format!("/orders/{order}");
        if by_rest {
            let cancelled = server.rest(&shop.customer, Method::DELETE, &path, None).await;
            assert_eq!((cancelled.status, &cancelled.body["data"]["status"]), (200, &json!("CANCELLED")));
        } else {
            // Going to CANCELLED by the other way is the same.
            assert_eq!(user_errors(&set_status(&server, &shop.merchant, order, "CANCELLED").await), [""; 0]);
        }
        for who in [&shop.customer, &shop.admin] {
            let again = server.rest(who, Method::DELETE, &path, None).await;
            assert_eq!(again.failure(), (409, "INVALID_STATUS_TRANSITION"));
            let details = json!({"from": "CANCELLED", "to": "CANCELLED", "allowed": []});
            assert_eq!(again.body["error"]["details"], details);
        }
        let returned = format!(
            "select sum(delta), count(*) from inventory_movements where order_id = '{order}' and kind = 'CANCELLATION'"
        );
        assert_eq!(server.database.rows(shop.id, &returned).await, ["7|2"]);
    }
    assert_eq!(server.database.rows(shop.id, "select quantity from inventory").await, ["5", "5"]);
    assert_eq!(server.database.violations(shop.id).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orders_of_others_cannot_be_touched() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    let (second, _) = shop.another_customer(&server, "second@example.com").await;
    let product = shop.product(&server, "A", "1.00", 9).await;
    let order = order_in(&server, &shop, product, &[]).await;
    for (who, id) in [
        (&second, order),
        (&other.customer, order),
        (&other.merchant, order),
        (&other.admin, order),
        (&shop.admin, Uuid::nil()),
    ] {
        let payload = server.mutate(who, CANCEL, json!({ "id": id })).await;
        assert_eq!((user_errors(&payload), &payload["order"]), (vec!["NOT_FOUND id".into()], &Value::Null), "{who:?}");
        let path = format!("/orders/{id}");
        assert_eq!(server.rest(who, Method::DELETE, &path, None).await.failure(), (404, "NOT_FOUND"));
    }
    for (who, id) in [(&other.merchant, order), (&shop.merchant, Uuid::nil())] {
        assert_eq!(user_errors(&set_status(&server, who, id, "PAID").await), ["NOT_FOUND id"]);
        let path = format!("/orders/{id}/status");
        let answer = server.rest(who, Method::PATCH, &path, Some(json!({"status": "PAID"}))).await;
        assert_eq!(answer.failure(), (404, "NOT_FOUND"));
    }
    let paid = json!({"id": order, "status": "PAID"});
    let path = format!("/orders/{order}");
    server.refuses(shop.but_staff(), "orderStatusUpdate", SET_STATUS, &paid).await;
    server
        .refuses_rest(shop.but_staff(), Method::PATCH, &format!("{path}/status"), Some(json!({"status": "PAID"})))
        .await;
    server.refuses(shop.but_users(), "orderCancel", CANCEL, &paid).await;
    server.refuses_rest(shop.but_users(), Method::DELETE, &path, None).await;
    assert_eq!(server.database.rows(shop.id, "select status from orders").await, ["PENDING"]);
    assert_eq!(stock(&server, &shop).await, 8);
}
