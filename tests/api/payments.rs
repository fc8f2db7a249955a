//! From an order to its money and back: intents, cancelling, refunds and orders that nobody pays.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::text_rows;
use crate::support::expect::pause;
use crate::support::payments::Paying;
use crate::support::shop::id;
use crate::support::stripe::{Called, Fault};
use crate::support::{As, Shop, TestServer};

const CANCEL: &str = "mutation($id: ID!) { orderCancel(id: $id) { order { status } userErrors { code } } }";
const REFUND: &str = "mutation($input: RefundCreateInput!) { refundCreate(input: $input) {
    refund { id amount { amount } status reason note failure } userErrors { code message field } } }";
const PAYMENT: &str = "query($id: ID!) { order(id: $id) { payment {
    status capturedAmount { amount } refundedAmount { amount } refunds { amount { amount } status reason } } } }";

struct World {
    server: TestServer,
    shop: Shop,
    product: Uuid,
}

impl World {
    /// Work that failed is tried again soon.
    async fn start() -> Self {
        Self::with(|config| config.server.jobs_poll = Duration::from_millis(50)).await
    }

    async fn with(change: impl FnOnce(&mut mercato::config::Config)) -> Self {
        let server = TestServer::start_with(change).await;
        let shop = server.shop("paying").await;
        let product = shop.product(&server, "PIECE", "19.99", 100).await;
        Self { server, shop, product }
    }

    async fn order(&self) -> Uuid {
        id(&self.shop.order(&self.server, &self.shop.customer, &[(self.product, 1)]).await["order"]["id"])
    }

    async fn paid(&self) -> Paying {
        let paying = self.server.paying(&self.shop, self.product).await;
        assert_eq!(self.server.stripe.confirm(&paying.intent).await, 200);
        self.server.until_standing(&self.shop, paying.order, "PAID PAID").await;
        paying
    }

    async fn payment(&self, order: Uuid) -> Value {
        self.server.data(&self.shop.admin, PAYMENT, json!({ "id": order })).await["order"]["payment"].clone()
    }

    async fn refund(&self, who: &As, paying: &Paying, amount: Option<&str>) -> Value {
        let input = json!({"input": {"paymentId": paying.payment, "amount": amount, "note": "broken"}});
        self.server.mutate(who, REFUND, input).await
    }

    async fn stock(&self) -> i64 {
        let rows = self.server.database.rows(self.shop.id, "select quantity from inventory").await;
        rows[0].parse().expect("a quantity")
    }

