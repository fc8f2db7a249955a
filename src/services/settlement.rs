//! Settling an order's money at Stripe: cancelling intents that must not be paid any more, making refunds, and letting
//! unpaid orders go.
//!
//! Everything here looks at what is, does what is due and writes down what Stripe said; so it can be cut off anywhere,
//! run twice at once, and simply be done again.

use uuid::Uuid;

use crate::clients::stripe::{Intent, Metadata, NewRefund, Refund, StripeError};
use crate::db::orders::{self, OrderRow};
use crate::db::payment_tasks::{self, PaymentTask};
use crate::db::payments::{self, PaymentRow};
use crate::db::refunds::{self, RefundRow};
use crate::db::tenants::TenantKey;
use crate::db::{SystemReason, inventory};
use crate::domain::actor::{Actor, Caller, RequestId};
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::payments::RefundStatus;
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::payments::{adopt, apply, fact_of, intent_of, refunded_to};

/// How many tasks are taken at a time.
const BATCH: i32 = 20;

/// Finds orders that waited too long for their payment. Returns how many there are.
pub async fn find_unpaid(services: &Services) -> Result<usize> {
    let waited = services.sources.now() - services.payments.order_ttl;
    let tx = services.db.system(SystemReason::Settle, None).await?;
    let found = payment_tasks::add_unpaid(&tx, waited).await?;
    tx.commit().await?;
    Ok(found)
}

/// Settles what is due, and returns how many orders that were. A failure puts one order off and stops none of the others.
pub async fn settle_due(services: &Services) -> Result<usize> {
    let tx = services.db.system(SystemReason::Settle, None).await?;
    let tasks = payment_tasks::take(&tx, BATCH).await?;
    tx.commit().await?;
    for task in &tasks {
        let settled = settle(services, task).await;
        let tx = services.db.system(SystemReason::Settle, None).await?;
        match settled {
            Ok(()) => payment_tasks::finish(&tx, task).await?,
            Err(error) => {
                error.log();
                payment_tasks::postpone(&tx, task, services.sources.now() + pause(task.attempts)).await?;
            }
        }
        tx.commit().await?;
    }
    Ok(tasks.len())
}

/// Two seconds after the first failure, twice as long after each further one, and never more than two minutes.
fn pause(attempts: i32) -> chrono::Duration {
    let doubled = u32::try_from(attempts).map_or(0, |attempts| attempts.clamp(1, 7) - 1);
    chrono::Duration::seconds((2_i64 << doubled).min(120))
}

async fn settle(services: &Services, task: &PaymentTask) -> Result<()> {
    let tenant = services.directory.find(TenantKey::Id(task.tenant_id)).await?;
    let request_id = RequestId::new(services.sources.id());
    let caller = Caller { tenant, actor: Actor::Anonymous, request_id, idempotency: None };
    let (order, payment) = look(services, &caller, task.order_id).await?;
    let expires = order.status == OrderStatus::Pending
        && order.total_amount > Amount::default()
        && order.created_at + services.payments.order_ttl <= services.sources.now();
    if let Some(payment) = payment.filter(|payment| payment.is_open())
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
    let order = orders::lock(&tx, order_id).await?;
    let order = order.ok_or_else(|| Error::internal(anyhow::anyhow!("a task without an order")))?;
    let payment = payments::of_order(&tx, order_id).await?;
    tx.commit().await?;
    Ok((order, payment))
}

/// Sees to it that an intent cannot be paid any more, or learns that it was.
async fn close(services: &Services, caller: &Caller, payment: &PaymentRow) -> Result<()> {
    let tenant_id = caller.tenant()?.id;
    let intent = match &payment.stripe_payment_intent {
        Some(id) => id.clone(),
        // Stripe may have made one whose answer was lost: the same idempotency key brings it back.
        None => note(services, caller, payment, &intent_of(services, tenant_id, payment).await?).await?,
    };
    let intent = services.stripe.cancel_intent(&intent).await?;
    note(services, caller, payment, &intent).await?;
    match fact_of(&intent) {
        Some(_) => Ok(()),
        // Its fate is still open at the customer's bank.
        None => Err(Error::PaymentProvider(anyhow::anyhow!("the intent cannot be cancelled yet"))),
    }
}

