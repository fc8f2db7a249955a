//! Payments: asking for one, giving money back, and the one way in which Stripe's word is applied.
//!
//! Stripe is never awaited inside a transaction. What must happen there is written down with its cause as a task, and
//! done by [`super::settlement`], however often this process dies.

use std::time::Duration;

use uuid::Uuid;

use crate::clients::stripe::{Event, Intent, IntentStatus, Metadata, NewIntent, StripeError};
use crate::db::orders::{self, OrderRow};
use crate::db::payments::{self, PaymentRow};
use crate::db::refunds::{self, RefundInsert, RefundRow};
use crate::db::tenants::TenantKey;
use crate::db::{SystemReason, TenantTx, payment_tasks};
use crate::domain::actor::{Actor, Caller, RequestId};
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::payments::{Captured, Fact, PaymentStatus, RefundReason, RefundStatus, Standing, Verdict};
use crate::domain::validation;
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::orders::is_visible;

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
/// Stripe's answer and our commit, the next attempt finds the same intent.
pub async fn create_intent(services: &Services, caller: &Caller, order_id: Uuid) -> Result<Intended> {
    // An intent that was cancelled at Stripe's side is replaced once; a second one is nothing that happens by itself.
    for _ in 0..2 {
        let payment = prepare(services, caller, order_id).await?;
        let intent = intent_of(services, caller.tenant()?.id, &payment).await?;
        if let Some(payment) = record(services, caller, &payment, &intent).await? {
            let no_secret = || Error::PaymentProvider(anyhow::anyhow!("an intent without a client secret"));
            return Ok(Intended { payment, client_secret: intent.client_secret.ok_or_else(no_secret)? });
        }
    }
    Err(Error::PaymentProvider(anyhow::anyhow!("Stripe cancels every intent of this order")))
}

/// The order's payment, opened when it has none.
async fn prepare(services: &Services, caller: &Caller, order_id: Uuid) -> Result<PaymentRow> {
    let tx = services.db.unkeyed().tenant(caller).await?;
    let order = orders::lock(&tx, order_id).await?.filter(|order| is_visible(caller, order));
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
    Error::InvalidStatusTransition { from: order.status, to: OrderStatus::Paid, allowed: &[] }
}

fn check_payable(total: Amount, currency: &str) -> Result<()> {
    match total.to_minor(currency) {
        Some(0) => Err(Error::field("orderId", "this order costs nothing, so there is nothing to pay")),
        Some(_) => Ok(()),
        None => Err(Error::field("orderId", format!("{total} cannot be paid: {currency} has no smaller unit than 1"))),
    }
}

/// The payment's intent as Stripe has it, made when there is none. No transaction is open meanwhile.
pub(super) async fn intent_of(services: &Services, tenant_id: Uuid, payment: &PaymentRow) -> Result<Intent> {
    let intent = match &payment.stripe_payment_intent {
        Some(id) => services.stripe.intent(id).await,
        None => {
            let amount = payment.amount.to_minor(&payment.currency);
            let amount = amount.ok_or_else(|| Error::internal(anyhow::anyhow!("a payment of a fraction")))?;
            let new = NewIntent {
                amount,
                currency: payment.currency.clone(),
                idempotency_key: format!("mercato-payment-{}-{}", payment.id, payment.attempt),
                metadata: Metadata { tenant_id, order_id: payment.order_id, payment_id: payment.id },
            };
            services.stripe.create_intent(new).await
        }
    };
    Ok(intent?)
}

impl From<StripeError> for Error {
    fn from(error: StripeError) -> Self {
        Self::PaymentProvider(error.into())
    }
}

