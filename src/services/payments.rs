//! Payments: asking for one, giving money back, and the one way in which Stripe's word is applied.
//!
//! Stripe is never awaited inside a transaction. What must happen there is written down with its cause as a task, and
//! done by [`super::settlement`], however often this process dies.

use std::time::Duration;

use uuid::Uuid;

use crate::clients::stripe::{Event, Intent, IntentStatus, Metadata, NewIntent, StripeError};
use crate::db::orders::{self, OrderRow};
use crate::db::payments::{self, PaymentRow};
use crate::db::tenants::TenantKey;
use crate::db::{SystemReason, TenantTx, payment_tasks};
use crate::domain::actor::{Caller, RequestId};
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::payments::{Captured, Fact, PaymentStatus, Standing, Verdict};
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::refunds::{self, Owed, owe};

/// What of payments can be set.
#[derive(Clone, Copy, Debug)]
pub struct PaymentSettings {
    /// How long an order may wait for its payment before it expires.
    pub order_ttl: Duration,
}

/// A payment that the customer's browser can go on with.
#[derive(Clone, Debug)]
pub struct Intended {
    /// The payment.
    pub payment: PaymentRow,
    /// What Stripe's own library in the browser needs to take the money. Whoever has it can pay, and nothing else.
    pub client_secret: String,
}

/// Asks Stripe for the money of an order. Asked again, it answers with the same intent.
///
/// The payment is written before Stripe is asked, and its id makes the idempotency key: whatever happens between
/// Stripe's answer and our commit, the next attempt finds the same intent for as long as Stripe remembers the key.
pub async fn create_intent(services: &Services, caller: &Caller, order_id: Uuid) -> Result<Intended> {
    // An intent that was cancelled at Stripe's side is replaced once; a second one is nothing that happens by itself.
    for _ in 0..2 {
        let payment = prepare(services, caller, order_id).await?;
        let intent = match intent_of(services, caller.tenant()?.id, &payment).await {
            Ok(intent) => intent,
            Err(failure) => return Err(not_made(services, caller, &payment, failure).await?),
        };
        if intent.status == IntentStatus::Cancelled {
            note(services, caller, &payment, &intent).await?;
            continue;
        }
        if let Some(payment) = record(services, caller, &payment, &intent).await? {
            let no_secret = || Error::PaymentProvider(anyhow::anyhow!("an intent without a client secret"));
            return Ok(Intended { payment, client_secret: intent.client_secret.ok_or_else(no_secret)? });
        }
    }
    Err(Error::PaymentProvider(anyhow::anyhow!("Stripe cancels every intent of this order")))
}

/// What to answer when Stripe makes no intent. An answer that Stripe would repeat under the same key makes the next
/// attempt take another; should an intent have been made all the same, nobody has what it takes to pay it.
pub(super) async fn not_made(
    services: &Services,
    caller: &Caller,
    payment: &PaymentRow,
    failure: StripeError,
) -> Result<Error> {
    if matches!(failure, StripeError::Broken(_)) && payment.stripe_payment_intent.is_none() {
        let tx = services.db.unkeyed().tenant(caller).await?;
        let (_, now) = payments::locked(&tx, payment.order_id).await?;
        if now.attempt == payment.attempt && now.stripe_payment_intent.is_none() {
            payments::save(&tx, PaymentRow { attempt: now.attempt + 1, ..now }).await?;
        }
        tx.commit().await?;
    }
    Ok(match failure {
        StripeError::Refused { code: Some(code), .. } if code.starts_with("amount_too_") => {
            let message = format!("{} {} is less or more than can be paid at once", payment.amount, payment.currency);
            Error::field("orderId", message)
        }
        failure => failure.into(),
    })
}

/// The order's payment, opened when it has none.
async fn prepare(services: &Services, caller: &Caller, order_id: Uuid) -> Result<PaymentRow> {
    let tx = services.db.unkeyed().tenant(caller).await?;
    let order = orders::lock(&tx, order_id).await?.filter(|order| caller.sees_orders_of(order.customer_id));
    let order = order.ok_or(Error::not_found_at("Order", "orderId"))?;
    let existing = payments::of_order(&tx, order_id).await?;
    let payment = match existing {
        Some(payment) if payment.captured_at.is_some() => payment,
        _ if order.status != OrderStatus::Pending => return Err(not_payable(&order)),
        Some(payment) if payment.cancelled_at.is_some() => {
            let again = PaymentRow {
                stripe_payment_intent: None,
                attempt: payment.attempt + 1,
                status: PaymentStatus::Pending,
                cancelled_at: None,
                ..payment
            };
            payments::save(&tx, again).await?
        }
        Some(payment) => payment,
        None => {
            let currency = &caller.tenant()?.currency;
            check_payable(order.total_amount, currency)?;
            payments::open(&tx, services.sources.id(), order_id, order.total_amount, currency).await?
        }
    };
    tx.commit().await?;
    Ok(payment)
}

fn not_payable(order: &OrderRow) -> Error {
    Error::InvalidStatusTransition { from: order.status, to: OrderStatus::Paid, allowed: &[], field: "orderId" }
}

