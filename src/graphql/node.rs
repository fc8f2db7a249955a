//! Any object by its id, as Relay asks for it.

use async_graphql::{Context, Interface, Object};
use futures_util::try_join;

use crate::db::inventory::InventoryId;
use crate::db::orders::{OrderId, OrderItemId};
use crate::db::payments::PaymentId;
use crate::db::products::ProductId;
use crate::db::refunds::RefundId;
use crate::db::service_accounts::ServiceAccountId;
use crate::db::users::UserId;
use crate::db::{audit, tenants};
use crate::error::Error;
use crate::graphql::audit::AuditLog;
use crate::graphql::context::{RequestContext, RequestExt};
use crate::graphql::guards::{Access, own_or_admin};
use crate::graphql::inventory::Inventory;
use crate::graphql::orders::{Order, OrderItem};
use crate::graphql::payments::{Payment, Refund};
use crate::graphql::products::{Product, visible};
use crate::graphql::scalars::Id;
use crate::graphql::service_accounts::ServiceAccount;
use crate::graphql::tenants::Tenant;
use crate::graphql::users::User;

/// Anything that has an id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "Id", desc = "The object's id, unique across all types."))]
pub enum Node {
    /// Something that a shop sells.
    Product(Product),
    /// The stock of one product.
    Inventory(Inventory),
    /// What a customer bought.
    Order(Order),
    /// A line of an order.
    OrderItem(OrderItem),
    /// The payment of an order.
    Payment(Payment),
    /// Money that is given back.
    Refund(Refund),
    /// Somebody who can log in.
    User(User),
    /// A machine that acts for a shop.
    ServiceAccount(ServiceAccount),
    /// A shop.
    Tenant(Tenant),
    /// One change of one object.
    AuditLog(AuditLog),
}

/// Reads of anything.
#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any object by its id. Null when there is none, or when the caller may not see it.
    #[graphql(guard = "Access::Shop")]
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of any object, whatever its type.")] id: Id,
    ) -> async_graphql::Result<Option<Node>> {
        let request = ctx.request();
        if let Some(product) = request.loader.load_one(ProductId(id.0)).await? {
            return Ok(visible(&request.caller, Some(product)).map(Node::Product));
        }
        // Anonymous shoppers see nothing but products and the shop itself.
        let found = match request.caller.user() {
            Ok(_) => find(request, id).await?,
            Err(_) => None,
        };
        match found {
            Some(node) => Ok(Some(node)),
            None if request.caller.tenant()?.id == id.0 => {
                let tx = request.session.tx().await?;
                Ok(tenants::current(&tx).await?.map(|row| Node::Tenant(Tenant(row))))
            }
            None => Ok(None),
        }
    }
}

/// The object of that id, if this user may see it. All tables are asked at once, in one round trip.
async fn find(request: &RequestContext, id: Id) -> async_graphql::Result<Option<Node>> {
    let RequestContext { loader, caller, session, .. } = request;
    let tx = session.tx().await?;
    let entry = async {
        match Access::Admin.check(caller) {
            Ok(()) => audit::find(&tx, id.0).await.map_err(std::sync::Arc::<Error>::from),
            Err(_) => Ok(None),
        }
    };
    let (order, item, payment, refund, user, machine, stock, entry) = try_join!(
        loader.load_one(OrderId(id.0)),
        loader.load_one(OrderItemId(id.0)),
        loader.load_one(PaymentId(id.0)),
        loader.load_one(RefundId(id.0)),
        loader.load_one(UserId(id.0)),
        loader.load_one(ServiceAccountId(id.0)),
        loader.load_one(InventoryId(id.0)),
        entry,
    )?;
    let order = order.filter(|order| caller.sees_orders_of(order.customer_id)).map(|row| Node::Order(Order(row)));
    let user = user.filter(|user| own_or_admin(caller, user.id).is_ok()).map(|row| Node::User(User(row)));
    let machine = machine.filter(|_| Access::Admin.check(caller).is_ok());
    let machine = machine.map(|row| Node::ServiceAccount(ServiceAccount(row)));
    let stock = stock.filter(|_| caller.is_staff()).map(|row| Node::Inventory(Inventory(row)));
    let part = match (item, payment, refund) {
        (Some(item), ..) => Some((item.order_id, Node::OrderItem(OrderItem(item)))),
        (_, Some(payment), _) => Some((payment.order_id, Node::Payment(Payment(payment)))),
        (_, _, Some(refund)) => Some((refund.order_id, Node::Refund(Refund(refund)))),
        _ => None,
    };
    let part = match part {
        // What belongs to an order is as visible as the order.
        Some((order_id, node)) => {
            let order = loader.load_one(OrderId(order_id)).await?;
            order.is_some_and(|order| caller.sees_orders_of(order.customer_id)).then_some(node)
        }
        None => None,
    };
    let entry = entry.map(|row| Node::AuditLog(AuditLog(row)));
    Ok(order.or(part).or(user).or(machine).or(stock).or(entry))
}