/// Writes down which intent the payment has, and what Stripe told of it. None when it is cancelled and another is due.
async fn record(
    services: &Services,
    caller: &Caller,
    asked: &PaymentRow,
    intent: &Intent,
) -> Result<Option<PaymentRow>> {
    let tx = services.db.tenant(caller).await?;
    let (order, payment) = locked(&tx, asked.order_id).await?;
    if payment.attempt != asked.attempt {
        return Ok(None);
    }
    let payment = adopt(&tx, payment, &intent.id).await?;
    if let Some(fact) = fact_of(intent) {
        apply(services, &tx, asked.order_id, &intent.id, &fact).await?;
    }
    let order_left = order.status != OrderStatus::Pending && payment.is_open();
    if order_left {
        // It was called off while Stripe was asked.
        payment_tasks::add(&tx, order.id).await?;
    }
    let payment = payments::find(&tx, payment.id).await?.ok_or_else(vanished)?;
    tx.commit().await?;
    services.work.notify_one();
    match payment {
        _ if order_left => Err(not_payable(&order)),
        payment if payment.cancelled_at.is_some() => Ok(None),
        payment => Ok(Some(payment)),
    }
}

fn vanished() -> Error {
    Error::internal(anyhow::anyhow!("an order or payment vanished"))
}

/// An order and its payment, locked: the order's lock guards all that belongs to it.
async fn locked(tx: &TenantTx, order_id: Uuid) -> Result<(OrderRow, PaymentRow)> {
    let order = orders::lock(tx, order_id).await?.ok_or_else(vanished)?;
    Ok((order, payments::of_order(tx, order_id).await?.ok_or_else(vanished)?))
}

/// Gives the payment the intent that was made for it, when it has none yet.
pub(super) async fn adopt(tx: &TenantTx, payment: PaymentRow, intent: &str) -> Result<PaymentRow> {
    if payment.stripe_payment_intent.is_some() {
        return Ok(payment);
    }
    payments::save(tx, PaymentRow { stripe_payment_intent: Some(intent.to_owned()), ..payment }).await
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

/// What became of a webhook event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was applied.
    Applied,
    /// It had been applied before.
    Duplicate,
    /// It is of no concern here: of another type, or about an intent that is not ours.
    Ignored,
}

/// Takes in an event as Stripe posts it. The event's id and its effect are one transaction.
pub async fn receive(services: &Services, request_id: RequestId, signature: &str, body: &[u8]) -> Result<Received> {
    let verified = services.webhook_secrets.verify(signature, body, services.sources.now());
    verified.map_err(|error| {
        tracing::warn!(%error, "a webhook was refused");
        Error::Unauthenticated("the header Stripe-Signature does not sign this body, or not now")
    })?;
    let event = Event::parse(body).map_err(|wrong| Error::field("body", wrong))?;
    let Some(subject) = event.subject else { return Ok(Received::Ignored) };
    let tx = services.db.system(SystemReason::LocatePayment, None).await?;
    let located = payments::locate(&tx, &subject.intent, subject.payment_id).await?;
    tx.commit().await?;
    let tenant = match located {
        Some(located) => {
            services.directory.find(TenantKey::Id(located.tenant_id)).await?.map(|tenant| (located, tenant))
        }
        None => None,
    };
    let Some((located, tenant)) = tenant else { return Ok(Received::Ignored) };
    let caller = Caller { tenant: Some(tenant), actor: Actor::Anonymous, request_id, idempotency: None };
    let tx = services.db.tenant(&caller).await?;
    if !payments::record_event(&tx, &event.id, &event.kind).await? {
        tx.rollback().await?;
        return Ok(Received::Duplicate);
    }
    apply(services, &tx, located.order_id, &subject.intent, &subject.fact).await?;
    tx.commit().await?;
    services.work.notify_one();
    Ok(Received::Applied)
}

