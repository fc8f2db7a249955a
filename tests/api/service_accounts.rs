//! Service accounts: what their scopes open, and when their keys end.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::text_rows;
use crate::support::expect::until;
use crate::support::operations::Operation;
use crate::support::samples::Goods;
use crate::support::{As, Shop, TestDatabase, TestServer};

const CREATE: &str = "mutation($input: ServiceAccountCreateInput!) { serviceAccountCreate(input: $input) {
    key serviceAccount { id name scopes expiresAt lastUsedAt revokedAt } userErrors { code field message } } }";
const REVOKE: &str =
    "mutation($id: ID!) { serviceAccountRevoke(id: $id) { serviceAccount { revokedAt } userErrors { code } } }";

const DELETE: &str = "mutation($id: ID!) { productDelete(id: $id) { userErrors { message } } }";

/// What each root field takes; what is not here is for people, or for everybody.
const NEEDS: [(&str, &str); 14] = [
    ("product", "PRODUCTS_READ"),
    ("products", "PRODUCTS_READ"),
    ("productCreate", "PRODUCTS_WRITE"),
    ("productUpdate", "PRODUCTS_WRITE"),
    ("inventory", "INVENTORY_READ"),
    ("inventoryAdjust", "INVENTORY_WRITE"),
    ("order", "ORDERS_READ"),
    ("orders", "ORDERS_READ"),
    ("payments", "ORDERS_READ"),
    ("orderCreate", "ORDERS_WRITE"),
    ("orderStatusUpdate", "ORDERS_WRITE"),
    ("orderCancel", "ORDERS_WRITE"),
    ("paymentIntentCreate", "PAYMENTS_WRITE"),
    ("refundCreate", "PAYMENTS_WRITE"),
];

/// The same of routes.
const ROUTES_NEED: [(&str, &str); 14] = [
    ("GET /products", "PRODUCTS_READ"),
    ("GET /products/{id}", "PRODUCTS_READ"),
    ("POST /products", "PRODUCTS_WRITE"),
    ("PATCH /products/{id}", "PRODUCTS_WRITE"),
    ("DELETE /products/{id}", "nothing that a machine can have"),
    ("GET /inventory", "INVENTORY_READ"),
    ("PATCH /inventory/{productId}", "INVENTORY_WRITE"),
    ("GET /orders", "ORDERS_READ"),
    ("GET /orders/{id}", "ORDERS_READ"),
    ("POST /orders", "ORDERS_WRITE"),
    ("PATCH /orders/{id}/status", "ORDERS_WRITE"),
    ("DELETE /orders/{id}", "ORDERS_WRITE"),
    ("POST /payments/intents", "PAYMENTS_WRITE"),
    ("POST /auth/logout", "nothing that a machine can have"),
];

/// What everybody may do, whoever it is.
const FOR_EVERYBODY: [&str; 10] = [
    "viewer",
    "tenant",
    "login",
    "tokenRefresh",
    "tenantRegister",
    "mfaVerify",
    "POST /auth/login",
    "POST /auth/refresh",
    "POST /auth/mfa/verify",
    "POST /tenants",
];

async fn create(server: &TestServer, shop: &Shop, input: Value) -> Value {
    server.mutate(&shop.admin, CREATE, json!({ "input": input })).await
}

async fn machine(server: &TestServer, shop: &Shop, scopes: &[&str]) -> (As, Value) {
    let payload = create(server, shop, json!({"name": "till", "scopes": scopes})).await;
    let key = payload["key"].as_str().unwrap_or_else(|| panic!("a key: {payload:#}")).to_owned();
    (As::Token(key), payload["serviceAccount"].clone())
}

