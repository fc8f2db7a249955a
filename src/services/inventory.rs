//! Stock.

use uuid::Uuid;

use crate::db::inventory::{self, InventoryRow};
use crate::domain::actor::Caller;
use crate::domain::inventory::StockChange;
use crate::domain::validation;
use crate::error::{Error, Result};
use crate::services::Services;

/// Changes a product's stock or threshold, under the lock of its row, with an entry in the ledger.
pub async fn adjust(
    services: &Services,
    caller: &Caller,
    product_id: Uuid,
    change: StockChange,
) -> Result<InventoryRow> {
    validation::check(&change)?;
    let adjustment = change.adjustment()?;
    let tx = services.db.tenant(caller).await?;
    let current = inventory::lock(&tx, product_id).await?.ok_or(Error::not_found_at("Product", "productId"))?;
    let quantity = match adjustment {
        Some(adjustment) => adjustment.apply(current.quantity)?,
        None => current.quantity,
    };
    let threshold = change.threshold.unwrap_or(current.threshold);
    let stock = inventory::set(&tx, &current, quantity, threshold, change.reason).await?;
    tx.commit().await?;
    Ok(stock)
}