/// Applies what Stripe says of an intent: the one way in which a payment changes, for webhooks, retries and the sweeper
/// alike. Under the order's lock, and as often and in whatever order it comes, with the same end.
pub(super) async fn apply(services: &Services, tx: &TenantTx, order_id: Uuid, intent: &str, fact: &Fact) -> Result<()> {
    let (order, mut payment) = locked(tx, order_id).await?;
    match &payment.stripe_payment_intent {
        Some(own) if own == intent => {}
        // Stripe's word came before our own commit. Only money proves that an unknown intent is the payment's.
        None if matches!(fact, Fact::Captured(_) | Fact::Refunded { .. }) => {
            payment.stripe_payment_intent = Some(intent.to_owned());
        }
        None => return Ok(()),
        Some(_) => return give_back_stray(services, tx, &payment, intent, fact).await,
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
        Fact::Failed | Fact::Cancelled => Ok(()),
        Fact::Refunded { captured, total } => {
            let payment = capture(services, tx, &order, payment, captured).await?;
            let given_back = Amount::from_minor(*total, &payment.currency).unwrap_or_default();
            let is_all = captured.amount.is_some_and(|captured| *total >= captured);
            payments::save(tx, refunded_to(payment, given_back, is_all)).await.map(|_| ())
        }
        Fact::RefundChanged { refund, status } => change_refund(tx, payment, refund, *status).await,
    }
}

/// The payment after so much of it has been given back in all: more than before, or as much.
pub(super) fn refunded_to(payment: PaymentRow, total: Amount, is_all: bool) -> PaymentRow {
    let refunded_amount = payment.refunded_amount.max(total.min(payment.captured_amount));
    let is_all = is_all || (refunded_amount == payment.captured_amount && refunded_amount > Amount::default());
    let status = if is_all { PaymentStatus::Refunded } else { payment.status };
    PaymentRow { refunded_amount, status, ..payment }
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
                services.metrics.order_became(tx.tenant_id(), OrderStatus::Paid);
            }
            Ok(paid)
        }
        Verdict::GivenBack(problem, captured_amount) => {
            tracing::warn!(?problem, payment = %payment.id, "captured money does not pay its order and is refunded");
            let flagged =
                PaymentRow { captured_amount, captured_at, cancelled_at: None, problem: Some(problem), ..payment };
            let flagged = payments::save(tx, flagged).await?;
            let intent = flagged.stripe_payment_intent.clone().ok_or_else(vanished)?;
            owe(services, tx, &flagged, Owed { intent, amount: None, reason: problem.into(), note: None }).await?;
            Ok(flagged)
        }
    }
}

/// What is to be given back of a payment.
struct Owed {
    intent: String,
    amount: Option<Amount>,
    reason: RefundReason,
    note: Option<String>,
}

/// Writes down that money is to be given back, and that there is work to do.
async fn owe(services: &Services, tx: &TenantTx, payment: &PaymentRow, owed: Owed) -> Result<RefundRow> {
    let refund = RefundInsert {
        id: services.sources.id(),
        payment_id: payment.id,
        order_id: payment.order_id,
        stripe_payment_intent: owed.intent,
        amount: owed.amount,
        reason: owed.reason,
        note: owed.note,
    };
    let refund = refunds::insert(tx, refund).await?;
    payment_tasks::add(tx, payment.order_id).await?;
    Ok(refund)
}

/// An intent that is not the payment's captured money for the same order: it is given back, once.
async fn give_back_stray(
    services: &Services,
    tx: &TenantTx,
    payment: &PaymentRow,
    intent: &str,
    fact: &Fact,
) -> Result<()> {
    let known = refunds::of_payment(tx, payment.id).await?.iter().any(|refund| refund.stripe_payment_intent == intent);
    if !matches!(fact, Fact::Captured(_)) || known {
        return Ok(());
    }
    tracing::warn!(payment = %payment.id, "an order was paid a second time; the second payment is refunded");
    let owed = Owed { intent: intent.to_owned(), amount: None, reason: RefundReason::Duplicate, note: None };
    owe(services, tx, payment, owed).await.map(|_| ())
}

