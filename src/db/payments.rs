//! Payments: one an order, with what was captured of it and given back.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::keyset::Listing;
use super::orders::{self, OrderRow};
use super::schema::{payments, processed_events};
use super::session::{ReadSession, SystemTx, TenantTx};
use super::sql::Sql;
use super::sql_types::decimal;
use crate::domain::money::Amount;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::domain::payments::{PaymentProblem, PaymentStatus};
use crate::error::{Error, Result};

/// A payment.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = payments, check_for_backend(Pg))]
pub struct PaymentRow {
    /// The payment's id.
    pub id: Uuid,
    /// The order that it pays.
    pub order_id: Uuid,
    /// Stripe's id of the intent; none until Stripe has answered.
    pub stripe_payment_intent: Option<String>,
    /// Counts the intents: a cancelled one is replaced as long as the order can be paid.
    pub attempt: i32,
    /// What the order costs.
    pub amount: Amount,
    /// ISO 4217 code of the currency that it costs it in.
    pub currency: String,
    /// Where it stands.
    pub status: PaymentStatus,
    /// What was captured, in the order's currency.
    pub captured_amount: Amount,
    /// What was given back of it.
    pub refunded_amount: Amount,
    /// Why what was captured does not pay the order.
    pub problem: Option<PaymentProblem>,
    /// When it was captured.
    pub captured_at: Option<DateTime<Utc>>,
    /// When Stripe cancelled the intent: it can never be paid.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// When it was first asked for.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl PaymentRow {
    /// Whether Stripe may still take the money.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.captured_at.is_none() && self.cancelled_at.is_none()
    }
}

/// A payment's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaymentId(pub Uuid);

/// An order's id as the key of its payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaymentOf(pub Uuid);

impl Loader<PaymentId> for ReadSession {
    type Value = PaymentRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[PaymentId]) -> Result<HashMap<PaymentId, PaymentRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = payments::table.filter(payments::id.eq_any(ids)).select(PaymentRow::as_select());
        let rows: Vec<PaymentRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (PaymentId(row.id), row)).collect())
    }
}

impl Loader<PaymentOf> for ReadSession {
    type Value = PaymentRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[PaymentOf]) -> Result<HashMap<PaymentOf, PaymentRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = payments::table.filter(payments::order_id.eq_any(ids)).select(PaymentRow::as_select());
        let rows: Vec<PaymentRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (PaymentOf(row.order_id), row)).collect())
    }
}

/// Opens the payment of an order. The caller holds the order's lock and has seen that it has none.
pub async fn open(tx: &TenantTx, id: Uuid, order_id: Uuid, amount: Amount, currency: &str) -> Result<PaymentRow> {
    let row = (
        payments::id.eq(id),
        payments::tenant_id.eq(tx.tenant_id()),
        payments::order_id.eq(order_id),
        payments::amount.eq(decimal(amount)),
        payments::currency.eq(currency.to_owned()),
        payments::status.eq(PaymentStatus::Pending.as_str()),
    );
    tx.tx().get(diesel::insert_into(payments::table).values(row).returning(PaymentRow::as_returning())).await
}

/// The payment of that id.
pub async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<PaymentRow>> {
    tx.tx().find(payments::table.filter(payments::id.eq(id)).select(PaymentRow::as_select())).await
}

/// The payment of an order. Whoever means to change it holds the order's lock, which guards the payment too.
pub async fn of_order(tx: &TenantTx, order_id: Uuid) -> Result<Option<PaymentRow>> {
    tx.tx().find(payments::table.filter(payments::order_id.eq(order_id)).select(PaymentRow::as_select())).await
}

/// An order and its payment, locked until the transaction ends: the order's lock guards all that belongs to it.
pub async fn locked(tx: &TenantTx, order_id: Uuid) -> Result<(OrderRow, PaymentRow)> {
    let order = orders::lock(tx, order_id).await?.ok_or_else(vanished)?;
    Ok((order, of_order(tx, order_id).await?.ok_or_else(vanished)?))
}

/// A bug: nothing ever deletes an order, a payment or its intent.
#[must_use]
pub fn vanished() -> Error {
    Error::internal(anyhow::anyhow!("an order or payment vanished"))
}

/// Writes all of a payment that can change. The caller holds its order's lock.
pub async fn save(tx: &TenantTx, payment: PaymentRow) -> Result<PaymentRow> {
    let update = diesel::update(payments::table.filter(payments::id.eq(payment.id)))
        .set((
            payments::stripe_payment_intent.eq(payment.stripe_payment_intent),
            payments::attempt.eq(payment.attempt),
            payments::status.eq(payment.status.as_str()),
            payments::captured_amount.eq(decimal(payment.captured_amount)),
            payments::refunded_amount.eq(decimal(payment.refunded_amount)),
            payments::problem.eq(payment.problem.map(PaymentProblem::as_str)),
            payments::captured_at.eq(payment.captured_at),
            payments::cancelled_at.eq(payment.cancelled_at),
        ))
        .returning(PaymentRow::as_returning());
    tx.tx().get(update).await
}

/// Where a payment is.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Located {
    /// The shop whose payment it is.
    pub tenant_id: Uuid,
    /// The order that it pays.
    pub order_id: Uuid,
}

/// The payment that has this intent, or else this id: Stripe can tell of an intent before its id is written here.
pub async fn locate(tx: &SystemTx, intent: &str, id: Option<Uuid>) -> Result<Option<Located>> {
    let places = payments::table.select((payments::tenant_id, payments::order_id));
    let found = tx.tx().find(places.filter(payments::stripe_payment_intent.eq(intent.to_owned()))).await?;
    match (found, id) {
        (None, Some(id)) => tx.tx().find(places.filter(payments::id.eq(id))).await,
        (found, _) => Ok(found),
    }
}

/// Records that an event of Stripe is applied in this transaction. False when it was before; waits where another
/// transaction is about to.
pub async fn record_event(tx: &TenantTx, event_id: &str, event_type: &str) -> Result<bool> {
    let row = (
        processed_events::tenant_id.eq(tx.tenant_id()),
        processed_events::event_id.eq(event_id.to_owned()),
        processed_events::event_type.eq(event_type.to_owned()),
    );
    let insert = diesel::insert_into(processed_events::table).values(row).on_conflict_do_nothing();
    Ok(tx.tx().execute(insert).await? == 1)
}

/// Forgets events that came before this moment.
pub async fn forget_events(tx: &SystemTx, before: DateTime<Utc>) -> Result<usize> {
    tx.tx().execute(diesel::delete(processed_events::table.filter(processed_events::received_at.lt(before)))).await
}

/// Which payments to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentFilter {
    /// Only those in this state.
    pub status: Option<PaymentStatus>,
    /// Only those with a problem, or only those without.
    pub has_problem: Option<bool>,
}

impl PaymentFilter {
    fn listing(self) -> Listing {
        Listing::new(Sql::new("payments"), ("payments.created_at", KeyKind::Time), "payments.id", true)
            .only_if("payments.status = ?", self.status.map(PaymentStatus::as_str))
            .only_if("(payments.problem is not null) = ?", self.has_problem)
    }

    /// One page of the payments, newest first.
    pub async fn page(self, tx: &TenantTx, window: &Window) -> Result<Page<PaymentRow>> {
        let position = |row: &PaymentRow, _| (SortKey::Time(row.created_at), row.id);
        self.listing().page(tx, ListId::of(&self), window, position).await
    }

    /// How many payments there are.
    pub async fn count(self, tx: &TenantTx) -> Result<i64> {
        self.listing().count(tx).await
    }
}
