//! Orders: placing them, moving them on, calling them off.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::db::inventory::{self, TakenStock};
use crate::db::orders::{self, OrderInsert, OrderItemRow, OrderRow};
use crate::db::{TenantTx, users};
use crate::domain::actor::{Caller, Role};
use crate::domain::money::Amount;
use crate::domain::orders::{NewOrder, NewOrderItem, OrderStatus};
use crate::domain::validation;
use crate::error::{Error, FieldError, Result, Shortage};
use crate::services::{Services, refunds};

/// One product of a basket: how many pieces over all its lines, and the first of these lines.
struct Wish {
    quantity: i64,
    line: usize,
}

/// Places an order: takes the stock, snapshots the prices and writes the order, all or nothing.
pub async fn create(services: &Services, caller: &Caller, new: NewOrder) -> Result<OrderRow> {
    validation::check(&new)?;
    let wishes = wishes(&new.items)?;
    let tx = services.db.tenant(caller).await?;
    let customer_id = customer(&tx, caller, new.customer_id).await?;
    let product_ids = wishes.keys().copied().collect();
    let quantities = wishes.values().map(|wish| i32::try_from(wish.quantity).unwrap_or(i32::MAX)).collect();
    let taken = inventory::take(&tx, product_ids, quantities).await?;
    if let Err(refusal) = all_taken(&wishes, &taken) {
        tx.rollback().await?;
        return Err(refusal);
    }
    let id = services.sources.id();
    let items = lines(services, id, &wishes, &taken);
    let order = OrderInsert {
        id,
        customer_id,
        total_amount: total(&items)?,
        customer_name: new.customer_name,
        customer_email: new.customer_email,
        shipping_address: serde_json::to_value(new.shipping_address).map_err(Error::internal)?,
        items,
    };
    let order = orders::insert(&tx, order).await?;
    services.order_became(&tx, order.status);
    tx.commit().await?;
    Ok(order)
}

/// Moves an order along the state machine. Going to CANCELLED gives the stock back, once, and what was paid. Customers may
/// do so with their own, until it is packed.
pub async fn set_status(services: &Services, caller: &Caller, id: Uuid, to: OrderStatus) -> Result<OrderRow> {
    let tx = services.db.tenant(caller).await?;
    let order = orders::lock(&tx, id).await?.filter(|order| caller.sees_orders_of(order.customer_id));
    let order = order.ok_or(Error::not_found_at("Order", "id"))?;
    let from = order.status;
    let theirs_to_cancel = caller.is_staff() || from.customer_may_cancel();
    if !from.may_become(to) || !theirs_to_cancel {
        tx.rollback().await?;
        // Where it may go is for staff to choose; customers can only cancel, which is what was just refused.
        let allowed = if caller.is_staff() { from.allowed() } else { &[] };
        return Err(Error::InvalidStatusTransition { from, to, allowed, field: "status" });
    }
    let order = orders::set_status(&tx, id, to).await?;
    if to == OrderStatus::Cancelled {
        inventory::give_back(&tx, id).await?;
    }
    if from == OrderStatus::Pending || to == OrderStatus::Cancelled {
        refunds::let_go(services, &tx, &order).await?;
    }
    services.wake_jobs(&tx);
    services.order_became(&tx, to);
    tx.commit().await?;
    Ok(order)
}

/// Whose order it becomes: the customer's own, or the customer's whom staff name.
async fn customer(tx: &TenantTx, caller: &Caller, named: Option<Uuid>) -> Result<Uuid> {
    match (caller.user()?, named) {
        ((id, Role::Customer), None) => Ok(id),
        ((id, Role::Customer), Some(named)) if id == named => Ok(id),
        ((_, Role::Customer), Some(_)) => {
            Err(Error::field("customerId", "customers place orders for themselves; leave it out"))
        }
        (_, None) => Err(Error::field("customerId", "is required: name the customer whose order this is")),
        (_, Some(named)) => {
            let user = users::find(tx, named).await?.filter(|user| user.role == Role::Customer);
            Ok(user.ok_or(Error::not_found_at("Customer", "customerId"))?.id)
        }
    }
}

/// The basket by product, in the order in which stock is locked.
fn wishes(items: &[NewOrderItem]) -> Result<BTreeMap<Uuid, Wish>> {
    let mut wishes = BTreeMap::new();
    for (line, item) in items.iter().enumerate() {
        let wish = wishes.entry(item.product_id).or_insert(Wish { quantity: 0, line });
        wish.quantity += i64::from(item.quantity);
        if wish.quantity > i64::from(validation::MAX_QUANTITY) {
            let message = format!("must be at most {} over all lines of this product", validation::MAX_QUANTITY);
            return Err(Error::field(&format!("items.{line}.quantity"), message));
        }
    }
    Ok(wishes)
}

/// Refuses the order with every product that is unknown, or else with every one that is short.
fn all_taken(wishes: &BTreeMap<Uuid, Wish>, taken: &[TakenStock]) -> Result<()> {
    let unknown = wishes.iter().filter(|(id, _)| taken.iter().all(|stock| stock.product_id != **id));
    let unknown: Vec<_> = unknown
        .map(|(_, wish)| FieldError::new(&format!("items.{}.productId", wish.line), "there is no such product on sale"))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Validation(unknown));
    }
    let short = taken.iter().filter(|stock| !stock.enough).filter_map(|stock| {
        let wish = wishes.get(&stock.product_id)?;
        Some(Shortage {
            line: wish.line,
            product_id: stock.product_id,
            requested: wish.quantity,
            available: i64::from(stock.available),
        })
    });
    let mut short: Vec<_> = short.collect();
    short.sort_by_key(|shortage| shortage.line);
    if short.is_empty() { Ok(()) } else { Err(Error::InsufficientStock(short)) }
}

fn lines(
    services: &Services,
    order_id: Uuid,
    wishes: &BTreeMap<Uuid, Wish>,
    taken: &[TakenStock],
) -> Vec<OrderItemRow> {
    let mut lines: Vec<_> = taken.iter().filter_map(|stock| Some((wishes.get(&stock.product_id)?, stock))).collect();
    lines.sort_by_key(|(wish, _)| wish.line);
    let line = |(wish, stock): (&Wish, &TakenStock)| OrderItemRow {
        id: services.sources.id(),
        order_id,
        product_id: stock.product_id,
        quantity: i32::try_from(wish.quantity).unwrap_or(i32::MAX),
        price_at_time: stock.price,
    };
    lines.into_iter().map(line).collect()
}

fn total(items: &[OrderItemRow]) -> Result<Amount> {
    let sum = items.iter().try_fold(Amount::default(), |sum, item| {
        sum.checked_add(item.price_at_time.checked_mul(i64::from(item.quantity))?)
    });
    sum.ok_or_else(|| Error::field("items", format!("the order's total must be at most {}", Amount::MAX)))
}
