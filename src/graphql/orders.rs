//! Orders.

mod inputs;

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::db::orders::{
    HistoryOf, ItemsOf, OrderFilter as ListFilter, OrderId, OrderItemRow, OrderRow, StatusChangeRow,
};
use crate::db::payments::PaymentOf;
use crate::db::products::{ProductId, ProductRow};
use crate::db::users::UserId;
use crate::domain::actor::Actor;
use crate::domain::orders as domain;
use crate::domain::page::{ListId, PageArgs};
use crate::error::{Error, Result};
use crate::graphql::context::RequestExt;
use crate::graphql::errors::payload;
use crate::graphql::guards::{Access, may_see, own_or_admin};
use crate::graphql::pagination::Connection;
use crate::graphql::payments::Payment;
use crate::graphql::products::{Product, visible};
use crate::graphql::scalars::{Id, Money};
use crate::graphql::users::User;
use crate::services::orders;

use inputs::{OrderCreateInput, OrderStatusUpdateInput};

/// Where an order stands: PENDING -> PAID -> FULFILLED -> SHIPPED -> COMPLETED, or CANCELLED from the first three.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::OrderStatus")]
pub enum OrderStatus {
    /// Placed, stock reserved, not paid yet.
    Pending,
    /// Paid.
    Paid,
    /// Packed.
    Fulfilled,
    /// On its way.
    Shipped,
    /// Arrived. The end.
    Completed,
    /// Called off, stock returned. The end.
    Cancelled,
}

/// A postal address.
#[derive(SimpleObject)]
pub struct Address {
    /// Street and number.
    street: String,
    /// City or town.
    city: String,
    /// State, province or region.
    state: String,
    /// Postal code.
    zip: String,
    /// ISO 3166-1 alpha-2 country code, like "US".
    country: String,
}

/// One step of an order's life.
pub struct OrderStatusChange(StatusChangeRow);

/// One step of an order's life.
#[Object]
impl OrderStatusChange {
    /// Where the order stood; null when it was placed.
    async fn from(&self) -> Option<OrderStatus> {
        self.0.from_status.map(Into::into)
    }

    /// Where it stood then.
    async fn to(&self) -> OrderStatus {
        self.0.to_status.into()
    }

    /// Who did it; null when nobody was logged in or a job did.
    async fn user_id(&self) -> Option<Id> {
        self.0.user_id.map(Id)
    }

    /// When.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }
}

/// A line of an order.
pub struct OrderItem(pub OrderItemRow);

impl OrderItem {
    /// The product, which a line always has, active or not.
    async fn row(&self, ctx: &Context<'_>) -> async_graphql::Result<ProductRow> {
        let product = ctx.request().loader.load_one(ProductId(self.0.product_id)).await?;
        let missing = || Error::internal(anyhow::anyhow!("an order line without a product"));
        Ok(product.ok_or_else(missing)?)
    }
}

/// A line of an order.
#[Object]
impl OrderItem {
    /// The line's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// The id of what was bought.
    async fn product_id(&self) -> Id {
        Id(self.0.product_id)
    }

    /// What was bought. When it is no longer sold, null for customers, and for service accounts that may not read products.
    async fn product(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Product>> {
        Ok(visible(&ctx.request().caller, Some(self.row(ctx).await?)))
    }

    /// What the product is called.
    async fn name(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(self.row(ctx).await?.name)
    }

    /// The product's SKU.
    async fn sku(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(self.row(ctx).await?.sku)
    }

    /// How many pieces.
    async fn quantity(&self) -> i32 {
        self.0.quantity
    }

    /// What one piece cost when the order was placed.
    async fn price_at_time(&self, ctx: &Context<'_>) -> async_graphql::Result<Money> {
        Ok(Money::new(ctx, self.0.price_at_time)?)
    }
}

/// What a customer bought, and where it stands.
pub struct Order(pub OrderRow);

impl From<OrderRow> for Order {
    fn from(row: OrderRow) -> Self {
        Self(row)
    }
}

/// What a customer bought, and where it stands.
#[Object]
impl Order {
    /// The order's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// Where it stands.
    async fn status(&self) -> OrderStatus {
        self.0.status.into()
    }

    /// Where it may go next. Empty at the end of its life.
    async fn allowed_transitions(&self) -> Vec<OrderStatus> {
        self.0.status.allowed().iter().copied().map(Into::into).collect()
    }

    /// The sum of its lines.
    async fn total_amount(&self, ctx: &Context<'_>) -> async_graphql::Result<Money> {
        Ok(Money::new(ctx, self.0.total_amount)?)
    }

    /// The id of the customer whose order it is.
    async fn customer_id(&self) -> Id {
        Id(self.0.customer_id)
    }

    /// The customer's account. Requires ADMIN, or to be that customer; null with an error for others.
    async fn customer(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        let request = ctx.request();
        if !may_see(ctx, own_or_admin(&request.caller, self.0.customer_id)) {
            return Ok(None);
        }
        Ok(request.loader.load_one(UserId(self.0.customer_id)).await?.map(User))
    }

    /// Who receives it.
    async fn customer_name(&self) -> &str {
        &self.0.customer_name
    }

    /// Where to write about it.
    async fn customer_email(&self) -> &str {
        &self.0.customer_email
    }