    async fn assert_in_order(&self) {
        self.server.until_settled().await;
        assert_eq!(self.server.database.violations(self.shop.id).await, Vec::<String>::new());
        assert_eq!(self.server.stripe.discrepancies(&self.server, &self.shop).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_and_shipped() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let order = world.order().await;
    let asked = server.intend(&shop.customer, order).await;
    let payment = &asked["payment"];
    assert_eq!(payment["amount"], json!({"amount": "19.99", "currencyCode": "USD"}));
    assert_eq!(payment["status"], "PENDING");
    let again = server.intend(&shop.merchant, order).await;
    assert_eq!((&again["payment"]["id"], &again["clientSecret"]), (&payment["id"], &asked["clientSecret"]));

    let rest = server.rest(&shop.customer, Method::POST, "/payments/intents", Some(json!({ "orderId": order }))).await;
    let expected = json!({"paymentId": payment["id"], "orderId": order, "clientSecret": asked["clientSecret"],
        "stripePaymentIntent": payment["stripePaymentIntent"], "amount": "19.99", "currency": "USD", "status": "PENDING"});
    assert_eq!((rest.status, &rest.body["data"]), (201, &expected));

    let intent = payment["stripePaymentIntent"].as_str().expect("an intent");
    assert_eq!(server.stripe.confirm(intent).await, 200);
    server.until_standing(shop, order, "PAID PAID").await;
    for status in ["FULFILLED", "SHIPPED"] {
        let path = format!("/orders/{order}/status");
        let moved = server.rest(&shop.merchant, Method::PATCH, &path, Some(json!({ "status": status }))).await;
        assert_eq!(moved.body["data"]["status"], status, "{:#}", moved.body);
    }
    // Exactly one intent was ever made.
    assert_eq!(server.stripe.intents(), 1);
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_ask_for_an_orders_money() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let order = world.order().await;
    let (stranger, _) = shop.another_customer(server, "stranger@example.com").await;
    for who in [&stranger] {
        assert_eq!(server.try_intend(who, order).await.outcome(), "NOT_FOUND");
    }
    assert_eq!(server.try_intend(&shop.shopper, order).await.outcome(), "UNAUTHENTICATED");
    assert_eq!(server.try_intend(&shop.customer, Uuid::now_v7()).await.outcome(), "NOT_FOUND");
    server.mutate(&shop.customer, CANCEL, json!({ "id": order })).await;
    let late = server.try_intend(&shop.customer, order).await;
    assert_eq!(late.outcome(), "INVALID_STATUS_TRANSITION");
    let details = &late.body["data"]["paymentIntentCreate"]["userErrors"][0]["details"];
    assert_eq!(details, &json!({"from": "CANCELLED", "to": "PAID", "allowed": []}));
    let free = shop.product(server, "FREE", "0.00", 1).await;
    let free = id(&shop.order(server, &shop.customer, &[(free, 1)]).await["order"]["id"]);
    assert_eq!(server.try_intend(&shop.customer, free).await.outcome(), "VALIDATION_ERROR");
    assert_eq!(server.stripe.intents(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_can_be_tried_again() {
    let world = World::start().await;
    let paying = world.server.paying(&world.shop, world.product).await;
    world.server.stripe.decline(&paying.intent).await;
    world.server.until_standing(&world.shop, paying.order, "PENDING FAILED").await;
    assert_eq!(world.server.stripe.confirm(&paying.intent).await, 200);
    world.server.until_standing(&world.shop, paying.order, "PAID PAID").await;
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_out_of_order_charges_nobody_twice() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    for fault in [Fault::Error, Fault::Drop, Fault::ActThenError, Fault::ActThenDrop, Fault::ActThenHang] {
        let order = world.order().await;
        // More often than the client tries.
        server.stripe.fail("/v1/payment_intents", fault, 3);
        let failed = server.try_intend(&shop.customer, order).await;
        assert_eq!(failed.outcome(), "PAYMENT_PROVIDER_ERROR", "{fault:?}: {:#}", failed.body);
        assert_eq!(server.standing(shop, order).await, "PENDING PENDING", "{fault:?}");
        let asked = server.intend(&shop.customer, order).await;
        let intent = asked["payment"]["stripePaymentIntent"].as_str().expect("an intent");
        assert_eq!(server.stripe.confirm(intent).await, 200);
        server.until_standing(shop, order, "PAID PAID").await;
        assert_eq!(server.stripe.captured(order), 1, "{fault:?}");
        // Whoever asked, and however often: one key for each payment, and another only after an answer that Stripe would
        // repeat under the first.
        let of_payment = |call: &&Called| call.form.contains(&order.to_string());
        let calls = server.stripe.calls("/v1/payment_intents");
        let keys: BTreeSet<_> = calls.iter().filter(of_payment).map(|call| call.idempotency_key.clone()).collect();
        let expected = if matches!(fault, Fault::Error | Fault::ActThenError) { 2 } else { 1 };
        assert_eq!(keys.len(), expected, "{fault:?}: {keys:?}");
    }
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_passes_is_not_noticed() {
    let world = World::start().await;
    let order = world.order().await;
    world.server.stripe.fail("/v1/payment_intents", Fault::ActThenError, 1);
    assert_eq!(world.server.intend(&world.shop.customer, order).await["userErrors"], json!([]));
    assert_eq!(world.server.stripe.intents(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_locked_while_stripe_takes_its_time() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let order = world.order().await;
    server.stripe.fail("/v1/payment_intents", Fault::Slow(Duration::from_millis(700)), 1);
    let asking = server.try_intend(&shop.customer, order);
    let watching = async {
        server.stripe.until_called("/v1/payment_intents").await;
        let superuser = server.database.as_superuser().await;
        let open = "select query from pg_stat_activity where datname = current_database()
            and usename = 'mercato_app' and xact_start is not null and query not like '%payment_tasks%'";
        assert_eq!(text_rows(&superuser, open).await, Vec::<String>::new());
    };
    let (asked, ()) = join(asking, watching).await;
    assert_eq!(asked.outcome(), "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_paid_order_gives_the_money_back() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let paying = world.paid().await;
    assert_eq!(world.stock().await, 99);
    let path = format!("/orders/{}", paying.order);
    let cancelled = server.rest(&shop.customer, Method::DELETE, &path, None).await;
    assert_eq!(cancelled.body["data"]["status"], "CANCELLED");
    server.until_standing(shop, paying.order, "CANCELLED REFUNDED").await;
    assert_eq!(world.stock().await, 100);
    // Stripe's webhook may come before its answer.
    server.until_settled().await;
    let payment = world.payment(paying.order).await;
    assert_eq!(
        payment["refunds"],
        json!([{"amount": {"amount": "19.99"}, "status": "SUCCEEDED", "reason": "ORDER_CANCELLED"}])
    );
    assert_eq!(server.stripe.refunded(&paying.intent), 1999);
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_waits_until_stripe_is_back() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    for fault in [Fault::Error, Fault::ActThenDrop] {
        let paying = world.paid().await;
        server.stripe.fail("/v1/refunds", fault, 3);
        server.mutate(&shop.merchant, CANCEL, json!({ "id": paying.order })).await;
        server.until_standing(shop, paying.order, "CANCELLED REFUNDED").await;
        assert_eq!(server.stripe.refunded(&paying.intent), 1999, "{fault:?}");
    }
    world.assert_in_order().await;
}

/// An outage of more than a day: Stripe has made a part of a refund, and has forgotten the key by when it is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_not_made_again_after_days() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let paying = world.paid().await;
    server.stripe.fail("/v1/refunds", Fault::ActThenDrop, 3);
    world.refund(&shop.merchant, &paying, Some("5.00")).await;
    while server.stripe.calls("/v1/refunds").len() < 3 {
        pause().await;
    }
    server.stripe.forget_keys();
    let age = "update refunds set created_at = now() - interval '3 days'";
    server.database.as_superuser().await.batch_execute(age).await.expect("the superuser may");
    server.until_settled().await;
    assert_eq!(server.stripe.refunded(&paying.intent), 500);
    let refunds = world.payment(paying.order).await["refunds"].clone();
    assert_eq!(refunds, json!([{"amount": {"amount": "5.00"}, "status": "SUCCEEDED", "reason": "REQUESTED"}]));
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_closes_the_intent() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let paying = server.paying(shop, world.product).await;
    server.mutate(&shop.customer, CANCEL, json!({ "id": paying.order })).await;
    server.until_settled().await;
    assert_ne!(server.stripe.confirm(&paying.intent).await, 200);
    assert_eq!(server.standing(shop, paying.order).await, "CANCELLED PENDING");
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_never_exceed_what_was_captured() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let unpaid = server.paying(shop, world.product).await;
    assert_eq!(world.refund(&shop.merchant, &unpaid, None).await["userErrors"][0]["code"], "CONFLICT");
    let paying = world.paid().await;
    for (amount, message) in [("0", "at most 19.99"), ("20.00", "at most 19.99"), ("-1", "must be an amount")] {
        let refused = world.refund(&shop.merchant, &paying, Some(amount)).await;
        assert_eq!(refused["userErrors"][0]["field"], json!(["amount"]), "{amount}: {refused:#}");
        assert!(refused["userErrors"][0]["message"].as_str().is_some_and(|text| text.contains(message)), "{refused:#}");
    }
    let part = world.refund(&shop.merchant, &paying, Some("5.50")).await;
    assert_eq!((&part["refund"]["amount"]["amount"], &part["refund"]["note"]), (&json!("5.50"), &json!("broken")));
    server.until_settled().await;
    assert_eq!(server.standing(shop, paying.order).await, "PAID PAID");
    assert_eq!(world.payment(paying.order).await["refundedAmount"]["amount"], "5.50");
    let rest = world.refund(&shop.admin, &paying, None).await;
    assert_eq!(rest["refund"]["amount"]["amount"], "14.49");
    server.until_standing(shop, paying.order, "PAID REFUNDED").await;
    assert_eq!(world.refund(&shop.admin, &paying, None).await["userErrors"][0]["code"], "CONFLICT");
    // Another's payment, and a customer.
    let refused = server.graphql(&shop.customer, REFUND, json!({"input": {"paymentId": paying.payment}})).await;
    assert_eq!(refused.outcome(), "FORBIDDEN");
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_paid_twice_gives_the_second_payment_back() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let paying = world.paid().await;
    let second = server.stripe.make_another(&paying, shop, 1999).await;
    assert_eq!(server.stripe.confirm(&second).await, 200);
    while server.stripe.refunded(&second) == 0 {
        pause().await;
    }
    server.until_settled().await;
    assert_eq!((server.stripe.refunded(&second), server.stripe.refunded(&paying.intent)), (1999, 0));
    assert_eq!(server.standing(shop, paying.order).await, "PAID PAID");
    let payment = world.payment(paying.order).await;
    assert_eq!(payment["refunds"][0]["reason"], "DUPLICATE");
    assert_eq!(payment["refundedAmount"]["amount"], "0.00");
    // What the first one brought can still be given back.
    assert_eq!(world.refund(&shop.merchant, &paying, None).await["refund"]["amount"]["amount"], "19.99");
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_begun_at_stripes_side_are_heard_of() {
    let world = World::start().await;
    let paying = world.paid().await;
    assert_eq!(world.server.stripe.refund(&paying.intent, 999).await, 200);
    while world.payment(paying.order).await["refundedAmount"]["amount"] != "9.99" {}
    assert_eq!(
        world.refund(&world.shop.merchant, &paying, Some("10.01")).await["userErrors"][0]["code"],
        "VALIDATION_ERROR"
    );
    assert_eq!(world.server.stripe.refund(&paying.intent, 1000).await, 200);
    world.server.until_standing(&world.shop, paying.order, "PAID REFUNDED").await;
    world.assert_in_order().await;
}

/// Expiry looks at once, and often.
fn impatient(config: &mut mercato::config::Config) {
    config.server.order_payment_ttl = Duration::ZERO;
    config.server.jobs_poll = Duration::from_millis(20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_pays_expires() {
    let world = World::with(impatient).await;
    let World { server, shop, .. } = &world;
    let order = world.order().await;
    server.until_standing(shop, order, "CANCELLED").await;
    assert_eq!(world.stock().await, 100);
    let history = "select user_id from order_status_history where to_status = 'CANCELLED'";
    assert_eq!(server.database.rows(shop.id, history).await, ["null"]);
    // What costs nothing waits for nobody's money.
    let free = shop.product(server, "FREE", "0.00", 5).await;
    let free = id(&shop.order(server, &shop.customer, &[(free, 1)]).await["order"]["id"]);
    let other = world.order().await;
    server.until_standing(shop, other, "CANCELLED").await;
    assert_eq!(server.standing(shop, free).await, "PENDING");
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_unheard_does_not_expire() {
    let patient = World::start().await;
    let World { server, shop, .. } = &patient;
    let (paid, open) = (server.paying(shop, patient.product).await, server.paying(shop, patient.product).await);
    server.stripe.hold_webhooks();
    assert_eq!(server.stripe.confirm(&paid.intent).await, 200);
    // Another server, on the same database and the same Stripe, thinks that both have waited long enough.
    let stripe = server.stripe.clone();
    let sweeper = TestServer::with_stripe(server.database.clone(), stripe, impatient).await;
    server.until_standing(shop, paid.order, "PAID PAID").await;
    server.until_standing(shop, open.order, "CANCELLED PENDING").await;
    assert_ne!(server.stripe.confirm(&open.intent).await, 200);
    assert_eq!(patient.stock().await, 99);
    drop(sweeper);
    patient.assert_in_order().await;
}

/// Stripe takes neither very little nor very much: the order is told so at once, and its stock is not held for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_does_not_take_is_said_and_expires() {
    let world = World::with(|config| {
        impatient(config);
        config.server.order_payment_ttl = Duration::from_millis(700);
    })
    .await;
    let World { server, shop, .. } = &world;
    let cheap = shop.product(server, "CHEAP", "0.10", 5).await;
    let order = id(&shop.order(server, &shop.customer, &[(cheap, 1)]).await["order"]["id"]);
    let refused = server.intend(&shop.customer, order).await;
    assert_eq!(refused["userErrors"][0]["code"], "VALIDATION_ERROR", "{refused:#}");
    assert_eq!(refused["userErrors"][0]["field"], json!(["orderId"]));
    server.until_standing(shop, order, "CANCELLED PENDING").await;
    world.assert_in_order().await;
}

/// An intent of another account (test and live keys mixed up) cannot be paid, and must not hold its order for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_stripe_does_not_know_is_replaced() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let paying = server.paying(shop, world.product).await;
    let lose = "update payments set stripe_payment_intent = 'pi_of_another_account'";
    server.database.as_superuser().await.batch_execute(lose).await.expect("the superuser may");
    let asked = server.intend(&shop.customer, paying.order).await;
    let intent = asked["payment"]["stripePaymentIntent"].as_str().expect("an intent");
    assert!(intent != paying.intent && intent != "pi_of_another_account", "{asked:#}");
    assert_eq!(server.stripe.confirm(intent).await, 200);
    server.until_standing(shop, paying.order, "PAID PAID").await;
}

/// Half of it was given back at Stripe's side, unheard of here, when the order is cancelled: the other half follows.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_what_stripe_says_is_left() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let paying = world.paid().await;
    server.stripe.hold_webhooks();
    assert_eq!(server.stripe.refund(&paying.intent, 999).await, 200);
    server.mutate(&shop.merchant, CANCEL, json!({ "id": paying.order })).await;
    server.until_standing(shop, paying.order, "CANCELLED REFUNDED").await;
    let refunds = world.payment(paying.order).await["refunds"].clone();
    let rest = json!([{"amount": {"amount": "10.00"}, "status": "SUCCEEDED", "reason": "ORDER_CANCELLED"}]);
    assert_eq!(refunds, rest);
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_what_the_currency_can_pay() {
    let server = TestServer::start().await;
    let register =
        "mutation($input: TenantRegisterInput!) { tenantRegister(input: $input) { userErrors { message } } }";
    let input = json!({"input": {"name": "Tokyo", "subdomain": "tokyo", "currency": "JPY",
        "adminEmail": "admin@example.com", "adminPassword": crate::support::shop::PASSWORD}});
    server.mutate(&As::Nobody, register, input).await;
    let (admin, _) = crate::support::shop::login(&server, "tokyo", "admin@example.com").await;
    let create =
        "mutation($price: Decimal!) { productCreate(input: {name: \"Tea\", sku: \"TEA\", price: $price, quantity: 9}) {
        product { id } userErrors { message field } } }";
    let refused = server.mutate(&admin, create, json!({"price": "19.99"})).await;
    let message = "must be a whole amount: JPY has no smaller unit";
    assert_eq!(refused["userErrors"], json!([{"message": message, "field": ["price"]}]));
    let created = server.mutate(&admin, create, json!({"price": "1900"})).await;
    let update = "mutation($id: ID!) { productUpdate(id: $id, input: {price: \"0.50\"}) { userErrors { field } } }";
    let updated = server.mutate(&admin, update, json!({"id": created["product"]["id"]})).await;
    assert_eq!(updated["userErrors"], json!([{"field": ["price"]}]));
}
