//! Refunds: written as what is to be given back, before Stripe is asked to.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::payments::PaymentRow;
use super::schema::refunds;
use super::session::{ReadSession, TenantTx};
use super::sql_types::decimal;
use crate::domain::money::Amount;
use crate::domain::payments::{RefundReason, RefundStatus};
use crate::error::{Error, Result};

/// A refund.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = refunds, check_for_backend(Pg))]
pub struct RefundRow {
    /// The refund's id, from which Stripe's idempotency key is made.
    pub id: Uuid,
    /// The payment that is given back.
    pub payment_id: Uuid,
    /// The order that it paid.
    pub order_id: Uuid,
    /// The intent that captured the money: the payment's, or a stray one that paid the same order again.
    pub stripe_payment_intent: String,
    /// Stripe's id of the refund; none until Stripe has answered.
    pub stripe_refund: Option<String>,
    /// How much; none stands for all that is left, until Stripe tells how much that is.
    pub amount: Option<Amount>,
    /// Why.
    pub reason: RefundReason,
    /// Why, in the words of whoever asked for it.
    pub note: Option<String>,
    /// Where it stands.
    pub status: RefundStatus,
    /// Stripe's code for why it failed.
    pub failure: Option<String>,
    /// Who asked for it; none when nobody did.
    pub user_id: Option<Uuid>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl RefundRow {
    /// Whether it gives back what the payment itself captured, and not a stray intent.
    #[must_use]
    pub fn is_own(&self, payment: &PaymentRow) -> bool {
        payment.stripe_payment_intent.as_ref() == Some(&self.stripe_payment_intent)
    }
}

/// A refund's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefundId(pub Uuid);

/// A payment's id as the key of its refunds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefundsOf(pub Uuid);

impl Loader<RefundId> for ReadSession {
    type Value = RefundRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RefundId]) -> Result<HashMap<RefundId, RefundRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = refunds::table.filter(refunds::id.eq_any(ids)).select(RefundRow::as_select());
        let rows: Vec<RefundRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (RefundId(row.id), row)).collect())
    }
}

impl Loader<RefundsOf> for ReadSession {
    type Value = Vec<RefundRow>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RefundsOf]) -> Result<HashMap<RefundsOf, Vec<RefundRow>>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = refunds::table
            .filter(refunds::payment_id.eq_any(ids))
            .order((refunds::created_at, refunds::id))
            .select(RefundRow::as_select());
        let rows: Vec<RefundRow> = self.tx().await?.tx().load(query).await?;
        let mut of_payment: HashMap<RefundsOf, Vec<RefundRow>> = HashMap::new();
        for row in rows {
            of_payment.entry(RefundsOf(row.payment_id)).or_default().push(row);
        }
        Ok(of_payment)
    }
}

/// A new refund as it is written.
#[derive(Clone, Debug)]
pub struct RefundInsert {
    /// The refund's id.
    pub id: Uuid,
    /// The payment that is given back.
    pub payment_id: Uuid,
    /// The order that it paid.
    pub order_id: Uuid,
    /// The intent that captured the money.
    pub stripe_payment_intent: String,
    /// How much; none stands for all that is left.
    pub amount: Option<Amount>,
    /// Why.
    pub reason: RefundReason,
    /// Why, in the words of whoever asked for it.
    pub note: Option<String>,
}

/// Writes a refund that is to be made. The caller holds the order's lock and has seen that so much is left.
pub async fn insert(tx: &TenantTx, refund: RefundInsert) -> Result<RefundRow> {
    let row = (
        refunds::id.eq(refund.id),
        refunds::tenant_id.eq(tx.tenant_id()),
        refunds::payment_id.eq(refund.payment_id),
        refunds::order_id.eq(refund.order_id),
        refunds::stripe_payment_intent.eq(refund.stripe_payment_intent),
        refunds::amount.eq(refund.amount.map(decimal)),
        refunds::reason.eq(refund.reason.as_str()),
        refunds::note.eq(refund.note),
    );
    tx.tx().get(diesel::insert_into(refunds::table).values(row).returning(RefundRow::as_returning())).await
}

/// All refunds of a payment, oldest first. Whoever means to change them holds the order's lock, which guards them too.
pub async fn of_payment(tx: &TenantTx, payment_id: Uuid) -> Result<Vec<RefundRow>> {
    let query = refunds::table
        .filter(refunds::payment_id.eq(payment_id))
        .order((refunds::created_at, refunds::id))
        .select(RefundRow::as_select());
    tx.tx().load(query).await
}

/// Writes all of a refund that can change. The caller holds its order's lock.
pub async fn save(tx: &TenantTx, refund: RefundRow) -> Result<RefundRow> {
    let update = diesel::update(refunds::table.filter(refunds::id.eq(refund.id)))
        .set((
            refunds::stripe_refund.eq(refund.stripe_refund),
            refunds::amount.eq(refund.amount.map(decimal)),
            refunds::status.eq(refund.status.as_str()),
            refunds::failure.eq(refund.failure),
        ))
        .returning(RefundRow::as_returning());
    tx.tx().get(update).await
}
