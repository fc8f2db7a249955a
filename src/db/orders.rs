//! Orders, their lines, and the history of their states.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use uuid::Uuid;

use super::keyset::Listing;
use super::schema::{order_items, order_status_history, orders};
use super::session::{ReadSession, TenantTx};
use super::sql::Sql;
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::error::{Error, Result};

/// An order.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Pg))]
pub struct OrderRow {
    /// The order's id.
    pub id: Uuid,
    /// Whose order it is.
    pub customer_id: Uuid,
    /// Where it stands.
    pub status: OrderStatus,
    /// The sum of its lines.
    pub total_amount: Amount,
    /// Who receives it.
    pub customer_name: String,
    /// Where to write about it.
    pub customer_email: String,
    /// Where it goes: a [`crate::domain::orders::Address`] as JSON.
    pub shipping_address: serde_json::Value,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A line of an order.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = order_items, check_for_backend(Pg))]
pub struct OrderItemRow {
    /// The line's id.
    pub id: Uuid,
    /// The order it belongs to.
    pub order_id: Uuid,
    /// What was bought.
    pub product_id: Uuid,
    /// How many.
    pub quantity: i32,
    /// What one piece cost when the order was placed.
    pub price_at_time: Amount,
}

/// One step of an order's life.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = order_status_history, check_for_backend(Pg))]
pub struct StatusChangeRow {
    /// The step's id.
    pub id: Uuid,
    /// The order that took it.
    pub order_id: Uuid,
    /// Where the order stood; none when it was placed.
    pub from_status: Option<OrderStatus>,
    /// Where it stood then.
    pub to_status: OrderStatus,
    /// Who did it; none when nobody was logged in or a job did.
    pub user_id: Option<Uuid>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// An order's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderId(pub Uuid);

/// An order's id as the key of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ItemsOf(pub Uuid);

/// An order's id as the key of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryOf(pub Uuid);

/// A line's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderItemId(pub Uuid);

impl Loader<OrderId> for ReadSession {
    type Value = OrderRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[OrderId]) -> Result<HashMap<OrderId, OrderRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = orders::table.filter(orders::id.eq_any(ids)).select(OrderRow::as_select());
        let rows: Vec<OrderRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (OrderId(row.id), row)).collect())
    }
}

impl Loader<ItemsOf> for ReadSession {
    type Value = Vec<OrderItemRow>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ItemsOf]) -> Result<HashMap<ItemsOf, Vec<OrderItemRow>>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = order_items::table
            .filter(order_items::order_id.eq_any(ids))
            .order(order_items::id)
            .select(OrderItemRow::as_select());
        let rows: Vec<OrderItemRow> = self.tx().await?.tx().load(query).await?;
        let mut items: HashMap<ItemsOf, Vec<OrderItemRow>> = HashMap::new();
        for row in rows {
            items.entry(ItemsOf(row.order_id)).or_default().push(row);
        }
        Ok(items)
    }
}

impl Loader<OrderItemId> for ReadSession {
    type Value = OrderItemRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[OrderItemId]) -> Result<HashMap<OrderItemId, OrderItemRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = order_items::table.filter(order_items::id.eq_any(ids)).select(OrderItemRow::as_select());
        let rows: Vec<OrderItemRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (OrderItemId(row.id), row)).collect())
    }
}

impl Loader<HistoryOf> for ReadSession {
    type Value = Vec<StatusChangeRow>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[HistoryOf]) -> Result<HashMap<HistoryOf, Vec<StatusChangeRow>>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = order_status_history::table
            .filter(order_status_history::order_id.eq_any(ids))
            .order((order_status_history::created_at, order_status_history::id))
            .select(StatusChangeRow::as_select());
        let rows: Vec<StatusChangeRow> = self.tx().await?.tx().load(query).await?;
        let mut history: HashMap<HistoryOf, Vec<StatusChangeRow>> = HashMap::new();
        for row in rows {
            history.entry(HistoryOf(row.order_id)).or_default().push(row);
        }
        Ok(history)
    }
}