/// Moves a refund on. One that failed stays so; one that fails late makes its money refundable again.
async fn change_refund(tx: &TenantTx, payment: PaymentRow, stripe_refund: &str, status: RefundStatus) -> Result<()> {
    let known = refunds::of_payment(tx, payment.id).await?;
    let Some(refund) = known.into_iter().find(|refund| refund.stripe_refund.as_deref() == Some(stripe_refund)) else {
        return Ok(());
    };
    let (before, amount) = (refund.status, refund.amount);
    match (before, status) {
        (RefundStatus::Pending, RefundStatus::Succeeded) => {
            refunds::save(tx, RefundRow { status, ..refund }).await?;
        }
        (RefundStatus::Pending | RefundStatus::Succeeded, RefundStatus::Failed) => {
            let failure = refund.failure.clone().or(Some("failed".into()));
            refunds::save(tx, RefundRow { status, failure, ..refund }).await?;
            let returned = amount.unwrap_or(payment.captured_amount);
            let refunded_amount = payment.refunded_amount.checked_sub(returned).unwrap_or_default();
            let status = match payment.status {
                PaymentStatus::Refunded if refunded_amount < payment.captured_amount => PaymentStatus::Paid,
                status => status,
            };
            payments::save(tx, PaymentRow { refunded_amount, status, ..payment }).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Gives a part of a payment back, or all that is left of it. Stripe is asked once this is committed; what it answers
/// shows in the refund's status.
pub async fn refund(
    services: &Services,
    caller: &Caller,
    payment_id: Uuid,
    amount: Option<Amount>,
    note: Option<String>,
) -> Result<RefundRow> {
    let note = note.map(|note| validation::check_text::<0, 500>("note", note)).transpose()?;
    let tx = services.db.tenant(caller).await?;
    let payment = payments::find(&tx, payment_id).await?.ok_or(Error::not_found_at("Payment", "paymentId"))?;
    let (_, payment) = locked(&tx, payment.order_id).await?;
    let (Some(intent), true) = (payment.stripe_payment_intent.clone(), payment.captured_at.is_some()) else {
        return Err(Error::Conflict {
            field: "paymentId",
            message: "nothing was paid yet, so nothing can be given back",
        });
    };
    let left = refundable(&tx, &payment).await?;
    let amount = amount.unwrap_or(left);
    if left == Amount::default() {
        return Err(Error::Conflict { field: "paymentId", message: "all of it was given back, or is about to be" });
    }
    if amount == Amount::default() || amount > left {
        return Err(Error::field("amount", format!("must be more than nothing and at most {left}, which is left")));
    }
    if amount.to_minor(&payment.currency).is_none() {
        let message = format!("must be a whole amount: {} has no smaller unit", payment.currency);
        return Err(Error::field("amount", message));
    }
    let owed = Owed { intent, amount: Some(amount), reason: RefundReason::Requested, note };
    let refund = owe(services, &tx, &payment, owed).await?;
    tx.commit().await?;
    services.work.notify_one();
    Ok(refund)
}

/// What of the captured money is neither given back nor promised.
async fn refundable(tx: &TenantTx, payment: &PaymentRow) -> Result<Amount> {
    let pending = refunds::of_payment(tx, payment.id).await?;
    let pending = pending.iter().filter(|refund| refund.status == RefundStatus::Pending);
    let own = pending.filter(|refund| Some(&refund.stripe_payment_intent) == payment.stripe_payment_intent.as_ref());
    let left = own.fold(payment.captured_amount.checked_sub(payment.refunded_amount), |left, refund| {
        left?.checked_sub(refund.amount.unwrap_or(payment.captured_amount))
    });
    Ok(left.unwrap_or_default())
}

/// What becomes of the money when an order no longer waits for it: what was captured for one that is now cancelled is
/// given back, and an intent that is still open is cancelled. In the transaction that moves the order.
pub(super) async fn let_go(services: &Services, tx: &TenantTx, order: &OrderRow) -> Result<()> {
    let Some(payment) = payments::of_order(tx, order.id).await? else { return Ok(()) };
    if payment.is_open() {
        return payment_tasks::add(tx, order.id).await;
    }
    let left = refundable(tx, &payment).await?;
    if order.status != OrderStatus::Cancelled || left == Amount::default() {
        return Ok(());
    }
    let intent = payment.stripe_payment_intent.clone().ok_or_else(vanished)?;
    let owed = Owed { intent, amount: Some(left), reason: RefundReason::OrderCancelled, note: None };
    owe(services, tx, &payment, owed).await.map(|_| ())
}