/// Writes down what Stripe says of an intent, and returns its id.
async fn note(services: &Services, caller: &Caller, payment: &PaymentRow, intent: &Intent) -> Result<String> {
    let tx = services.db.tenant(caller).await?;
    orders::lock(&tx, payment.order_id).await?;
    if let Some(payment) = payments::of_order(&tx, payment.order_id).await?.filter(|now| now.attempt == payment.attempt)
    {
        adopt(&tx, payment, &intent.id).await?;
    }
    if let Some(fact) = fact_of(intent) {
        apply(services, &tx, payment.order_id, &intent.id, &fact).await?;
    }
    tx.commit().await?;
    Ok(intent.id.clone())
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
    tx.commit().await?;
    services.metrics.order_became(caller.tenant()?.id, OrderStatus::Cancelled);
    tracing::info!(%order_id, "an unpaid order expired");
    Ok(())
}

/// Makes the refunds of an order that Stripe has not answered yet.
async fn make_refunds(services: &Services, caller: &Caller, order_id: Uuid) -> Result<()> {
    let tx = services.db.tenant(caller).await?;
    let due = match payments::of_order(&tx, order_id).await? {
        Some(payment) => refunds::of_payment(&tx, payment.id).await?.into_iter().filter(is_due).collect(),
        None => Vec::new(),
    };
    tx.commit().await?;
    for refund in due {
        make_refund(services, caller, refund).await?;
    }
    Ok(())
}

fn is_due(refund: &RefundRow) -> bool {
    refund.status == RefundStatus::Pending && refund.stripe_refund.is_none()
}

async fn make_refund(services: &Services, caller: &Caller, due: RefundRow) -> Result<()> {
    let tenant = caller.tenant()?;
    let new = NewRefund {
        intent: due.stripe_payment_intent.clone(),
        amount: due.amount.and_then(|amount| amount.to_minor(&tenant.currency)),
        idempotency_key: format!("mercato-refund-{}", due.id),
        metadata: Metadata { tenant_id: tenant.id, order_id: due.order_id, payment_id: due.payment_id },
    };
    let answer = match services.stripe.refund(new).await {
        Ok(refund) => Ok(refund),
        Err(StripeError::Refused { code, .. }) => Err(code.unwrap_or_else(|| "refused".into())),
        Err(unreachable) => return Err(unreachable.into()),
    };
    let tx = services.db.tenant(caller).await?;
    orders::lock(&tx, due.order_id).await?;
    let payment = payments::of_order(&tx, due.order_id).await?;
    let now = refunds::of_payment(&tx, due.payment_id).await?.into_iter().find(|refund| refund.id == due.id);
    // Another replica may have been quicker with the same idempotency key.
    if let (Some(payment), Some(refund)) = (payment, now.filter(is_due)) {
        let done = answered(refund, answer);
        let is_own = payment.stripe_payment_intent.as_ref() == Some(&done.refund.stripe_payment_intent);
        let counts = is_own && done.refund.status != RefundStatus::Failed;
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
    /// The sum of all refunds of the intent, in the currency's smallest unit, where Stripe told it.
    total: Option<i64>,
}

fn answered(refund: RefundRow, answer: Result<Refund, String>) -> Answered {
    match answer {
        Ok(Refund { id, status, total, failure, .. }) => {
            Answered { refund: RefundRow { stripe_refund: Some(id), status, failure, ..refund }, total }
        }
        // Somebody gave all of it back at Stripe's side, which is all that was wanted.
        Err(code) if code == "charge_already_refunded" && refund.amount.is_none() => {
            Answered { refund: RefundRow { status: RefundStatus::Succeeded, ..refund }, total: None }
        }
        Err(code) => {
            tracing::error!(refund = %refund.id, code, "Stripe refuses a refund; it needs the shop's attention");
            Answered { refund: RefundRow { status: RefundStatus::Failed, failure: Some(code), ..refund }, total: None }
        }
    }
}

/// The payment after this refund of it.
fn settled(payment: PaymentRow, done: &Answered) -> PaymentRow {
    let told = done.total.and_then(|total| Amount::from_minor(total, &payment.currency));
    let counted = match done.refund.amount {
        Some(amount) => payment.refunded_amount.checked_add(amount),
        None => Some(payment.captured_amount),
    };
    let total = told.or(counted).unwrap_or(payment.captured_amount);
    refunded_to(payment, total, done.refund.amount.is_none())
}
