//! Shops as tests need them.

use std::sync::LazyLock;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value, json};
use uuid::Uuid;

use super::TestServer;

pub const PASSWORD: &str = "a-long-test-password";

/// Its hash, as cheap as there can be. Who is there to do something else than log in would cost six proper hashes a shop, and
/// a sixth of all tests' time.
static CHEAP_HASH: LazyLock<String> = LazyLock::new(|| {
    let least = Params::new(Params::MIN_M_COST, 1, 1, None).expect("parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, least);
    argon2.hash_password(PASSWORD.as_bytes()).expect("a hash").to_string()
});

/// In whose name a request is made.
#[derive(Clone, Debug)]
pub enum As {
    /// Nobody, of no shop.
    Nobody,
    /// An anonymous shopper with the shop's API key.
    Shopper(String),
    /// A logged-in user.
    Token(String),
}

impl As {
    /// The token of somebody who is logged in.
    pub fn token(&self) -> &str {
        match self {
            Self::Token(token) => token,
            other => panic!("no token: {other:?}"),
        }
    }

    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Nobody => vec![],
            Self::Shopper(key) => vec![("x-api-key", key.clone())],
            Self::Token(token) => vec![("authorization", format!("Bearer {token}"))],
        }
    }
}

/// A shop with one user of each role.
#[derive(Clone, Debug)]
pub struct Shop {
    pub id: Uuid,
    pub subdomain: String,
    pub shopper: As,
    pub admin: As,
    pub merchant: As,
    pub customer: As,
    pub admin_id: Uuid,
    pub customer_id: Uuid,
}