/// All that is in the shop's books. That an account was used is none of it.
async fn written(server: &TestServer, shop: &Shop) -> Vec<String> {
    let rows = server.database.contents(Some(shop.id)).await.into_iter();
    rows.filter(|row| !row.starts_with("service_account_uses")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_opens_what_it_names_and_nothing_else() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let mut goods = Goods::new(&server, &shop).await;
    let scopes: std::collections::BTreeSet<_> = NEEDS.iter().map(|(_, scope)| *scope).collect();
    let mut opened = 0;
    for scope in &scopes {
        let (who, _) = machine(&server, &shop, &[scope]).await;
        for operation in Operation::all().await {
            let name = operation.name.as_str();
            let Some(arguments) = goods.arguments(name, &shop) else { panic!("{name} is new: see samples.rs") };
            let needed = NEEDS.iter().chain(&ROUTES_NEED).find(|(field, _)| *field == name).map(|(_, scope)| *scope);
            let before = written(&server, &shop).await;
            let answer = operation.try_call(&server, &who, &arguments).await;
            if FOR_EVERYBODY.contains(&name) {
                continue;
            }
            let is_opened = answer.outcome() != "FORBIDDEN";
            assert_eq!(is_opened, needed == Some(scope), "{name} with {scope}: {:#}", answer.body);
            if is_opened {
                assert_eq!(answer.outcome(), "OK", "{name} with {scope}: {:#}", answer.body);
                opened += 1;
                goods = goods.renewed(&server, &shop).await;
            } else {
                assert!(written(&server, &shop).await == before, "{name} with {scope} wrote something");
            }
        }
    }
    assert_eq!(opened, NEEDS.len() + ROUTES_NEED.len() - 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_takes_its_scope_too() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let goods = Goods::new(&server, &shop).await;
    let (reader, account) = machine(&server, &shop, &["PRODUCTS_READ", "ORDERS_READ"]).await;
    let query = "query($p: ID!, $o: ID!) { product(identifier: {id: $p}) { id inventory { id } } order(id: $o) { id customer { id } } }";
    let answer = server.graphql(&reader, query, json!({"p": goods.product, "o": goods.order})).await;
    let data = &answer.body["data"];
    assert_eq!((&data["product"]["inventory"], &data["order"]["customer"]), (&Value::Null, &Value::Null));
    assert_eq!(answer.body["errors"].as_array().map(Vec::len), Some(2), "{:#}", answer.body);
    let node = server.graphql(&reader, "query($o: ID!) { node(id: $o) { id } }", json!({"o": goods.order})).await;
    assert_eq!(node.outcome(), "FORBIDDEN");
    let query =
        "query($o: ID!) { order(id: $o) { items { name product { id } } } payments { nodes { order { id } } } }";
    let (clerk, _) = machine(&server, &shop, &["ORDERS_READ"]).await;
    server.mutate(&shop.admin, DELETE, json!({"id": goods.product})).await;
    let answer = server.graphql(&clerk, query, json!({"o": goods.order})).await;
    let item = &answer.body["data"]["order"]["items"][0];
    assert_eq!((&item["product"], item["name"].is_string()), (&Value::Null, true), "{:#}", answer.body);
    let (cashier, _) = machine(&server, &shop, &["PAYMENTS_WRITE"]).await;
    let ask = "mutation($o: ID!) { paymentIntentCreate(input: {orderId: $o}) {
        payment { amount { amount } orderId order { customerName } } userErrors { message } } }";
    let asked = server.graphql(&cashier, ask, json!({"o": goods.order})).await;
    let payment = &asked.body["data"]["paymentIntentCreate"]["payment"];
    assert_eq!((&payment["order"], &payment["orderId"]), (&Value::Null, &json!(goods.order)), "{:#}", asked.body);
    assert_eq!(asked.outcome(), "FORBIDDEN");
    // The audit log knows who it was.
    let (writer, writing) = machine(&server, &shop, &["INVENTORY_WRITE"]).await;
    let body = json!({"delta": 5, "reason": "delivered"});
    let path = format!("/inventory/{}", goods.product);
    assert_eq!(server.rest(&writer, Method::PATCH, &path, Some(body)).await.status, 200);
    let by = "select user_id from audit_logs where resource = 'inventory' order by \"timestamp\" desc limit 1";
    assert_eq!(server.database.rows(shop.id, by).await, [writing["id"].as_str().expect("an id")]);
    assert_ne!(account["id"], writing["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_and_uses_are_noted() {
    let database = TestDatabase::create().await;
    let server = TestServer::on_database(database.clone(), |_| {}).await;
    let replica = TestServer::on_database(database, |_| {}).await;
    let shop = server.shop("engines").await;
    let (who, account) = machine(&server, &shop, &["ORDERS_READ"]).await;
    let days = "select round(extract(epoch from expires_at - created_at) / 86400) from service_accounts";
    assert_eq!(server.database.rows(shop.id, days).await, ["90"]);
    assert_eq!((&account["lastUsedAt"], &account["revokedAt"]), (&Value::Null, &Value::Null));
    let is_good = async |server: &TestServer| server.rest(&who, Method::GET, "/orders", None).await.status == 200;
    assert!(is_good(&server).await && is_good(&replica).await);
    let list = "{ serviceAccounts { nodes { name scopes lastUsedAt } totalCount } }";
    let list = server.data(&shop.admin, list, json!({})).await["serviceAccounts"].clone();
    assert_eq!((&list["totalCount"], &list["nodes"][0]["scopes"]), (&json!(1), &json!(["ORDERS_READ"])));
    assert!(list["nodes"][0]["lastUsedAt"].is_string());

    let revoked = server.mutate(&shop.admin, REVOKE, json!({"id": account["id"]})).await;
    assert!(revoked["serviceAccount"]["revokedAt"].is_string());
    assert!(!is_good(&server).await);
    until("a revoked key ends everywhere", 20, async || !is_good(&replica).await).await;
    assert_eq!(server.mutate(&shop.admin, REVOKE, json!({"id": account["id"]})).await, revoked, "it stays ended");

    let (who, _) = machine(&server, &shop, &["ORDERS_READ"]).await;
    let superuser = server.database.as_superuser().await;
    superuser.batch_execute("update service_accounts set expires_at = now()").await.expect("expired");
    assert_eq!(server.rest(&who, Method::GET, "/orders", None).await.outcome(), "UNAUTHENTICATED");
    let rows = text_rows(&superuser, "select * from service_accounts").await.join("\n");
    let As::Token(key) = &who else { panic!("a key") };
    assert!(!rows.contains(&key[60..]), "only the hash is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_that_cannot_be_noted_is_no_reason_to_refuse() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let (who, account) = machine(&server, &shop, &["ORDERS_READ"]).await;
    let owner = server.database.as_owner().await;
    owner.batch_execute("revoke insert on service_account_uses from mercato_app").await.expect("revoked");
    assert_eq!(server.rest(&who, Method::GET, "/orders", None).await.status, 200);
    let noted = "select last_used_at from service_account_uses";
    assert_eq!(server.database.rows(shop.id, noted).await, Vec::<String>::new(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_wrong_accounts_are_refused() {
    let server = TestServer::start().await;
    let (shop, other) = (server.shop("engines").await, server.shop("bridges").await);
    let (As::Token(key), account) = machine(&server, &shop, &["ORDERS_READ"]).await else { panic!("a key") };
    let (As::Token(foreign), _) = machine(&server, &other, &["ORDERS_READ"]).await else { panic!("a key") };
    // Where the shop, the account and the secret stand.
    let swap = |from: usize, to: usize| format!("{}{}{}", &key[..from], &foreign[from..to], &key[to..]);
    for wrong in ["svc_", "svc_AAAA", &key[..key.len() - 2], &swap(4, 25), &swap(25, 46), &swap(50, 80)] {
        let answer = server.rest(&As::Token(wrong.to_owned()), Method::GET, "/orders", None).await;
        assert_eq!((answer.status, answer.outcome()), (401, "UNAUTHENTICATED"), "{wrong}");
    }
    let request = server.request(Method::GET, "/api/v1/orders", &As::Token(key)).header("x-tenant", "bridges");
    assert_eq!(crate::support::answer(request).await.status, 403);
    let revoke = server.mutate(&other.admin, REVOKE, json!({"id": account["id"]})).await;
    assert_eq!(revoke["userErrors"][0]["code"], "NOT_FOUND");
    for (input, field) in [
        (json!({"name": "", "scopes": ["ORDERS_READ"]}), "name"),
        (json!({"name": "a", "scopes": []}), "scopes"),
        (json!({"name": "a", "scopes": ["ORDERS_READ"], "expiresInDays": 366}), "expiresInDays"),
        (json!({"name": "a", "scopes": ["ORDERS_READ"], "expiresInDays": 0}), "expiresInDays"),
    ] {
        let payload = create(&server, &shop, input).await;
        assert_eq!((&payload["userErrors"][0]["field"], &payload["key"]), (&json!([field]), &Value::Null));
    }
}
