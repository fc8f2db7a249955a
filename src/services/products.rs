//! What a shop sells.

use uuid::Uuid;

use crate::db::products::ProductRow;
use crate::db::{inventory, products};
use crate::domain::actor::{Caller, Role};
use crate::domain::money::Amount;
use crate::domain::products::{NewProduct, ProductChanges};
use crate::domain::validation;
use crate::error::{Error, Result};
use crate::services::Services;

/// Adds a product and opens its stock.
pub async fn create(services: &Services, caller: &Caller, new: NewProduct) -> Result<ProductRow> {
    validation::check_beside(check_price(caller, Some(new.price)), &new)?;
    let (quantity, threshold) = (new.quantity, new.threshold);
    let tx = services.db.tenant(caller).await?;
    let product = products::insert(&tx, services.sources.id(), new).await?;
    inventory::open(&tx, services.sources.id(), product.id, quantity, threshold).await?;
    services.catalog_changed(&tx);
    tx.commit().await?;
    Ok(product)
}

/// Changes a product. Orders that were placed keep their price.
pub async fn update(services: &Services, caller: &Caller, id: Uuid, changes: ProductChanges) -> Result<ProductRow> {
    validation::check_beside(check_price(caller, changes.price), &changes)?;
    if changes.is_empty() {
        return Err(Error::field("input", "give at least one field to change"));
    }
    if changes.is_active == Some(false) && caller.user()?.1 != Role::Admin {
        return Err(Error::Forbidden("taking a product off sale needs the role ADMIN"));
    }
    let tx = services.db.tenant(caller).await?;
    let product = products::update(&tx, id, changes).await?.ok_or(Error::not_found_at("Product", "id"))?;
    services.catalog_changed(&tx);
    tx.commit().await?;
    Ok(product)
}

/// Takes a product off sale. It stays in the books, because orders point at it.
pub async fn delete(services: &Services, caller: &Caller, id: Uuid) -> Result<ProductRow> {
    let changes = ProductChanges { is_active: Some(false), ..ProductChanges::default() };
    update(services, caller, id, changes).await
}

/// A price that nobody could ever pay is refused: some currencies have no hundredths.
fn check_price(caller: &Caller, price: Option<Amount>) -> Result<()> {
    let currency = &caller.tenant()?.currency;
    match price {
        Some(price) if price.to_minor(currency).is_none() => {
            Err(Error::field("price", format!("must be a whole amount: {currency} has no smaller unit")))
        }
        _ => Ok(()),
    }
}
