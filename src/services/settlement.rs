//! Settling an order's money at Stripe: cancelling intents that must not be paid any more, making refunds, and letting
//! unpaid orders go.
//!
//! Everything here looks at what is, does what is due and writes down what Stripe said; so it can be cut off anywhere,
//! run twice at once, and simply be done again.

use futures_util::future::join_all;
use uuid::Uuid;

use crate::clients::stripe::{Metadata, NewRefund, Refund, StripeError};
use crate::db::orders::{self, OrderRow};
use crate::db::payment_tasks::{self, PaymentTask};
use crate::db::payments::{self, PaymentRow};
use crate::db::refunds::{self, RefundRow};
use crate::db::tenants::TenantKey;
use crate::db::{SystemReason, inventory};
use crate::domain::actor::{Caller, RequestId};
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::payments::{RefundReason, RefundStatus};
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::payments::{fact_of, intent_of, not_made, note, refunded_to};

/// How many orders are settled at the same time.
const AT_ONCE: i32 = 8;

/// How long Stripe surely remembers an idempotency key. It says a day, and counts from its own clock.
const KEYS_REMEMBERED: chrono::Duration = chrono::Duration::hours(20);

/// Finds orders that waited too long for their payment.
pub async fn find_unpaid(services: &Services) -> Result<()> {
    let waited = services.sources.now() - services.payments.order_ttl;
    let tx = services.db.system(SystemReason::Settle, None).await?;
    payment_tasks::add_unpaid(&tx, waited).await?;
    tx.commit().await
}

/// Settles what is due, and returns how many orders that were. A failure puts one order off and stops none of the others.
pub async fn settle_due(services: &Services) -> Result<usize> {
    let tx = services.db.system(SystemReason::Settle, None).await?;
    let tasks = payment_tasks::take(&tx, AT_ONCE).await?;
    tx.commit().await?;
    let ended = join_all(tasks.iter().map(|task| end(services, task))).await;
    ended.into_iter().collect::<Result<()>>().map(|()| tasks.len())
}

/// Settles one order, and ends its task or puts it off.
async fn end(services: &Services, task: &PaymentTask) -> Result<()> {
    let settled = settle(services, task).await;
    let tx = services.db.system(SystemReason::Settle, None).await?;
    match settled {
        Ok(()) => payment_tasks::finish(&tx, task).await?,
        Err(error) => {
            // Whatever kind of error it is, and with its cause: there is no caller to tell.
            let error = anyhow::Error::new(error);
            tracing::warn!(order = %task.order_id, attempts = task.attempts, error = format!("{error:#}"), "not settled yet");
            payment_tasks::postpone(&tx, task, pause(task.attempts)).await?;
        }
    }
    tx.commit().await
}

/// Two seconds after the first failure, twice as long after each further one, and never more than two minutes.
fn pause(attempts: i32) -> i32 {
    let doubled = attempts.clamp(1, 7) - 1;
    (2 << doubled).min(120)
}

async fn settle(services: &Services, task: &PaymentTask) -> Result<()> {
    let tenant = services.directory.find(TenantKey::Id(task.tenant_id)).await?;
    let request_id = RequestId::new(services.sources.id());
    let caller = Caller::nobody(tenant, request_id);
    let (order, payment) = look(services, &caller, task.order_id).await?;
    let expires = order.status == OrderStatus::Pending
        && order.total_amount > Amount::default()
        && order.created_at + services.payments.order_ttl <= services.sources.now();
    if let Some(payment) = payment.filter(PaymentRow::is_open)
        && (expires || order.status != OrderStatus::Pending)
    {
        close(services, &caller, &payment).await?;
    }
    if expires {
        expire(services, &caller, order.id).await?;
    }
    make_refunds(services, &caller, order.id).await
}

/// The order and its payment as they are now.
async fn look(services: &Services, caller: &Caller, order_id: Uuid) -> Result<(OrderRow, Option<PaymentRow>)> {
    let tx = services.db.tenant(caller).await?;
    let order = orders::find(&tx, order_id).await?;
    let order = order.ok_or_else(|| Error::internal(anyhow::anyhow!("a task without an order")))?;
    let payment = payments::of_order(&tx, order_id).await?;
    tx.commit().await?;
    Ok((order, payment))
}

/// Sees to it that an intent cannot be paid any more, or learns that it was.
async fn close(services: &Services, caller: &Caller, payment: &PaymentRow) -> Result<()> {
    let intent = match &payment.stripe_payment_intent {
        Some(id) => id.clone(),
        // Stripe may have made one whose answer was lost: the same idempotency key brings it back.
        None => match intent_of(services, caller.tenant()?.id, payment).await {
            Ok(intent) => note(services, caller, payment, &intent).await?,
            // There is none, and never was.
            Err(StripeError::Refused { .. }) => return give_up(services, caller, payment).await,
            Err(failure) => return Err(not_made(services, caller, payment, failure).await?),
        },
    };
    let intent = services.stripe.cancel_intent(&intent).await?;
    note(services, caller, payment, &intent).await?;
    match fact_of(&intent) {
        Some(_) => Ok(()),
        // Its fate is still open at the customer's bank.
        None => Err(Error::PaymentProvider(anyhow::anyhow!("the intent cannot be cancelled yet"))),
    }
}

/// Writes down that a payment has no intent and will have none.
async fn give_up(services: &Services, caller: &Caller, payment: &PaymentRow) -> Result<()> {
    let tx = services.db.tenant(caller).await?;
    let (_, now) = payments::locked(&tx, payment.order_id).await?;
    if now.attempt == payment.attempt && now.stripe_payment_intent.is_none() && now.is_open() {
        let cancelled_at = Some(services.sources.now());
        payments::save(&tx, PaymentRow { cancelled_at, ..now }).await?;
    }
    tx.commit().await
}