fn check_payable(total: Amount, currency: &str) -> Result<()> {
    match total.to_minor(currency) {
        Some(0) => Err(Error::field("orderId", "this order costs nothing, so there is nothing to pay")),
        Some(_) => Ok(()),
        None => Err(Error::field("orderId", format!("{total} cannot be paid: {currency} has no smaller unit than 1"))),
    }
}

/// The payment's intent as Stripe has it, made when there is none. No transaction is open meanwhile.
pub(super) async fn intent_of(
    services: &Services,
    tenant_id: Uuid,
    payment: &PaymentRow,
) -> Result<Intent, StripeError> {
    if let Some(id) = &payment.stripe_payment_intent {
        return services.stripe.intent(id).await;
    }
    let new = NewIntent {
        // Checked when the payment was opened.
        amount: payment.amount.to_minor(&payment.currency).unwrap_or_default(),
        currency: payment.currency.clone(),
        idempotency_key: format!("mercato-payment-{}-{}", payment.id, payment.attempt),
        metadata: Metadata { tenant_id, order_id: payment.order_id, payment_id: payment.id },
    };
    services.stripe.create_intent(new).await
}

impl From<StripeError> for Error {
    fn from(error: StripeError) -> Self {
        Self::PaymentProvider(error.into())
    }
}

/// Writes down which intent the payment has, and what Stripe told of it. None when it has another one by now.
async fn record(
    services: &Services,
    caller: &Caller,
    asked: &PaymentRow,
    intent: &Intent,
) -> Result<Option<PaymentRow>> {
    let tx = services.db.tenant(caller).await?;
    let (order, payment) = payments::locked(&tx, asked.order_id).await?;
    if payment.attempt != asked.attempt || payment.cancelled_at.is_some() {
        tx.rollback().await?;
        return Ok(None);
    }
    let payment = adopt(&tx, payment, &intent.id).await?;
    if payment.stripe_payment_intent.as_deref() != Some(&intent.id) {
        tx.rollback().await?;
        return Ok(None);
    }
    if let Some(fact) = fact_of(intent) {
        apply(services, &tx, asked.order_id, &intent.id, &fact).await?;
    }
    let order_left = order.status != OrderStatus::Pending && payment.is_open();
    if order_left {
        // It was called off while Stripe was asked.
        payment_tasks::add(&tx, order.id).await?;
    }
    let payment = payments::find(&tx, payment.id).await?.ok_or_else(payments::vanished)?;
    services.wake_jobs(&tx);
    tx.commit().await?;
    if order_left { Err(not_payable(&order)) } else { Ok(Some(payment)) }
}

/// Gives the payment the intent that was made for it, when it has none yet.
pub(super) async fn adopt(tx: &TenantTx, payment: PaymentRow, intent: &str) -> Result<PaymentRow> {
    if payment.stripe_payment_intent.is_some() {
        return Ok(payment);
    }
    payments::save(tx, PaymentRow { stripe_payment_intent: Some(intent.to_owned()), ..payment }).await
}

/// Writes down what Stripe says of an intent, in a transaction of its own, and returns the intent's id.
pub(super) async fn note(
    services: &Services,
    caller: &Caller,
    payment: &PaymentRow,
    intent: &Intent,
) -> Result<String> {
    let tx = services.db.unkeyed().tenant(caller).await?;
    let (_, now) = payments::locked(&tx, payment.order_id).await?;
    if now.attempt == payment.attempt {
        adopt(&tx, now, &intent.id).await?;
    }
    if let Some(fact) = fact_of(intent) {
        apply(services, &tx, payment.order_id, &intent.id, &fact).await?;
    }
    tx.commit().await?;
    Ok(intent.id.clone())
}

/// What an intent, as Stripe has it, says beyond its existence.
pub(super) fn fact_of(intent: &Intent) -> Option<Fact> {
    match intent.status {
        IntentStatus::Succeeded => {
            let amount = intent.amount_received.or(intent.amount);
            Some(Fact::Captured(Captured { amount, currency: intent.currency.clone() }))
        }
        IntentStatus::Cancelled => Some(Fact::Cancelled),
        IntentStatus::Open | IntentStatus::Processing => None,
    }
}

/// Takes in an event as Stripe posts it. The event's id and its effect are one transaction. One that was applied before,
/// is of another type, or tells of an intent that is not ours, is received and changes nothing.
pub async fn receive(services: &Services, request_id: RequestId, signature: &str, body: &[u8]) -> Result<()> {
    let verified = services.webhook_secrets.verify(signature, body, services.sources.now());
    verified.map_err(|error| {
        tracing::warn!(%error, "a webhook was refused");
        Error::Unauthenticated("the header Stripe-Signature does not sign this body, or not now")
    })?;
    let event = Event::parse(body).map_err(|wrong| Error::field("body", wrong))?;
    let Some(subject) = event.subject else { return Ok(()) };
    let tx = services.db.system(SystemReason::LocatePayment, None).await?;
    let located = payments::locate(&tx, &subject.intent, subject.payment_id).await?;
    tx.commit().await?;
    let tenant = match located {
        Some(located) => {
            services.directory.find(TenantKey::Id(located.tenant_id)).await?.map(|tenant| (located, tenant))
        }
        None => None,
    };
    let Some((located, tenant)) = tenant else { return Ok(()) };
    let caller = Caller::nobody(Some(tenant), request_id);
    let tx = services.db.tenant(&caller).await?;
    if !payments::record_event(&tx, &event.id, &event.kind).await? {
        return tx.rollback().await;
    }
    apply(services, &tx, located.order_id, &subject.intent, &subject.fact).await?;
    services.wake_jobs(&tx);
    tx.commit().await
}

