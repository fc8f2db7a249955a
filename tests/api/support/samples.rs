//! Arguments with which each operation succeeds, for those who may.

use serde_json::{Value, json};
use uuid::Uuid;

use super::shop::{PASSWORD, id, order_input};
use super::{As, Shop, TestServer};

/// One of everything in a shop. The order is the customer's and PENDING, of one piece of the product.
#[derive(Clone, Debug)]
pub struct Goods {
    pub product: Uuid,
    pub inactive_product: Uuid,
    pub stock: Uuid,
    pub order: Uuid,
    pub item: Uuid,
    /// Of another order, which is PAID.
    pub payment: Uuid,
    /// Of a part of that payment.
    pub refund: Uuid,
    /// A customer who does nothing but be changed.
    pub user: Uuid,
    pub audit_log: Uuid,
    /// A machine that does nothing.
    pub service_account: Uuid,
    /// Of a session of the customer's, not used yet.
    pub refresh_token: String,
}

impl Goods {
    pub async fn new(server: &TestServer, shop: &Shop) -> Self {
        let (_, user) = shop.another_customer(server, "changing@example.com").await;
        let inactive_product = shop.product(server, &unique(), "1.00", 1).await;
        let delete = "mutation($id: ID!) { productDelete(id: $id) { userErrors { message } } }";
        server.mutate(&shop.admin, delete, json!({ "id": inactive_product })).await;
        let audit_log =
            &server.data(&shop.admin, "{ auditLogs(first: 1) { nodes { id } } }", json!({})).await["auditLogs"];
        let audit_log = id(&audit_log["nodes"][0]["id"]);
        let product = shop.product(server, &unique(), "19.99", 1).await;
        let paying = server.paying(shop, product).await;
        server.stripe.confirm(&paying.intent).await;
        server.until_standing(shop, paying.order, "PAID PAID").await;
        let refund = "mutation($id: ID!) { refundCreate(input: {paymentId: $id, amount: 1}) { refund { id } userErrors { message } } }";
        let refund = server.mutate(&shop.merchant, refund, json!({ "id": paying.payment })).await;
        let create = "mutation { serviceAccountCreate(input: {name: \"till\", scopes: [ORDERS_READ]}) { key serviceAccount { id } } }";
        let machine = server.mutate(&shop.admin, create, json!({})).await;
        let key = As::Token(machine["key"].as_str().expect("a key").to_owned());
        assert_eq!(server.rest(&key, reqwest::Method::GET, "/orders", None).await.status, 200, "it has been used");
        // So that nothing happens behind the test's back.
        server.until_settled().await;
        let nil = Uuid::nil();
        let goods = Self {
            product: nil,
            inactive_product,
            stock: nil,
            order: nil,
            item: nil,
            payment: paying.payment,
            refund: id(&refund["refund"]["id"]),
            user,
            audit_log,
            service_account: id(&machine["serviceAccount"]["id"]),
            refresh_token: String::new(),
        };
        goods.renewed(server, shop).await
    }

    /// The same with a new product and a new order, because the old ones were used up.
    pub async fn renewed(self, server: &TestServer, shop: &Shop) -> Self {
        let product = shop.product(server, &unique(), "19.99", 100).await;
        let placed = shop.order(server, &shop.customer, &[(product, 1)]).await;
        let stock = "query($id: ID!) { product(identifier: {id: $id}) { inventory { id } } }";
        let stock = server.data(&shop.merchant, stock, json!({ "id": product })).await;
        let login = "mutation($input: LoginInput!) { login(input: $input) { refreshToken } }";
        let input = json!({"tenant": shop.subdomain, "email": "customer@example.com", "password": PASSWORD});
        let session = server.mutate(&As::Nobody, login, json!({ "input": input })).await;
        Self {
            refresh_token: session["refreshToken"].as_str().expect("a refresh token").to_owned(),
            product,
            stock: id(&stock["product"]["inventory"]["id"]),
            order: id(&placed["order"]["id"]),
            item: id(&placed["order"]["items"][0]["id"]),
            ..self
        }
    }

