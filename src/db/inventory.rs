//! Stock, and the ledger of every change in it.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Numeric, Uuid as SqlUuid};
use uuid::Uuid;

use super::keyset::Listing;
use super::schema::inventory;
use super::session::{ReadSession, TenantTx};
use super::sql::Sql;
use crate::domain::money::Amount;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::error::{Error, Result};

/// The stock of one product.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = inventory, check_for_backend(Pg))]
pub struct InventoryRow {
    /// The stock's own id.
    pub id: Uuid,
    /// Whose stock it is.
    pub product_id: Uuid,
    /// Pieces that can be sold.
    pub quantity: i32,
    /// At or below which stock is low.
    pub threshold: i32,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// The id of a product, as the key of its stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StockOf(pub Uuid);

/// The stock's own id, as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InventoryId(pub Uuid);

impl Loader<StockOf> for ReadSession {
    type Value = InventoryRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[StockOf]) -> Result<HashMap<StockOf, InventoryRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = inventory::table.filter(inventory::product_id.eq_any(ids)).select(InventoryRow::as_select());
        let rows: Vec<InventoryRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (StockOf(row.product_id), row)).collect())
    }
}

impl Loader<InventoryId> for ReadSession {
    type Value = InventoryRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[InventoryId]) -> Result<HashMap<InventoryId, InventoryRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = inventory::table.filter(inventory::id.eq_any(ids)).select(InventoryRow::as_select());
        let rows: Vec<InventoryRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (InventoryId(row.id), row)).collect())
    }
}

/// Opens the stock of a new product, with the first entry of its ledger when there is anything in it.
pub async fn open(tx: &TenantTx, id: Uuid, product_id: Uuid, quantity: i32, threshold: Option<i32>) -> Result<()> {
    let row = (
        inventory::id.eq(id),
        inventory::tenant_id.eq(tx.tenant_id()),
        inventory::product_id.eq(product_id),
        inventory::quantity.eq(quantity),
        threshold.map(|threshold| inventory::threshold.eq(threshold)),
    );
    tx.tx().execute(diesel::insert_into(inventory::table).values(row)).await?;
    if quantity > 0 {
        let movement =
            "insert into inventory_movements (tenant_id, product_id, delta, kind) values (?, ?, ?, 'INITIAL')";
        let movement = Sql::new(movement).bind(tx.tenant_id()).bind(product_id).bind(quantity);
        tx.tx().execute(movement.returning::<()>()).await?;
    }
    Ok(())
}

/// A product's stock, locked until the transaction ends.
pub async fn lock(tx: &TenantTx, product_id: Uuid) -> Result<Option<InventoryRow>> {
    let query = inventory::table
        .filter(inventory::product_id.eq(product_id))
        .select(InventoryRow::as_select())
        .for_no_key_update();
    tx.tx().find(query).await
}

/// Sets a product's stock and threshold, with the difference in the ledger. The caller holds the lock.
pub async fn set(
    tx: &TenantTx,
    current: &InventoryRow,
    quantity: i32,
    threshold: i32,
    reason: Option<String>,
) -> Result<InventoryRow> {
    let delta = quantity - current.quantity;
    if delta != 0 {
        let movement = "insert into inventory_movements (tenant_id, product_id, delta, kind, reason) \
                        values (?, ?, ?, 'ADJUSTMENT', ?)";
        let movement = Sql::new(movement).bind(tx.tenant_id()).bind(current.product_id).bind(delta).bind(reason);
        tx.tx().execute(movement.returning::<()>()).await?;
    }
    let update = diesel::update(inventory::table.filter(inventory::product_id.eq(current.product_id)))
        .set((inventory::quantity.eq(quantity), inventory::threshold.eq(threshold)))
        .returning(InventoryRow::as_returning());
    tx.tx().get(update).await
}

/// What is known of a product at the moment when stock is taken from it.
#[derive(Clone, Debug, Queryable)]
pub struct TakenStock {
    /// The product.
    pub product_id: Uuid,
    /// Its price now, which becomes the price of the order line.
    pub price: Amount,
    /// Pieces that were there before.
    pub available: i32,
    /// Whether the wish could be filled.
    pub enough: bool,
}

/// Takes so many pieces of each product, or of none of them when any is short.
///
/// One statement does it all: it locks the rows in the order of their products, so that crossing baskets cannot
/// deadlock, and decrements only when every row has enough. Products that are missing or inactive are left out of
/// the answer. The ledger is written with the order (see [`super::orders::insert`]).
pub async fn take(tx: &TenantTx, product_ids: Vec<Uuid>, quantities: Vec<i32>) -> Result<Vec<TakenStock>> {
    let take = Sql::new(
        "with wanted as (
             select * from unnest(?, ?) as wanted (product_id, quantity)
         ), stock as (
             select i.product_id, p.price, i.quantity as available, i.quantity >= w.quantity as enough, w.quantity as requested
             from wanted w
             join products p on p.id = w.product_id and p.is_active
             join inventory i on i.product_id = w.product_id
             order by i.product_id
             for no key update of i
         ), taken as (
             update inventory i set quantity = i.quantity - s.requested
             from stock s
             where i.product_id = s.product_id
               and (select bool_and(enough) and count(*) = cardinality(?) from stock)
         )
         select product_id, price, available, enough from stock",
    );
    let take = take.bind(product_ids.clone()).bind(quantities).bind(product_ids);
    tx.tx().load(take.returning::<(SqlUuid, Numeric, Integer, Bool)>()).await
}

/// Gives back what an order took, with the ledger's entries. The caller has made sure that this happens once.
pub async fn give_back(tx: &TenantTx, order_id: Uuid) -> Result<()> {
    let give_back = Sql::new(
        "with lines as (
             select i.product_id, l.quantity
             from order_items l
             join inventory i on i.product_id = l.product_id
             where l.order_id = ?
             order by i.product_id
             for no key update of i
         ), returned as (
             update inventory i set quantity = i.quantity + l.quantity from lines l where i.product_id = l.product_id
         )
         insert into inventory_movements (tenant_id, product_id, delta, kind, order_id)
         select ?, product_id, quantity, 'CANCELLATION', ? from lines",
    );
    let give_back = give_back.bind(order_id).bind(tx.tenant_id()).bind(order_id);
    tx.tx().execute(give_back.returning::<()>()).await.map(|_| ())
}

/// Which stock to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct InventoryFilter {
    /// Only stock at or below its threshold, or only stock above it.
    pub low_stock: Option<bool>,
}

impl InventoryFilter {
    fn listing(self) -> Listing {
        let listing = Listing::new(Sql::new("inventory"), ("inventory.product_id", KeyKind::Id), "inventory.id", false);
        match self.low_stock {
            Some(true) => listing.only(Sql::new("inventory.quantity <= inventory.threshold")),
            Some(false) => listing.only(Sql::new("inventory.quantity > inventory.threshold")),
            None => listing,
        }
    }

    /// One page of the stock, in the order in which products were added.
    pub async fn page(self, tx: &TenantTx, window: &Window) -> Result<Page<InventoryRow>> {
        let position = |row: &InventoryRow, _| (SortKey::Id(row.product_id), row.id);
        self.listing().page(tx, ListId::of(&self), window, position).await
    }

    /// How many products have such stock.
    pub async fn count(self, tx: &TenantTx) -> Result<i64> {
        self.listing().count(tx).await
    }
}