/// Applies what Stripe says of an intent: the one way in which a payment changes, for webhooks, retries and the sweeper
/// alike. Under the order's lock, and as often and in whatever order it comes, with the same end.
pub(super) async fn apply(services: &Services, tx: &TenantTx, order_id: Uuid, intent: &str, fact: &Fact) -> Result<()> {
    let (order, mut payment) = payments::locked(tx, order_id).await?;
    if let Fact::RefundChanged { refund, status } = fact {
        return refunds::change(tx, payment, refund, *status).await;
    }
    match &payment.stripe_payment_intent {
        Some(own) if own == intent => {}
        // Stripe's word came before our own commit. Only money proves that an unknown intent is the payment's.
        None if matches!(fact, Fact::Captured(_) | Fact::Refunded { .. }) => {
            payment.stripe_payment_intent = Some(intent.to_owned());
        }
        None => return Ok(()),
        Some(_) => return refunds::give_back_stray(services, tx, &payment, intent, fact).await,
    }
    match fact {
        Fact::Captured(captured) => capture(services, tx, &order, payment, captured).await.map(|_| ()),
        Fact::Failed if payment.is_open() => {
            payments::save(tx, PaymentRow { status: PaymentStatus::Failed, ..payment }).await.map(|_| ())
        }
        Fact::Cancelled if payment.is_open() => {
            let cancelled_at = Some(services.sources.now());
            payments::save(tx, PaymentRow { cancelled_at, ..payment }).await.map(|_| ())
        }
        Fact::Failed | Fact::Cancelled | Fact::RefundChanged { .. } => Ok(()),
        Fact::Refunded { captured, total } => {
            let payment = capture(services, tx, &order, payment, captured).await?;
            let failed = refunds::failed(tx, &payment).await?;
            let given_back = Amount::from_minor(*total, &payment.currency).unwrap_or_default();
            // An event from before a refund failed still counts it.
            let given_back = given_back.min(payment.captured_amount.checked_sub(failed).unwrap_or_default());
            let is_all = failed == Amount::default() && captured.amount.is_some_and(|captured| *total >= captured);
            payments::save(tx, refunded_to(payment, given_back, is_all)).await.map(|_| ())
        }
    }
}

/// The payment after so much of it has been given back in all: more than before, or as much.
pub(super) fn refunded_to(payment: PaymentRow, total: Amount, is_all: bool) -> PaymentRow {
    let refunded_amount = payment.refunded_amount.max(total.min(payment.captured_amount));
    let is_all = is_all || (refunded_amount == payment.captured_amount && refunded_amount > Amount::default());
    let status = if is_all { PaymentStatus::Refunded } else { payment.status };
    PaymentRow { status, refunded_amount, ..payment }
}

/// Takes note of captured money, once, and lets it pay the order or goes about giving it back.
async fn capture(
    services: &Services,
    tx: &TenantTx,
    order: &OrderRow,
    payment: PaymentRow,
    captured: &Captured,
) -> Result<PaymentRow> {
    let PaymentRow { amount, captured_at, .. } = payment;
    let verdict = Standing { order: order.status, amount, currency: &payment.currency, captured_at }.judge(captured);
    let captured_at = Some(services.sources.now());
    match verdict {
        Verdict::Known => Ok(payment),
        Verdict::Pays => {
            let paid = PaymentRow {
                status: PaymentStatus::Paid,
                captured_amount: amount,
                captured_at,
                cancelled_at: None,
                ..payment
            };
            let paid = payments::save(tx, paid).await?;
            if order.status == OrderStatus::Pending {
                orders::set_status(tx, order.id, OrderStatus::Paid).await?;
                services.order_became(tx, OrderStatus::Paid);
            }
            Ok(paid)
        }
        Verdict::GivenBack(problem, captured_amount) => {
            tracing::warn!(?problem, payment = %payment.id, "captured money does not pay its order and is refunded");
            let flagged =
                PaymentRow { captured_amount, captured_at, cancelled_at: None, problem: Some(problem), ..payment };
            let flagged = payments::save(tx, flagged).await?;
            let intent = flagged.stripe_payment_intent.clone().ok_or_else(payments::vanished)?;
            owe(services, tx, &flagged, Owed { intent, amount: None, reason: problem.into(), note: None }).await?;
            Ok(flagged)
        }
    }
}