    /// Everything by the type that GraphQL has for it, the shop itself too.
    pub fn by_type(&self, shop: &Shop) -> [(&'static str, Uuid); 10] {
        [
            ("AuditLog", self.audit_log),
            ("Inventory", self.stock),
            ("Order", self.order),
            ("OrderItem", self.item),
            ("Payment", self.payment),
            ("Product", self.product),
            ("Refund", self.refund),
            ("ServiceAccount", self.service_account),
            ("Tenant", shop.id),
            ("User", self.user),
        ]
    }

    /// What to call an operation with; none if nobody has thought of it yet.
    pub fn arguments(&self, operation: &str, shop: &Shop) -> Option<Value> {
        let (product, order, user, customer) = (self.product, self.order, self.user, shop.customer_id);
        let fresh = unique();
        let email = format!("{fresh}@example.com");
        let mut basket = order_input(&[(product, 1)]);
        basket["customerId"] = json!(customer);
        let new_product = json!({"name": "Sample", "sku": fresh, "price": "5.00", "imageUrls": ["https://example.com/a.png"],
            "category": "samples", "description": "A sample.", "quantity": 1, "threshold": 1});
        let new_tenant = json!({"name": "New", "subdomain": fresh, "adminEmail": email, "adminPassword": PASSWORD, "currency": "EUR"});
        Some(match operation {
            "tenant" | "viewer" | "mfaSetup" | "serviceAccounts" | "POST /auth/mfa/setup" => json!({}),
            "auditLogs" => json!({"filter": {"resource": "orders", "resourceId": order, "userId": customer}}),
            "inventory" => json!({"filter": {"lowStock": false}}),
            "node" | "productDelete" => json!({ "id": product }),
            "order" | "orderCancel" => json!({ "id": order }),
            "orders" => json!({"filter": {"customerId": customer, "status": "PENDING"}}),
            "product" => json!({"identifier": {"id": product}}),
            "payments" => json!({"filter": {"status": "PAID", "hasProblem": false}}),
            "passwordChange" => json!({"input": {"currentPassword": PASSWORD, "newPassword": PASSWORD}}),
            "paymentIntentCreate" => json!({"input": {"orderId": order}}),
            "refundCreate" => json!({"input": {"paymentId": self.payment, "amount": "1.00", "note": "sample"}}),
            "products" => json!({"filter": {"search": "product"}, "sort": {"field": "NAME"}}),
            "users" => json!({"filter": {"role": "CUSTOMER"}}),
            "customerRegister" => json!({"input": {"email": email, "password": PASSWORD}}),
            "inventoryAdjust" => json!({"input": {"productId": product, "delta": 1, "reason": "counted"}}),
            "login" => json!({"input": {"tenant": shop.subdomain, "email": "admin@example.com", "password": PASSWORD}}),
            "tokenRefresh" => json!({"input": {"refreshToken": self.refresh_token}}),
            "logout" => json!({"input": {"everywhere": false}}),
            "mfaVerify" | "mfaDisable" => json!({"input": {"code": "000000"}}),
            "orderCreate" => json!({ "input": basket }),
            "orderStatusUpdate" => json!({"id": order, "input": {"status": "PAID"}}),
            "productCreate" => json!({ "input": new_product }),
            "productUpdate" => json!({"id": product, "input": {"name": "Renamed"}}),
            "tenantRegister" => json!({ "input": new_tenant }),
            "serviceAccountCreate" => {
                json!({"input": {"name": "till", "scopes": ["ORDERS_READ"], "expiresInDays": 90}})
            }
            "serviceAccountRevoke" => json!({"id": self.service_account}),
            "tenantApiKeyRotate" => json!({"input": {"overlapHours": 1}}),
            "tenantUpdate" => json!({"input": {"name": "Renamed"}}),
            "userCreate" => json!({"input": {"email": email, "password": PASSWORD, "role": "MERCHANT"}}),
            "userDeactivate" => json!({ "id": user }),
            "userUpdate" => json!({"id": user, "input": {"role": "CUSTOMER"}}),

            "GET /inventory" => json!({"query": {"lowStock": false}}),
            "GET /orders" => json!({"query": {"customerId": customer, "status": "PENDING"}}),
            "GET /products" => json!({"query": {"search": "product"}}),
            "DELETE /orders/{id}" | "GET /orders/{id}" => json!({"url": {"id": order}}),
            "DELETE /products/{id}" | "GET /products/{id}" => json!({"url": {"id": product}}),
            "PATCH /inventory/{productId}" => {
                json!({"url": {"productId": product}, "body": {"delta": 1, "reason": "counted"}})
            }
            "PATCH /orders/{id}/status" => json!({"url": {"id": order}, "body": {"status": "PAID"}}),
            "PATCH /products/{id}" => json!({"url": {"id": product}, "body": {"name": "Renamed"}}),
            "POST /auth/login" => {
                json!({"body": {"subdomain": shop.subdomain, "email": "admin@example.com", "password": PASSWORD}})
            }
            "POST /auth/refresh" => json!({"body": {"refreshToken": self.refresh_token}}),
            "POST /auth/logout" => json!({"body": {"everywhere": false}}),
            "POST /auth/mfa/verify" => json!({"body": {"code": "000000"}}),
            "POST /orders" => json!({ "body": basket }),
            "POST /payments/intents" => json!({"body": {"orderId": order}}),
            "POST /products" => json!({ "body": new_product }),
            "POST /tenants" => json!({ "body": new_tenant }),
            _ => return None,
        })
    }
}

/// A text that was never used before, fit for a SKU, a subdomain and an address.
pub fn unique() -> String {
    Uuid::now_v7().simple().to_string()
}

/// The five kinds of callers.
pub fn everybody(shop: &Shop) -> [(&'static str, As); 5] {
    [
        ("nobody", As::Nobody),
        ("shopper", shop.shopper.clone()),
        ("customer", shop.customer.clone()),
        ("merchant", shop.merchant.clone()),
        ("admin", shop.admin.clone()),
    ]
}
