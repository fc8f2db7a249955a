//! People of a shop.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::expect::{shape, user_errors};
use crate::support::shop::{PASSWORD, id, login};
use crate::support::{As, Shop, TestServer, answer};

const CREATE: &str = "mutation($input: UserCreateInput!) { userCreate(input: $input) {
    user { id tenantId email role mfaEnabled isActive createdAt } userErrors { code message field details } } }";

const REGISTER: &str = "mutation($input: CustomerRegisterInput!) { customerRegister(input: $input) {
    user { id tenantId email role mfaEnabled isActive createdAt } userErrors { code message field details } } }";

const UPDATE: &str = "mutation($id: ID!, $input: UserUpdateInput!) { userUpdate(id: $id, input: $input) {
    user { role isActive } userErrors { code message field details } } }";

const DEACTIVATE: &str = "mutation($id: ID!) { userDeactivate(id: $id) {
    user { email isActive } userErrors { code message field details } } }";

const LOGIN: &str = "mutation($input: LoginInput!) { login(input: $input) { accessToken userErrors { code } } }";

fn user(email: &str, role: &str) -> Value {
    json!({"id": "<id>", "tenantId": "<id>", "email": email, "role": role, "mfaEnabled": false, "isActive": true,
        "createdAt": "<time>"})
}

async fn create(server: &TestServer, shop: &Shop, email: &str, role: &str) -> Uuid {
    let input = json!({"email": email, "password": PASSWORD, "role": role});
    id(&server.mutate(&shop.admin, CREATE, json!({ "input": input })).await["user"]["id"])
}

async fn update(server: &TestServer, shop: &Shop, id: Uuid, input: Value) -> Value {
    server.mutate(&shop.admin, UPDATE, json!({"id": id, "input": input})).await
}