    /// Where it goes.
    async fn shipping_address(&self) -> async_graphql::Result<Address> {
        let address: domain::Address =
            serde_json::from_value(self.0.shipping_address.clone()).map_err(Error::internal)?;
        let domain::Address { street, city, state, zip, country } = address;
        Ok(Address { street, city, state, zip, country })
    }

    /// Its lines, one for each product, in the order in which they were asked for.
    async fn items(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<OrderItem>> {
        let items = ctx.request().loader.load_one(ItemsOf(self.0.id)).await?;
        Ok(items.unwrap_or_default().into_iter().map(OrderItem).collect())
    }

    /// Its payment. Null until somebody has asked for one.
    async fn payment(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Payment>> {
        Ok(ctx.request().loader.load_one(PaymentOf(self.0.id)).await?.map(Payment))
    }

    /// Every state that it has been in, oldest first.
    async fn status_history(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<OrderStatusChange>> {
        let history = ctx.request().loader.load_one(HistoryOf(self.0.id)).await?;
        Ok(history.unwrap_or_default().into_iter().map(OrderStatusChange).collect())
    }

    /// When it was placed.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }
}

/// Which orders to list. Conditions add up.
#[derive(InputObject, Clone, Copy, Debug, Default)]
pub struct OrderFilter {
    /// Only those in this state.
    status: Option<OrderStatus>,
    /// Only this customer's. Customers see their own in any case, and may name nobody else.
    customer_id: Option<Id>,
}

/// Reads of orders.
#[derive(Default)]
pub struct OrderQuery;

#[Object]
impl OrderQuery {
    /// One order. Null when there is none, or when it is another customer's. Requires CUSTOMER, MERCHANT or ADMIN.
    #[graphql(guard = "Access::User")]
    async fn order(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the order.")] id: Id,
    ) -> async_graphql::Result<Option<Order>> {
        let request = ctx.request();
        let order = request.loader.load_one(OrderId(id.0)).await?;
        Ok(order.filter(|order| request.caller.sees_orders_of(order.customer_id)).map(Order))
    }

    /// Orders, newest first: a customer's own, or all of the shop's for MERCHANT and ADMIN.
    #[graphql(guard = "Access::User")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
        #[graphql(desc = "Which orders.")] filter: Option<OrderFilter>,
    ) -> async_graphql::Result<Connection<Order>> {
        let request = ctx.request();
        let list = scope(request.caller.actor, filter.unwrap_or_default())?;
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let page = list.page(&*request.session.tx().await?, &window).await?;
        Ok(Connection::new(page, move |tx| list.count(tx).boxed()))
    }
}

/// The orders that this actor may list.
fn scope(actor: Actor, filter: OrderFilter) -> Result<ListFilter> {
    let named = filter.customer_id.map(|id| id.0);
    let customer_id = match actor {
        Actor::User { role, .. } if role.is_staff() => named,
        Actor::User { id, .. } if named.is_none_or(|named| named == id) => Some(id),
        _ => return Err(Error::Forbidden("customers see their own orders only")),
    };
    Ok(ListFilter { status: filter.status.map(Into::into), customer_id })
}

payload! {
    /// What `orderCreate` answers.
    OrderCreatePayload {
        /// The new order.
        order: Order
    }
}

payload! {
    /// What `orderStatusUpdate` answers.
    OrderStatusUpdatePayload {
        /// The order as it is now.
        order: Order
    }
}

payload! {
    /// What `orderCancel` answers.
    OrderCancelPayload {
        /// The cancelled order.
        order: Order
    }
}

/// Changes of orders.
#[derive(Default)]
pub struct OrderMutation;

#[Object]
impl OrderMutation {
    /// Places an order: takes the stock of all lines, or of none, and keeps today's prices. Requires CUSTOMER for
    /// oneself, or MERCHANT or ADMIN on behalf of a customer.
    #[graphql(guard = "Access::User")]
    async fn order_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who orders what, and where it goes.")] input: OrderCreateInput,
    ) -> async_graphql::Result<OrderCreatePayload> {
        let request = ctx.request();
        OrderCreatePayload::of(orders::create(&request.services, &request.caller, input.into()).await)
    }

    /// Moves an order to its next state. Going to CANCELLED gives stock and money back. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    async fn order_status_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the order to move.")] id: Id,
        #[graphql(desc = "The state that it goes to.")] input: OrderStatusUpdateInput,
    ) -> async_graphql::Result<OrderStatusUpdatePayload> {
        let request = ctx.request();
        let updated = orders::set_status(&request.services, &request.caller, id.0, input.status.into()).await;
        OrderStatusUpdatePayload::of(updated)
    }

    /// Calls an order off, gives its stock back, and what was paid. Customers may cancel their own while it is PENDING or PAID; MERCHANT
    /// and ADMIN any, also when it is FULFILLED.
    #[graphql(guard = "Access::User")]
    async fn order_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the order to call off.")] id: Id,
    ) -> async_graphql::Result<OrderCancelPayload> {
        let request = ctx.request();
        OrderCancelPayload::of(
            orders::set_status(&request.services, &request.caller, id.0, domain::OrderStatus::Cancelled).await,
        )
    }
}