/// A new order as it is written; times and status are the database's.
#[derive(Clone, Debug)]
pub struct OrderInsert {
    /// The order's id.
    pub id: Uuid,
    /// Whose order it is.
    pub customer_id: Uuid,
    /// The sum of its lines.
    pub total_amount: Amount,
    /// Who receives it.
    pub customer_name: String,
    /// Where to write about it.
    pub customer_email: String,
    /// Where it goes.
    pub shipping_address: serde_json::Value,
    /// Its lines.
    pub items: Vec<OrderItemRow>,
}

/// Writes an order, its lines, and the ledger's entries of the stock that [`super::inventory::take`] took for it.
pub async fn insert(tx: &TenantTx, order: OrderInsert) -> Result<OrderRow> {
    let insert = Sql::new(
        "with lines as (
             select * from unnest(?, ?, ?, ?) as lines (id, product_id, quantity, price)
         ), placed as (
             insert into orders (id, tenant_id, customer_id, status, total_amount, customer_name, customer_email,
                 shipping_address)
             values (?, ?, ?, 'PENDING', ?, ?, ?, ?)
             returning id, tenant_id, created_at
         ), items as (
             insert into order_items (id, tenant_id, order_id, product_id, quantity, price_at_time)
             select l.id, p.tenant_id, p.id, l.product_id, l.quantity, l.price from lines l, placed p
         ), movements as (
             insert into inventory_movements (tenant_id, product_id, delta, kind, order_id)
             select p.tenant_id, l.product_id, -l.quantity, 'ORDER', p.id from lines l, placed p
         )
         select created_at from placed",
    );
    let OrderInsert { id, customer_id, total_amount, customer_name, customer_email, shipping_address, items } = order;
    let insert = insert
        .bind(items.iter().map(|item| item.id).collect::<Vec<_>>())
        .bind(items.iter().map(|item| item.product_id).collect::<Vec<_>>())
        .bind(items.iter().map(|item| item.quantity).collect::<Vec<_>>())
        .bind(items.iter().map(|item| item.price_at_time).collect::<Vec<_>>())
        .bind(id)
        .bind(tx.tenant_id())
        .bind(customer_id)
        .bind(total_amount)
        .bind(customer_name.clone())
        .bind(customer_email.clone())
        .bind(shipping_address.clone());
    let created_at: DateTime<Utc> = tx.tx().get(insert.returning::<Timestamptz>()).await?;
    Ok(OrderRow {
        id,
        customer_id,
        status: OrderStatus::Pending,
        total_amount,
        customer_name,
        customer_email,
        shipping_address,
        created_at,
        updated_at: created_at,
    })
}

/// An order as it is.
pub async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<OrderRow>> {
    tx.tx().find(orders::table.filter(orders::id.eq(id)).select(OrderRow::as_select())).await
}

/// An order, locked until the transaction ends.
pub async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<OrderRow>> {
    tx.tx().find(orders::table.filter(orders::id.eq(id)).select(OrderRow::as_select()).for_no_key_update()).await
}

/// Moves an order to another state. The caller holds its lock and has asked the state machine; the history is
/// written by a trigger.
pub async fn set_status(tx: &TenantTx, id: Uuid, status: OrderStatus) -> Result<OrderRow> {
    let update = diesel::update(orders::table.filter(orders::id.eq(id)))
        .set(orders::status.eq(status.as_str()))
        .returning(OrderRow::as_returning());
    tx.tx().get(update).await
}

/// Which orders to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderFilter {
    /// Only those in this state.
    pub status: Option<OrderStatus>,
    /// Only this customer's.
    pub customer_id: Option<Uuid>,
}

impl OrderFilter {
    fn listing(self) -> Listing {
        Listing::new(Sql::new("orders"), ("orders.created_at", KeyKind::Time), "orders.id", true)
            .only_if("orders.status = ?", self.status.map(OrderStatus::as_str))
            .only_if("orders.customer_id = ?", self.customer_id)
    }

    /// One page of the orders, newest first.
    pub async fn page(self, tx: &TenantTx, window: &Window) -> Result<Page<OrderRow>> {
        let position = |row: &OrderRow, _| (SortKey::Time(row.created_at), row.id);
        self.listing().page(tx, ListId::of(&self), window, position).await
    }

    /// How many orders there are.
    pub async fn count(self, tx: &TenantTx) -> Result<i64> {
        self.listing().count(tx).await
    }
}