/// Lets an unpaid order go and gives its stock back, once nobody can pay it any more.
async fn expire(services: &Services, caller: &Caller, order_id: Uuid) -> Result<()> {
    let tx = services.db.tenant(caller).await?;
    let Some(order) = orders::lock(&tx, order_id).await?.filter(|order| order.status == OrderStatus::Pending) else {
        return Ok(());
    };
    let payment = payments::of_order(&tx, order_id).await?;
    match payment {
        Some(payment) if payment.is_open() => {
            return Err(Error::PaymentProvider(anyhow::anyhow!("a new intent was made meanwhile")));
        }
        // Captured money that does not pay the order: it is being given back, and the order has waited long enough.
        _ => {}
    }
    orders::set_status(&tx, order.id, OrderStatus::Cancelled).await?;
    inventory::give_back(&tx, order.id).await?;
    services.order_became(&tx, OrderStatus::Cancelled);
    tx.commit().await?;
    tracing::info!(%order_id, "an unpaid order expired");
    Ok(())
}

/// Makes the refunds of an order that Stripe has not answered yet.
async fn make_refunds(services: &Services, caller: &Caller, order_id: Uuid) -> Result<()> {
    let tx = services.db.tenant(caller).await?;
    let Some(payment) = payments::of_order(&tx, order_id).await? else { return tx.commit().await };
    let due: Vec<_> = refunds::of_payment(&tx, payment.id).await?.into_iter().filter(is_due).collect();
    tx.commit().await?;
    for refund in due {
        make_refund(services, caller, &payment.currency, refund).await?;
    }
    Ok(())
}

fn is_due(refund: &RefundRow) -> bool {
    refund.status == RefundStatus::Pending && refund.stripe_refund.is_none()
}

async fn make_refund(services: &Services, caller: &Caller, currency: &str, due: RefundRow) -> Result<()> {
    let fraction = || Error::internal(anyhow::anyhow!("a refund of a fraction"));
    let amount = due.amount.map(|amount| amount.to_minor(currency).ok_or_else(fraction)).transpose()?;
    let tenant_id = caller.tenant()?.id;
    let new = NewRefund {
        intent: due.stripe_payment_intent.clone(),
        amount,
        refund_id: due.id,
        metadata: Metadata { tenant_id, order_id: due.order_id, payment_id: due.payment_id },
    };
    let made = if services.sources.now() - due.created_at > KEYS_REMEMBERED {
        services.stripe.refund_made(&new.intent, new.refund_id).await?
    } else {
        None
    };
    let asked = match made {
        Some(made) => Ok(made),
        None => services.stripe.refund(new).await,
    };
    let answer = match asked {
        Ok(refund) => Ok(refund),
        Err(StripeError::Refused { code, .. }) => Err(code.unwrap_or_else(|| "refused".into())),
        Err(unreachable) => return Err(unreachable.into()),
    };
    let tx = services.db.tenant(caller).await?;
    let (_, payment) = payments::locked(&tx, due.order_id).await?;
    let now = refunds::of_payment(&tx, payment.id).await?.into_iter().find(|refund| refund.id == due.id);
    // Another replica may have been quicker with the same idempotency key.
    if let Some(refund) = now.filter(is_due) {
        let done = answered(refund, answer, currency);
        let counts = done.refund.is_own(&payment) && done.refund.status != RefundStatus::Failed;
        refunds::save(&tx, done.refund.clone()).await?;
        if counts {
            payments::save(&tx, settled(payment, &done)).await?;
        }
    }
    tx.commit().await
}

/// A refund after Stripe has answered.
struct Answered {
    refund: RefundRow,
    /// The sum of all refunds of the intent, where Stripe told it.
    total: Option<Amount>,
    /// Whether nothing can be left of the payment.
    is_all: bool,
}

fn answered(refund: RefundRow, answer: Result<Refund, String>, currency: &str) -> Answered {
    let is_all = refund.amount.is_none();
    match answer {
        Ok(Refund { id, status, amount, total, failure }) => {
            // In another currency it is no amount of ours.
            let told = amount.filter(|_| refund.reason != RefundReason::CurrencyMismatch);
            let told =
                told.and_then(|told| Amount::from_minor(told, currency)).filter(|told| *told > Amount::default());
            let amount = refund.amount.or(told);
            let total = total.and_then(|total| Amount::from_minor(total, currency));
            Answered { refund: RefundRow { stripe_refund: Some(id), status, amount, failure, ..refund }, total, is_all }
        }
        // Somebody gave all of it back at Stripe's side, which is all that was wanted.
        Err(code) if code == "charge_already_refunded" && refund.reason != RefundReason::Requested => {
            Answered { refund: RefundRow { status: RefundStatus::Succeeded, ..refund }, total: None, is_all: true }
        }
        Err(code) => {
            tracing::error!(refund = %refund.id, code, "Stripe refuses a refund; it needs the shop's attention");
            let refund = RefundRow { status: RefundStatus::Failed, failure: Some(code), ..refund };
            Answered { refund, total: None, is_all: false }
        }
    }
}

/// The payment after this refund of it.
fn settled(payment: PaymentRow, done: &Answered) -> PaymentRow {
    let counted = match done.refund.amount {
        Some(amount) if !done.is_all => payment.refunded_amount.checked_add(amount),
        _ => Some(payment.captured_amount),
    };
    let total = done.total.or(counted).unwrap_or(payment.captured_amount);
    refunded_to(payment, total, done.is_all)
}
