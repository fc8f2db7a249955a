//! Shops: opening, naming and reading one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::expect::{shape, user_errors};
use crate::support::shop::{PASSWORD, login};
use crate::support::{As, TestServer};

const REGISTER: &str = "mutation($input: TenantRegisterInput!) { tenantRegister(input: $input) {
    tenant { id name subdomain currency createdAt updatedAt } apiKey admin { id email }
    userErrors { code message field details } } }";

const RENAME: &str = "mutation($input: TenantUpdateInput!) { tenantUpdate(input: $input) {
    tenant { name } userErrors { code message field details } } }";

fn registration(subdomain: &str) -> Value {
    json!({"name": "Ada's Engines", "subdomain": subdomain, "adminEmail": "Ada@Example.com", "adminPassword": PASSWORD})
}

/// The registration with one field changed.
fn with(field: &str, value: &Value) -> Value {
    let mut registration = registration("engines");
    registration[field] = value.clone();
    registration
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_opens_a_shop_with_an_admin() {
    let server = TestServer::start().await;
    let payload = server.mutate(&As::Nobody, REGISTER, json!({"input": registration("engines")})).await;
    let key = payload["apiKey"].as_str().expect("a key").to_owned();
    assert!(key.starts_with("pk_") && key.len() > 40, "{key}");
    let expected = json!({
        "tenant": {"id": "<id>", "name": "Ada's Engines", "subdomain": "engines", "currency": "USD",
            "createdAt": "<time>", "updatedAt": "<time>"},
        "apiKey": key,
        "admin": {"id": "<id>", "email": "ada@example.com"},
        "userErrors": [],
    });
    assert_eq!(shape(&payload), expected);

    let (admin, admin_id) = login(&server, "engines", "ada@example.com").await;
    assert_eq!(json!(admin_id), payload["admin"]["id"]);
    let data = server.data(&admin, "{ viewer { role } tenant { id apiKey } }", json!({})).await;
    let expected = json!({"viewer": {"role": "ADMIN"}, "tenant": {"id": payload["tenant"]["id"], "apiKey": key}});
    assert_eq!(data, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_by_rest_answers_201() {
    let server = TestServer::start().await;
    let answer = server.rest(&As::Nobody, Method::POST, "/tenants", Some(with("currency", &json!("EUR")))).await;
    let key = answer.body["data"]["tenant"]["apiKey"].clone();
    assert!(key.as_str().is_some_and(|key| key.starts_with("pk_")), "{:#}", answer.body);
    let expected = json!({
        "success": true,
        "data": {
            "tenant": {"id": "<id>", "name": "Ada's Engines", "subdomain": "engines", "apiKey": key,
                "currency": "EUR", "createdAt": "<time>"},
            "admin": {"id": "<id>", "email": "ada@example.com", "role": "ADMIN"},
        },
        "error": null,
    });
    assert_eq!((answer.status, shape(&answer.body)), (201, expected));
    login(&server, "engines", "ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_registration_is_refused_with_the_field() {
    let server = TestServer::start().await;
    for (field, value) in [
        ("name", json!("")),
        ("name", json!(" \n ")),
        ("name", json!("x".repeat(201))),
        ("name", json!("a\u{0}b")),
        ("subdomain", json!("ab")),
        ("subdomain", json!("Engines")),
        ("subdomain", json!("-engines")),
        ("subdomain", json!("engines-")),
        ("subdomain", json!("en.gines")),
        ("subdomain", json!("xn--engines")),
        ("subdomain", json!("x".repeat(64))),
        ("adminEmail", json!("ada")),
        ("adminEmail", json!("ada@@example.com")),
        ("adminEmail", json!(format!("{}@example.com", "x".repeat(250)))),
        ("adminPassword", json!("eleven char")),
        ("adminPassword", json!("x".repeat(129))),
        ("adminPassword", json!("Password1234")),
        ("currency", json!("usd")),
        ("currency", json!("XXX")),
        ("currency", json!("KWD")),
    ] {
        let input = with(field, &value);
        let payload = server.mutate(&As::Nobody, REGISTER, json!({ "input": input })).await;
        assert_eq!(user_errors(&payload), [format!("VALIDATION_ERROR {field}")], "{field}: {value}");
        assert_eq!([&payload["tenant"], &payload["apiKey"], &payload["admin"]], [&Value::Null; 3]);
        let answer = server.rest(&As::Nobody, Method::POST, "/tenants", Some(input)).await;
        assert_eq!(answer.wrong_fields(), [field], "{field}: {value}");
    }
    let all = json!({"name": "", "subdomain": "", "adminEmail": "", "adminPassword": "", "currency": ""});
    let answer = server.rest(&As::Nobody, Method::POST, "/tenants", Some(all)).await;
    assert_eq!(answer.wrong_fields(), ["adminEmail", "adminPassword", "currency", "name", "subdomain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_subdomains_are_nobodys() {
    let server = TestServer::start().await;
    for subdomain in ["admin", "api", "app", "docs", "graphql", "login", "mail", "mercato", "status", "support", "www"]
    {
        let answer = server.rest(&As::Nobody, Method::POST, "/tenants", Some(registration(subdomain))).await;
        assert_eq!(answer.wrong_fields(), ["subdomain"], "{subdomain}");
        let message = answer.body["error"]["message"].as_str();
        assert!(message.is_some_and(|message| message.contains("reserved")), "{message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subdomain_is_taken_once() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let payload = server.mutate(&As::Nobody, REGISTER, json!({"input": registration("engines")})).await;
    assert_eq!(user_errors(&payload), ["CONFLICT subdomain"]);
    assert_eq!(payload["userErrors"][0]["details"], json!({"field": "subdomain"}));
    let answer = server.rest(&As::Nobody, Method::POST, "/tenants", Some(registration("engines"))).await;
    assert_eq!(answer.failure(), (409, "CONFLICT"));
    assert_eq!(answer.body["error"]["details"], json!({"field": "subdomain"}));
    // The newcomer's admin was not written either.
    let admins = server.database.rows(shop.id, "select email from users where role = 'ADMIN'").await;
    assert_eq!(admins, ["admin@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_shows_its_key_to_admins_only() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let query = "{ tenant { name subdomain currency apiKey } }";
    let As::Shopper(key) = &shop.shopper else { panic!("a key") };
    for (who, errors) in [
        (&shop.admin, &[][..]),
        (&shop.merchant, &["FORBIDDEN tenant.apiKey"]),
        (&shop.customer, &["FORBIDDEN tenant.apiKey"]),
        (&shop.shopper, &["UNAUTHENTICATED tenant.apiKey"]),
    ] {
        let answer = server.graphql(who, query, json!({})).await;
        assert_eq!(answer.errors(), errors, "{who:?}");
        let key = errors.is_empty().then_some(key);
        let tenant = json!({"name": "engines", "subdomain": "engines", "currency": "USD", "apiKey": key});
        assert_eq!(answer.body["data"]["tenant"], tenant, "{who:?}");
    }
    let nobody = server.graphql(&As::Nobody, query, json!({})).await;
    assert_eq!(nobody.errors(), ["UNAUTHENTICATED tenant"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_rename_their_shop() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    server.refuses(shop.but_admins(), "tenantUpdate", RENAME, &json!({"input": {"name": "Stolen"}})).await;
    for name in [String::new(), "x".repeat(201), "a\u{7}b".to_owned()] {
        let payload = server.mutate(&shop.admin, RENAME, json!({"input": {"name": name}})).await;
        assert_eq!((user_errors(&payload), &payload["tenant"]), (vec!["VALIDATION_ERROR name".into()], &Value::Null));
    }
    let unchanged = server.data(&shop.shopper, "{ tenant { name } }", json!({})).await;
    assert_eq!(unchanged, json!({"tenant": {"name": "engines"}}));

    let name = "Ada's Engines — Zürich 🛠";
    let payload = server.mutate(&shop.admin, RENAME, json!({"input": {"name": name}})).await;
    assert_eq!(payload, json!({"tenant": {"name": name}, "userErrors": []}));
    let renamed = server.data(&shop.shopper, "{ tenant { name } }", json!({})).await;
    assert_eq!(renamed, json!({"tenant": {"name": name}}));
}