impl Shop {
    pub(super) async fn open(server: &TestServer, subdomain: &str) -> Self {
        let registered = server
            .mutate(
                &As::Nobody,
                "mutation($input: TenantRegisterInput!) { tenantRegister(input: $input) {
                    tenant { id } apiKey admin { id } userErrors { message } } }",
                json!({"input": {"name": subdomain, "subdomain": subdomain, "adminEmail": "admin@example.com",
                    "adminPassword": PASSWORD}}),
            )
            .await;
        let shopper = As::Shopper(registered["apiKey"].as_str().expect("an API key").to_owned());
        let id = id(&registered["tenant"]["id"]);
        let superuser = server.database.as_superuser().await;
        let hash = &*CHEAP_HASH;
        // Without the triggers: nothing has happened to the admin.
        let cheaper = format!(
            "begin; set local session_replication_role = replica;
             update users set password_hash = '{hash}' where tenant_id = '{id}'; commit"
        );
        superuser.batch_execute(&cheaper).await.expect("a cheaper hash");
        for (email, role) in [("merchant@example.com", "MERCHANT"), ("customer@example.com", "CUSTOMER")] {
            let insert = format!(
                "insert into users (id, tenant_id, email, password_hash, role)
                     values (uuid_v7(), '{id}', '{email}', '{hash}', '{role}')"
            );
            superuser.batch_execute(&insert).await.expect("a user");
        }
        let (admin, admin_id) = login(server, subdomain, "admin@example.com").await;
        let (merchant, _) = login(server, subdomain, "merchant@example.com").await;
        let (customer, customer_id) = login(server, subdomain, "customer@example.com").await;
        Self { id, subdomain: subdomain.to_owned(), shopper, admin, merchant, customer, admin_id, customer_id }
    }

    /// The same shop after everybody has logged in again, because a session may have ended.
    pub async fn logged_in_again(mut self, server: &TestServer) -> Self {
        (self.admin, _) = login(server, &self.subdomain, "admin@example.com").await;
        (self.merchant, _) = login(server, &self.subdomain, "merchant@example.com").await;
        (self.customer, _) = login(server, &self.subdomain, "customer@example.com").await;
        self
    }

    /// A further customer of this shop, logged in.
    pub async fn another_customer(&self, server: &TestServer, email: &str) -> (As, Uuid) {
        let input = json!({"input": {"email": email, "password": PASSWORD}});
        let register = "mutation($input: CustomerRegisterInput!) { customerRegister(input: $input) { user { id } userErrors { message } } }";
        server.mutate(&self.shopper, register, input).await;
        login(server, &self.subdomain, email).await
    }

    /// A product of this shop, with so many pieces in stock.
    pub async fn product(&self, server: &TestServer, sku: &str, price: &str, quantity: i32) -> Uuid {
        let input =
            json!({"input": {"name": format!("Product {sku}"), "sku": sku, "price": price, "quantity": quantity}});
        let create = "mutation($input: ProductCreateInput!) { productCreate(input: $input) { product { id } userErrors { message } } }";
        let created = server.mutate(&self.merchant, create, input).await;
        assert_eq!(created["userErrors"], json!([]));
        id(&created["product"]["id"])
    }

    /// Fills this shop with so many products, customers and paid orders of three lines.
    pub async fn fill(&self, server: &TestServer, rows: usize) {
        let fill = format!(
        "insert into products (id, tenant_id, name, price, sku)
             select uuid_v7(), '{tenant}', 'Product ' || i, 1, 'SKU-' || i from generate_series(1, {rows}) i;
         insert into inventory (id, tenant_id, product_id, quantity) select uuid_v7(), tenant_id, id, 9 from products;
         insert into users (id, tenant_id, email, password_hash, role)
             select uuid_v7(), '{tenant}', i || '@example.com', '', 'CUSTOMER' from generate_series(1, {rows}) i;
         insert into orders (id, tenant_id, customer_id, status, total_amount, customer_name, customer_email, shipping_address)
             select uuid_v7(), tenant_id, id, 'PENDING', 3, 'Ada', 'ada@example.com',
                 '{{\"street\": \"1\", \"city\": \"London\", \"state\": \"\", \"zip\": \"\", \"country\": \"GB\"}}'
             from users where role = 'CUSTOMER';
         update orders set status = 'PAID';
         insert into order_items (id, tenant_id, order_id, product_id, quantity, price_at_time)
             select uuid_v7(), o.tenant_id, o.id, p.id, 1, 1
             from orders o, lateral (select id from products order by md5(o.id::text || id::text) limit 3) p",
        tenant = self.id
    );
        server.database.as_superuser().await.batch_execute(&fill).await.expect("a full shop");
    }

    /// Places an order and returns the payload of `orderCreate`.
    pub async fn order(&self, server: &TestServer, who: &As, items: &[(Uuid, i64)]) -> Value {
        server.mutate(who, ORDER_CREATE, json!({ "input": order_input(items) })).await
    }
}

pub const ORDER_CREATE: &str = "mutation($input: OrderCreateInput!) { orderCreate(input: $input) {
    order { id status totalAmount { amount currencyCode } customerId allowedTransitions
        items { id productId sku name quantity priceAtTime { amount } } }
    userErrors { code message field details } } }";

/// A valid order of these products.
pub fn order_input(items: &[(Uuid, i64)]) -> Value {
    let items: Vec<_> = items.iter().map(|(id, quantity)| json!({"productId": id, "quantity": quantity})).collect();
    json!({
        "customerName": "Ada Lovelace",
        "customerEmail": "ada@example.com",
        "shippingAddress": {"street": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH", "country": "GB"},
        "items": items,
    })
}

/// Logs in and returns who one is then.
pub async fn login(server: &TestServer, tenant: &str, email: &str) -> (As, Uuid) {
    let login =
        "mutation($input: LoginInput!) { login(input: $input) { accessToken viewer { id } userErrors { message } } }";
    let input = json!({"input": {"tenant": tenant, "email": email, "password": PASSWORD}});
    let payload = server.mutate(&As::Nobody, login, input).await;
    let token = payload["accessToken"].as_str().unwrap_or_else(|| panic!("logged in: {payload:#}"));
    (As::Token(token.to_owned()), id(&payload["viewer"]["id"]))
}

/// The UUID in a JSON string.
pub fn id(value: &Value) -> Uuid {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("an id: {value}"))
}
