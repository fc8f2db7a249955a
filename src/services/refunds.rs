//! Giving money back: what is owed is written down with its cause, and made by [`super::settlement`].

use uuid::Uuid;

use crate::db::orders::OrderRow;
use crate::db::payments::{self, PaymentRow};
use crate::db::refunds::{self, RefundInsert, RefundRow};
use crate::db::{TenantTx, payment_tasks};
use crate::domain::actor::Caller;
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::payments::{Fact, PaymentStatus, RefundReason, RefundStatus};
use crate::domain::validation;
use crate::error::{Error, Result};
use crate::services::Services;

/// What is to be given back of a payment.
pub(super) struct Owed {
    /// The intent that captured the money.
    pub intent: String,
    /// How much; none for all that is left.
    pub amount: Option<Amount>,
    /// Why.
    pub reason: RefundReason,
    /// Why, in the words of whoever asked for it.
    pub note: Option<String>,
}

/// Writes down that money is to be given back, and that there is work to do.
pub(super) async fn owe(services: &Services, tx: &TenantTx, payment: &PaymentRow, owed: Owed) -> Result<RefundRow> {
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
pub(super) async fn give_back_stray(
    services: &Services,
    tx: &TenantTx,
    payment: &PaymentRow,
    intent: &str,
    fact: &Fact,
) -> Result<()> {
    let is_open = |refund: &RefundRow| refund.stripe_payment_intent == intent && refund.status != RefundStatus::Failed;
    let known = refunds::of_payment(tx, payment.id).await?.iter().any(is_open);
    if !matches!(fact, Fact::Captured(_)) || known {
        return Ok(());
    }
    tracing::warn!(payment = %payment.id, "an order was paid a second time; the second payment is refunded");
    let owed = Owed { intent: intent.to_owned(), amount: None, reason: RefundReason::Duplicate, note: None };
    owe(services, tx, payment, owed).await.map(|_| ())
}

/// Moves a refund on. One that failed stays so; one that fails late makes its money refundable again.
pub(super) async fn change(
    tx: &TenantTx,
    payment: PaymentRow,
    stripe_refund: &str,
    status: RefundStatus,
) -> Result<()> {
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
            tracing::error!(refund = %refund.id, "a refund failed late; it needs the shop's attention");
            let is_own = refund.is_own(&payment);
            let failure = refund.failure.clone().or(Some("failed".into()));
            refunds::save(tx, RefundRow { status, failure, ..refund }).await?;
            if !is_own {
                return Ok(());
            }
            let returned = amount.unwrap_or(payment.captured_amount);
            let refunded_amount = payment.refunded_amount.checked_sub(returned).unwrap_or_default();
            let status = match payment.status {
                PaymentStatus::Refunded if refunded_amount < payment.captured_amount => PaymentStatus::Paid,
                status => status,
            };
            payments::save(tx, PaymentRow { status, refunded_amount, ..payment }).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Gives a part of a payment back, or all that is left of it. Stripe is asked once this is committed; what it answers
/// shows in the refund's status.
pub async fn create(
    services: &Services,
    caller: &Caller,
    payment_id: Uuid,
    amount: Option<Amount>,
    note: Option<String>,
) -> Result<RefundRow> {
    let note = note.map(|note| validation::check_text::<0, 500>("note", note)).transpose()?;
    let tx = services.db.tenant(caller).await?;
    let payment = payments::find(&tx, payment_id).await?.ok_or(Error::not_found_at("Payment", "paymentId"))?;
    let (_, payment) = payments::locked(&tx, payment.order_id).await?;
    let (Some(intent), true) = (payment.stripe_payment_intent.clone(), payment.captured_at.is_some()) else {
        return Err(Error::Conflict {
            field: "paymentId",
            message: "nothing was paid yet, so nothing can be given back",
        });
    };
    let left = refundable(&payment, &refunds::of_payment(&tx, payment.id).await?);
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
    services.wake_jobs(&tx);
    tx.commit().await?;
    Ok(refund)
}

/// What of the captured money is neither given back nor promised by one of these, all refunds of the payment.
fn refundable(payment: &PaymentRow, all: &[RefundRow]) -> Amount {
    let own = all.iter().filter(|refund| refund.status == RefundStatus::Pending && refund.is_own(payment));
    let left = own.fold(payment.captured_amount.checked_sub(payment.refunded_amount), |left, refund| {
        left?.checked_sub(refund.amount.unwrap_or(payment.captured_amount))
    });
    left.unwrap_or_default()
}

/// What becomes of the money when an order no longer waits for it: what was captured for one that is now cancelled is
/// given back, and an intent that is still open is cancelled. In the transaction that moves the order.
pub(super) async fn let_go(services: &Services, tx: &TenantTx, order: &OrderRow) -> Result<()> {
    let Some(payment) = payments::of_order(tx, order.id).await? else { return Ok(()) };
    if payment.is_open() {
        return payment_tasks::add(tx, order.id).await;
    }
    let all = refunds::of_payment(tx, payment.id).await?;
    let left = refundable(&payment, &all);
    if order.status != OrderStatus::Cancelled || left == Amount::default() {
        return Ok(());
    }
    let intent = payment.stripe_payment_intent.clone().ok_or_else(payments::vanished)?;
    // All that is left, as Stripe sees it: a refund at Stripe's side may not have been heard of yet. Beside one that is
    // on its way it must be so much and no more.
    let is_only = !all.iter().any(|refund| refund.status == RefundStatus::Pending);
    let amount = (!is_only).then_some(left);
    let owed = Owed { intent, amount, reason: RefundReason::OrderCancelled, note: None };
    owe(services, tx, &payment, owed).await.map(|_| ())
}

/// What Stripe had begun to give back and could not.
pub(super) async fn failed(tx: &TenantTx, payment: &PaymentRow) -> Result<Amount> {
    let all = refunds::of_payment(tx, payment.id).await?;
    let was_begun = |refund: &&RefundRow| refund.stripe_refund.is_some() && refund.is_own(payment);
    let failed = all.iter().filter(|refund| refund.status == RefundStatus::Failed).filter(was_begun);
    let mut failed = failed.map(|refund| refund.amount.unwrap_or(payment.captured_amount));
    let sum = failed.try_fold(Amount::default(), Amount::checked_add);
    Ok(sum.unwrap_or(payment.captured_amount))
}
