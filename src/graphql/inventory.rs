//! Stock.

use async_graphql::{Context, InputObject, Object};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::db::inventory::{InventoryFilter as ListFilter, InventoryRow};
use crate::db::products::ProductId;
use crate::domain::inventory::StockChange;
use crate::domain::page::{ListId, PageArgs};
use crate::error::Error;
use crate::graphql::context::RequestExt;
use crate::graphql::errors::payload;
use crate::graphql::guards::Access;
use crate::graphql::pagination::Connection;
use crate::graphql::products::Product;
use crate::graphql::scalars::Id;
use crate::services::inventory;

/// The stock of one product.
pub struct Inventory(pub InventoryRow);

impl From<InventoryRow> for Inventory {
    fn from(row: InventoryRow) -> Self {
        Self(row)
    }
}

/// The stock of one product.
#[Object]
impl Inventory {
    /// The stock's own id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// Whose stock it is.
    async fn product(&self, ctx: &Context<'_>) -> async_graphql::Result<Product> {
        let product = ctx.request().loader.load_one(ProductId(self.0.product_id)).await?;
        let missing = || Error::internal(anyhow::anyhow!("stock without a product"));
        Ok(Product(product.ok_or_else(missing)?))
    }

    /// Pieces that can be sold.
    async fn quantity(&self) -> i32 {
        self.0.quantity
    }

    /// At or below which stock is low.
    async fn threshold(&self) -> i32 {
        self.0.threshold
    }

    /// Whether stock is at or below its threshold.
    async fn is_low_stock(&self) -> bool {
        self.0.quantity <= self.0.threshold
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }
}

/// Which stock to list.
#[derive(InputObject, Clone, Copy, Debug, Default)]
pub struct InventoryFilter {
    /// Only stock at or below its threshold, or only stock above it.
    low_stock: Option<bool>,
}

/// Reads of stock.
#[derive(Default)]
pub struct InventoryQuery;

#[Object]
impl InventoryQuery {
    /// The shop's stock, in the order in which products were added. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn inventory(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
        #[graphql(desc = "Which stock.")] filter: Option<InventoryFilter>,
    ) -> async_graphql::Result<Connection<Inventory>> {
        let list = ListFilter { low_stock: filter.unwrap_or_default().low_stock };
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let page = list.page(&*ctx.request().session.tx().await?, &window).await?;
        Ok(Connection::new(page, move |tx| list.count(tx).boxed()))
    }
}

/// How to change a product's stock: give one of `delta` and `quantity`, or a `threshold`, or both.
#[derive(InputObject)]
pub struct InventoryAdjustInput {
    /// Whose stock.
    product_id: Id,
    /// So many pieces more, or fewer.
    delta: Option<i32>,
    /// Exactly so many pieces, as counted.
    quantity: Option<i32>,
    /// At or below which stock is low.
    threshold: Option<i32>,
    /// Why, for the ledger: at most 500 characters.
    reason: Option<String>,
}

payload! {
    /// What `inventoryAdjust` answers.
    InventoryAdjustPayload {
        /// The stock as it is now.
        inventory: Inventory
    }
}

/// Changes of stock.
#[derive(Default)]
pub struct InventoryMutation;

#[Object]
impl InventoryMutation {
    /// Changes a product's stock or threshold. Stock never falls below zero. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    async fn inventory_adjust(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which product's stock changes, by how much or to what, and why.")]
        input: InventoryAdjustInput,
    ) -> async_graphql::Result<InventoryAdjustPayload> {
        let request = ctx.request();
        let InventoryAdjustInput { product_id, delta, quantity, threshold, reason } = input;
        let change = StockChange { delta, quantity, threshold, reason };
        let adjusted = inventory::adjust(&request.services, &request.caller, product_id.0, change).await;
        InventoryAdjustPayload::of(adjusted)
    }
}
