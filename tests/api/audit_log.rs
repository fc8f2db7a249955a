//! The log of all changes.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::text_rows;
use crate::support::expect::shape;
use crate::support::shop::id;
use crate::support::{As, TestServer, answer};

const LIST: &str = "query($filter: AuditLogFilter, $first: Int) { auditLogs(filter: $filter, first: $first) {
    totalCount nodes { id userId action resource resourceId changes requestId timestamp } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_logged_with_actor_request_and_both_states() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 5).await;
    let request = server.request(Method::PATCH, &format!("/api/v1/products/{product}"), &shop.admin);
    let changed = answer(request.header("x-request-id", "the-price-rise").json(&json!({"price": "2.50"}))).await;
    assert_eq!((changed.status, changed.header("x-request-id")), (200, Some("the-price-rise")));

    let filter = json!({"filter": {"resource": "products", "resourceId": product}});
    let logs = server.data(&shop.admin, LIST, filter).await["auditLogs"].clone();
    assert_eq!(logs["totalCount"], 2);
    let entry = &logs["nodes"][0];
    let mut told = entry.clone();
    told["changes"].take();
    let expected = json!({"id": "<id>", "userId": "<id>", "action": "UPDATE", "resource": "products",
        "resourceId": "<id>", "changes": null, "requestId": "the-price-rise", "timestamp": "<time>"});
    assert_eq!(shape(&told), expected);
    assert_eq!((id(&entry["userId"]), id(&entry["resourceId"])), (shop.admin_id, product));
    let changes = &entry["changes"];
    assert_eq!((&changes["before"]["price"], &changes["after"]["price"]), (&json!(1.0), &json!(2.5)));
    assert_eq!((&logs["nodes"][1]["action"], &logs["nodes"][1]["changes"]["before"]), (&json!("CREATE"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_narrowed_down_and_is_for_admins() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    server.shop("other").await;
    let product = shop.product(&server, "A", "1.00", 5).await;
    shop.order(&server, &shop.customer, &[(product, 1)]).await;
    for (filter, expected) in [
        (json!({"resource": "users"}), &["CREATE users", "CREATE users", "CREATE users"][..]),
        (json!({"resource": "tenants", "resourceId": shop.id}), &["CREATE tenants"]),
        (json!({"userId": shop.customer_id}), &["CREATE orders", "UPDATE inventory"]),
        (json!({"resource": "inventory", "userId": shop.customer_id}), &["UPDATE inventory"]),
        (json!({"resource": "nothing"}), &[]),
    ] {
        let logs = server.data(&shop.admin, LIST, json!({ "filter": filter })).await["auditLogs"].clone();
        let nodes = logs["nodes"].as_array().expect("entries").iter();
        let mut told: Vec<_> =
            nodes.map(|entry| format!("{} {}", entry["action"], entry["resource"]).replace('"', "")).collect();
        told.sort_unstable();
        assert_eq!(told, expected, "{filter}");
        assert_eq!(logs["totalCount"], expected.len(), "{filter}");
    }
    server.refuses(shop.but_admins(), "auditLogs", LIST, &json!({})).await;
    let wrong = server.graphql(&shop.admin, LIST, json!({"filter": {"resource": ""}})).await;
    assert_eq!(wrong.errors(), ["VALIDATION_ERROR auditLogs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_personal_data_is_logged() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 5).await;
    let order = shop.order(&server, &shop.customer, &[(product, 1)]).await["order"]["id"].clone();
    let changes = "mutation($user: ID!, $order: ID!) {
        tenantUpdate(input: {name: \"Engines & Co\"}) { userErrors { code } }
        userUpdate(id: $user, input: {isActive: false}) { userErrors { code } }
        orderCancel(id: $order) { userErrors { code } } }";
    server.data(&shop.admin, changes, json!({"user": shop.customer_id, "order": order})).await;

    let kinds = "select distinct resource || ' ' || action from audit_logs order by 1";
    let kinds = server.database.rows(shop.id, kinds).await.join(", ");
    let expected = "inventory CREATE, inventory UPDATE, orders CREATE, orders UPDATE, products CREATE, tenants CREATE, \
                    tenants UPDATE, users CREATE, users UPDATE";
    assert_eq!(kinds, expected);
    let log = server.database.rows(shop.id, "select changes::text from audit_logs").await.join("\n");
    assert!(log.contains("Engines & Co") && log.contains("CANCELLED"), "{log}");
    for secret in ["@", "argon2", "pk_", "password", "api_key", "mfa_secret", "Lovelace", "St James", "SW1Y"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// The schema's actions are those that the database lets an entry have.
#[tokio::test(flavor = "multi_thread")]
async fn actions_are_a_closed_set() {
    let server = TestServer::start().await;
    let query = "{ __type(name: \"AuditLog\") { fields { name type { ofType { kind name enumValues { name } } } } } }";
    let fields = server.data(&As::Nobody, query, json!({})).await["__type"]["fields"].clone();
    let fields = fields.as_array().expect("fields");
    let action = &fields.iter().find(|field| field["name"] == "action").expect("the action")["type"]["ofType"];
    let names =
        action["enumValues"].as_array().into_iter().flatten().map(|value| value["name"].as_str().expect("a name"));
    let check = "select pg_get_constraintdef(oid) from pg_constraint where conname = 'audit_logs_action_check'";
    let check = text_rows(&server.database.as_owner().await, check).await.concat();
    let allowed = check.split('\'').skip(1).step_by(2);
    assert_eq!(names.collect::<BTreeSet<_>>(), allowed.collect());
    assert_eq!((&action["kind"], &action["name"]), (&json!("ENUM"), &json!("AuditAction")));
}
