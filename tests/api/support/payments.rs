//! Payments as tests need them: intents, and what Stripe says of them, signed.

use chrono::{DateTime, Utc};
use mercato::clients::stripe::WebhookSecrets;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::database::text_rows;
use super::expect::pause;
use super::shop::id;
use super::{Answer, As, Shop, TestServer, answer};

/// What signs webhooks of tests; both are honoured, as while one replaces the other.
pub const SECRETS: [&str; 2] = ["whsec_test_one", "whsec_test_two"];

/// Asks for an order's money.
pub const CREATE: &str = "mutation($order: ID!) { paymentIntentCreate(input: {orderId: $order}) {
    payment { id status stripePaymentIntent amount { amount currencyCode } } clientSecret
    userErrors { code message field details } } }";

/// An order that somebody is about to pay, or has paid.
#[derive(Clone, Debug)]
pub struct Paying {
    pub order: Uuid,
    pub payment: Uuid,
    pub intent: String,
}

/// The header with which Stripe signs a body at this moment.
pub fn signature(secret: &str, body: &str, at: DateTime<Utc>) -> String {
    WebhookSecrets::new(vec![secret.into()]).sign(body.as_bytes(), at)
}

/// An event with an id of its own, as Stripe posts it.
pub fn event(kind: &str, object: &Value) -> Value {
    let id = format!("evt_{}", Uuid::now_v7().simple());
    json!({"id": id, "object": "event", "type": kind, "api_version": "2024-06-20", "data": {"object": object}})
}

impl Paying {
    /// The intent after so many cents of dollars were captured.
    pub fn succeeded(&self, cents: i64) -> Value {
        event(
            "payment_intent.succeeded",
            &json!({"id": self.intent, "object": "payment_intent", "amount": cents, "amount_received": cents,
                "currency": "usd", "status": "succeeded", "metadata": {"payment_id": self.payment}}),
        )
    }

    /// The intent after a card was declined.
    pub fn failed(&self) -> Value {
        event(
            "payment_intent.payment_failed",
            &json!({"id": self.intent, "object": "payment_intent", "status": "requires_payment_method",
                "metadata": {"payment_id": self.payment}}),
        )
    }

    /// The charge after so much of so much was given back.
    pub fn refunded(&self, total: i64, captured: i64) -> Value {
        event(
            "charge.refunded",
            &json!({"id": "ch_1", "object": "charge", "payment_intent": self.intent, "amount": captured,
                "amount_captured": captured, "amount_refunded": total, "currency": "usd", "refunded": total == captured,
                "metadata": {"payment_id": self.payment}}),
        )
    }
}

impl TestServer {
    /// Posts a body with this signature, as it is.
    pub async fn post_event(&self, body: &str, signature: &str) -> Answer {
        let request = self.request(Method::POST, "/api/v1/webhooks/stripe", &As::Nobody);
        answer(request.header("stripe-signature", signature).body(body.to_owned())).await
    }

    /// Posts an event, signed now.
    pub async fn stripe_says(&self, event: &Value) -> Answer {
        let body = event.to_string();
        self.post_event(&body, &signature(SECRETS[0], &body, Utc::now())).await
    }

    /// Asks for an order's money: the payload of `paymentIntentCreate`.
    pub async fn intend(&self, who: &As, order: Uuid) -> Value {
        self.mutate(who, CREATE, json!({ "order": order })).await
    }

    /// The same as a request, whatever comes of it.
    pub async fn try_intend(&self, who: &As, order: Uuid) -> Answer {
        self.graphql(who, CREATE, json!({ "order": order })).await
    }

    /// A new order of one piece of the product, with an intent.
    pub async fn paying(&self, shop: &Shop, product: Uuid) -> Paying {
        let order = id(&shop.order(self, &shop.customer, &[(product, 1)]).await["order"]["id"]);
        let payment = self.intend(&shop.customer, order).await["payment"].clone();
        let intent = payment["stripePaymentIntent"].as_str().unwrap_or_else(|| panic!("an intent: {payment}"));
        Paying { order, payment: id(&payment["id"]), intent: intent.to_owned() }
    }

    /// Where order and payment stand: `PENDING PAID`, and why the money does not pay, if it does not.
    pub async fn standing(&self, shop: &Shop, order: Uuid) -> String {
        let query = "query($id: ID!) { order(id: $id) { status payment { status problem } } }";
        let order = &self.data(&shop.admin, query, json!({ "id": order })).await["order"];
        let words = [&order["status"], &order["payment"]["status"], &order["payment"]["problem"]];
        words.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Waits until order and payment stand so.
    pub async fn until_standing(&self, shop: &Shop, order: Uuid, expected: &str) {
        while self.standing(shop, order).await != expected {
            pause().await;
        }
    }

    /// Waits until there is nothing left to do at Stripe.
    pub async fn until_settled(&self) {
        let superuser = self.database.as_superuser().await;
        while text_rows(&superuser, "select count(*) from payment_tasks").await != ["0"] {
            pause().await;
        }
    }
}