async fn can_log_in(server: &TestServer, tenant: &str, email: &str) -> bool {
    let input = json!({"tenant": tenant, "email": email, "password": PASSWORD});
    server.mutate(&As::Nobody, LOGIN, json!({ "input": input })).await["accessToken"].is_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewer_is_whoever_is_logged_in() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let query = "{ viewer { id tenantId email role mfaEnabled isActive createdAt } }";
    for (who, expected) in [
        (&shop.admin, user("admin@example.com", "ADMIN")),
        (&shop.merchant, user("merchant@example.com", "MERCHANT")),
        (&shop.customer, user("customer@example.com", "CUSTOMER")),
        (&shop.shopper, Value::Null),
        (&As::Nobody, Value::Null),
    ] {
        let data = server.data(who, query, json!({})).await;
        assert_eq!(shape(&data["viewer"]), expected, "{who:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_add_users_of_every_role() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for role in ["ADMIN", "MERCHANT", "CUSTOMER"] {
        let email = format!("New.{role}@Example.com");
        let input = json!({"email": email, "password": PASSWORD, "role": role});
        let payload = server.mutate(&shop.admin, CREATE, json!({ "input": input })).await;
        assert_eq!(shape(&payload), json!({"user": user(&email.to_lowercase(), role), "userErrors": []}));
        assert_eq!(payload["user"]["tenantId"], json!(shop.id));
        // The address is the same in any case of letters.
        assert!(can_log_in(&server, "engines", &email.to_uppercase()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_register_themselves() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let input = |email: &str| json!({"input": {"email": email, "password": PASSWORD}});
    let payload = server.mutate(&shop.shopper, REGISTER, input("Grace@Example.com")).await;
    assert_eq!(shape(&payload), json!({"user": user("grace@example.com", "CUSTOMER"), "userErrors": []}));
    assert!(can_log_in(&server, "engines", "grace@example.com").await);

    let body = json!({"query": REGISTER, "variables": input("by-name@example.com")});
    let request = server.http.post(format!("{}/graphql", server.url)).header("x-tenant", "engines").json(&body);
    let by_name = answer(request).await;
    assert_eq!(by_name.body["data"]["customerRegister"]["user"]["tenantId"], json!(shop.id));

    let nobody = server.graphql(&As::Nobody, REGISTER, input("nobody@example.com")).await;
    assert_eq!(nobody.errors(), ["UNAUTHENTICATED customerRegister"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_users_are_refused_with_the_fields() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for (email, password, fields) in [
        ("ada", PASSWORD, &["email"][..]),
        ("a\u{0}da@example.com", PASSWORD, &["email"]),
        ("ada@example.com", "too short", &["password"]),
        ("", "", &["email", "password"]),
        ("CUSTOMER@example.com", PASSWORD, &["email"]),
    ] {
        let code = if email.starts_with("CUSTOMER") { "CONFLICT" } else { "VALIDATION_ERROR" };
        let expected: Vec<_> = fields.iter().map(|field| format!("{code} {field}")).collect();
        let input = json!({"email": email, "password": password, "role": "MERCHANT"});
        let created = server.mutate(&shop.admin, CREATE, json!({ "input": input })).await;
        let input = json!({"email": email, "password": password});
        let registered = server.mutate(&shop.shopper, REGISTER, json!({ "input": input })).await;
        for payload in [created, registered] {
            assert_eq!(user_errors(&payload), expected, "{email:?}");
            assert_eq!(payload["user"], Value::Null);
            let details = if code == "CONFLICT" { json!({"field": "email"}) } else { Value::Null };
            assert_eq!(payload["userErrors"][0]["details"], details);
        }
    }
    let count = server.database.rows(shop.id, "select count(*) from users").await;
    assert_eq!(count, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_list_users() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let query = "query($filter: UserFilter, $first: Int) { users(filter: $filter, first: $first) {
        totalCount nodes { email role } edges { node { email } } pageInfo { hasNextPage } } }";
    for (variables, count, emails) in [
        (json!({}), 3, &["customer@example.com", "merchant@example.com", "admin@example.com"][..]),
        (json!({"first": 1}), 3, &["customer@example.com"]),
        (json!({"filter": {"role": "MERCHANT"}}), 1, &["merchant@example.com"]),
        (json!({"filter": {}}), 3, &["customer@example.com", "merchant@example.com", "admin@example.com"]),
    ] {
        let users = server.data(&shop.admin, query, variables).await["users"].clone();
        let listed = users["nodes"].as_array().expect("nodes").iter().map(|user| &user["email"]);
        assert_eq!(listed.collect::<Vec<_>>(), emails);
        assert_eq!(users["totalCount"], count);
        assert_eq!(users["pageInfo"]["hasNextPage"], emails.len() < count);
        assert_eq!(users["edges"][0]["node"]["email"], emails[0]);
    }
    let answer = server.graphql(&shop.admin, "{ users(first: 101) { totalCount } }", json!({})).await;
    assert_eq!(answer.errors(), ["VALIDATION_ERROR users"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_manage_users() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let before = server.database.rows(shop.id, "select * from users order by id").await;
    let new = json!({"input": {"email": "new@example.com", "password": PASSWORD, "role": "ADMIN"}});
    let promotion = json!({"id": shop.customer_id, "input": {"role": "ADMIN"}});
    server.refuses(shop.but_admins(), "users", "{ users { totalCount } }", &json!({})).await;
    server.refuses(shop.but_admins(), "userCreate", CREATE, &new).await;
    server.refuses(shop.but_admins(), "userUpdate", UPDATE, &promotion).await;
    server.refuses(shop.but_admins(), "userDeactivate", DEACTIVATE, &json!({"id": shop.admin_id})).await;
    assert_eq!(server.database.rows(shop.id, "select * from users order by id").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_role_counts_from_the_next_login() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let payload = update(&server, &shop, shop.customer_id, json!({"role": "MERCHANT"})).await;
    assert_eq!(payload, json!({"user": {"role": "MERCHANT", "isActive": true}, "userErrors": []}));
    let (promoted, _) = login(&server, "engines", "customer@example.com").await;
    server.data(&promoted, "{ inventory { totalCount } }", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_users_that_make_no_sense_are_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let other = server.shop("other").await;
    assert_eq!(user_errors(&update(&server, &shop, shop.customer_id, json!({})).await), ["VALIDATION_ERROR role"]);
    for stranger in [Uuid::nil(), other.customer_id] {
        let changed = update(&server, &shop, stranger, json!({"isActive": false})).await;
        let deactivated = server.mutate(&shop.admin, DEACTIVATE, json!({"id": stranger})).await;
        for payload in [changed, deactivated] {
            assert_eq!(user_errors(&payload), ["NOT_FOUND id"]);
            assert_eq!(payload["user"], Value::Null);
        }
    }
    assert!(can_log_in(&server, "other", "customer@example.com").await);
    let malformed = server.graphql(&shop.admin, DEACTIVATE, json!({"id": "7"})).await;
    assert_eq!(malformed.errors(), ["VALIDATION_ERROR "], "nothing was run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_user_cannot_log_in_until_reactivated() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let payload = server.mutate(&shop.admin, DEACTIVATE, json!({"id": shop.customer_id})).await;
    let gone = json!({"email": "customer@example.com", "isActive": false});
    assert_eq!(payload, json!({"user": gone, "userErrors": []}));
    assert!(!can_log_in(&server, "engines", "customer@example.com").await);
    let taken = json!({"input": {"email": "customer@example.com", "password": PASSWORD}});
    assert_eq!(user_errors(&server.mutate(&shop.shopper, REGISTER, taken).await), ["CONFLICT email"]);
    update(&server, &shop, shop.customer_id, json!({"isActive": true})).await;
    assert!(can_log_in(&server, "engines", "customer@example.com").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_keeps_an_active_admin() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    // One who may not log in is no admin to rely on.
    let inactive = create(&server, &shop, "second@example.com", "ADMIN").await;
    update(&server, &shop, inactive, json!({"isActive": false})).await;
    let admin = shop.admin_id;
    for (input, error) in [
        (json!({"role": "MERCHANT"}), "VALIDATION_ERROR role"),
        (json!({"isActive": false}), "VALIDATION_ERROR isActive"),
        (json!({"role": "ADMIN", "isActive": false}), "VALIDATION_ERROR isActive"),
    ] {
        let payload = update(&server, &shop, admin, input.clone()).await;
        assert_eq!((user_errors(&payload), &payload["user"]), (vec![error.into()], &Value::Null), "{input}");
    }
    let payload = server.mutate(&shop.admin, DEACTIVATE, json!({ "id": admin })).await;
    assert_eq!(user_errors(&payload), ["VALIDATION_ERROR isActive"]);
    // To be made what one is already is no change.
    assert_eq!(user_errors(&update(&server, &shop, admin, json!({"role": "ADMIN"})).await), [""; 0]);

    update(&server, &shop, inactive, json!({"isActive": true})).await;
    let payload = update(&server, &shop, admin, json!({"role": "CUSTOMER"})).await;
    assert_eq!(payload, json!({"user": {"role": "CUSTOMER", "isActive": true}, "userErrors": []}));
}

/// A token outlives a demotion, power over people must not.
#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_admin_cannot_undo_it() {
    let server = TestServer::start().await;
    let shop = server.shop("coup").await;
    let input = |email: &str| json!({"input": {"email": email, "password": PASSWORD, "role": "ADMIN"}});
    let created = server.mutate(&shop.admin, CREATE, input("second@example.com")).await;
    let (second, second_id) = login(&server, "coup", "second@example.com").await;
    assert_eq!(created["user"]["id"], json!(second_id));
    server.mutate(&shop.admin, DEACTIVATE, json!({ "id": second_id })).await;
    for (mutation, variables) in
        [(UPDATE, json!({"id": second_id, "input": {"isActive": true}})), (CREATE, input("third@example.com"))]
    {
        let denied = server.graphql(&second, mutation, variables).await;
        assert_eq!(denied.body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{:#}", denied.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_who_knows_it() {
    const CHANGE: &str = "mutation($input: PasswordChangeInput!) { passwordChange(input: $input) {
        user { email } userErrors { code field } } }";
    let server = TestServer::start().await;
    let shop = server.shop("changing").await;
    let change = |current: &str, new: &str| json!({"input": {"currentPassword": current, "newPassword": new}});
    let new = "quite another password";
    for (input, code, field) in [
        (change("a wrong password", new), "VALIDATION_ERROR", "currentPassword"),
        (change(PASSWORD, "short"), "VALIDATION_ERROR", "newPassword"),
    ] {
        let refused = server.mutate(&shop.customer, CHANGE, input).await;
        assert_eq!(refused["userErrors"], json!([{"code": code, "field": [field]}]));
    }
    // Two at once: one of them is too late, whoever it is.
    let asks = ["first new password", "second new password"]
        .map(|it| server.graphql(&shop.customer, CHANGE, change(PASSWORD, it)));
    let answers = futures_util::future::join_all(asks).await;
    // The later one knows the password no longer, or has no session any more.
    let late = answers.iter().filter(|answer| ["VALIDATION_ERROR", "UNAUTHENTICATED"].contains(&answer.outcome()));
    assert_eq!((late.count(), answers.iter().filter(|answer| answer.outcome() == "OK").count()), (1, 1));
    let won = if answers[0].outcome() == "OK" { "first new password" } else { "second new password" };
    let login =
        |password: &str| json!({"subdomain": "changing", "email": "customer@example.com", "password": password});
    let session = server.rest(&As::Nobody, Method::POST, "/auth/login", Some(login(won))).await;
    let customer = As::Token(session.body["data"]["token"].as_str().expect("a token").to_owned());
    assert_eq!(server.mutate(&customer, CHANGE, change(won, new)).await["userErrors"], json!([]));
    for (password, status) in [(PASSWORD, 401), (won, 401), (new, 200)] {
        let answer = server.rest(&As::Nobody, Method::POST, "/auth/login", Some(login(password))).await;
        assert_eq!(answer.status, status, "{password}");
    }
    // Neither password, nor its hash, is in the books.
    let audit = server.database.rows(shop.id, "select changes::text from audit_logs").await.concat();
    assert!(!audit.contains("argon2") && !audit.contains(new), "{audit}");
}
