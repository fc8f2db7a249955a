//! Payments and refunds.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::db::orders::OrderId;
use crate::db::payments::{PaymentFilter as ListFilter, PaymentRow};
use crate::db::refunds::{RefundRow, RefundsOf};
use crate::domain::page::{ListId, PageArgs};
use crate::domain::payments as domain;
use crate::domain::service_accounts::Scope;
use crate::graphql::context::RequestExt;
use crate::graphql::errors::{UserError, payload, split};
use crate::graphql::guards::{Access, may_see};
use crate::graphql::orders::Order;
use crate::graphql::pagination::Connection;
use crate::graphql::scalars::{Decimal, Id, Money};
use crate::services::{payments, refunds};

/// Where a payment stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::PaymentStatus")]
pub enum PaymentStatus {
    /// Asked for, not made yet.
    Pending,
    /// Made: it pays its order.
    Paid,
    /// The last attempt failed; the customer may try again.
    Failed,
    /// All of it was given back.
    Refunded,
}

/// Why captured money does not pay the order. It is given back.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::PaymentProblem")]
pub enum PaymentProblem {
    /// The order had been cancelled, or had expired, before the money came.
    OrderCancelled,
    /// Another amount came than the order costs.
    AmountMismatch,
    /// The money came in another currency than the shop's.
    CurrencyMismatch,
}

/// Where a refund stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::RefundStatus")]
pub enum RefundStatus {
    /// To be made, or under way.
    Pending,
    /// Made.
    Succeeded,
    /// Refused by the payment provider or by the customer's bank.
    Failed,
}

/// Why money is given back.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::RefundReason")]
pub enum RefundReason {
    /// The shop's staff asked for it.
    Requested,
    /// The order was cancelled, or had been before the money came.
    OrderCancelled,
    /// Another amount came than the order costs.
    AmountMismatch,
    /// The money came in another currency than the shop's.
    CurrencyMismatch,
    /// The order was paid a second time.
    Duplicate,
}

/// The payment of an order.
pub struct Payment(pub PaymentRow);

impl From<PaymentRow> for Payment {
    fn from(row: PaymentRow) -> Self {
        Self(row)
    }
}

/// The payment of an order.
#[Object]
impl Payment {
    /// The payment's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// The id of the order that it pays.
    async fn order_id(&self) -> Id {
        Id(self.0.order_id)
    }

    /// The order that it pays. Null with an error for service accounts that may not read orders.
    async fn order(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Order>> {
        let request = ctx.request();
        if !may_see(ctx, request.caller.check_scope(Some(Scope::OrdersRead))) {
            return Ok(None);
        }
        Ok(request.loader.load_one(OrderId(self.0.order_id)).await?.map(Order))
    }

    /// Stripe's id of the `PaymentIntent`. Null until Stripe has answered.
    async fn stripe_payment_intent(&self) -> Option<&str> {
        self.0.stripe_payment_intent.as_deref()
    }

    /// What the order costs.
    async fn amount(&self, ctx: &Context<'_>) -> async_graphql::Result<Money> {
        Ok(Money::new(ctx, self.0.amount)?)
    }

    /// Where it stands.
    async fn status(&self) -> PaymentStatus {
        self.0.status.into()
    }

    /// What was captured.
    async fn captured_amount(&self, ctx: &Context<'_>) -> async_graphql::Result<Money> {
        Ok(Money::new(ctx, self.0.captured_amount)?)
    }

    /// What was given back of it, whoever began that.
    async fn refunded_amount(&self, ctx: &Context<'_>) -> async_graphql::Result<Money> {
        Ok(Money::new(ctx, self.0.refunded_amount)?)
    }

    /// Why what was captured does not pay the order and is given back. Null when all is well.
    async fn problem(&self) -> Option<PaymentProblem> {
        self.0.problem.map(Into::into)
    }

    /// What is given back, oldest first. Refunds that were begun at Stripe's side show in `refundedAmount` only.
    async fn refunds(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Refund>> {
        let refunds = ctx.request().loader.load_one(RefundsOf(self.0.id)).await?;
        Ok(refunds.unwrap_or_default().into_iter().map(Refund).collect())
    }

    /// When it was first asked for.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }
}

/// Money that is given back.
pub struct Refund(pub RefundRow);

impl From<RefundRow> for Refund {
    fn from(row: RefundRow) -> Self {
        Self(row)
    }
}

/// Money that is given back.
#[Object]
impl Refund {
    /// The refund's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// The id of the payment that is given back.
    async fn payment_id(&self) -> Id {
        Id(self.0.payment_id)
    }

    /// How much. Null stands for all that is left, until Stripe tells how much that is.
    async fn amount(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Money>> {
        Ok(self.0.amount.map(|amount| Money::new(ctx, amount)).transpose()?)
    }

    /// Where it stands.
    async fn status(&self) -> RefundStatus {
        self.0.status.into()
    }

    /// Why.
    async fn reason(&self) -> RefundReason {
        self.0.reason.into()
    }

    /// Why, in the words of whoever asked for it. For MERCHANT and ADMIN; null for others.
    async fn note(&self, ctx: &Context<'_>) -> Option<&str> {
        self.0.note.as_deref().filter(|_| ctx.request().caller.is_staff())
    }

    /// Stripe's id of the refund. For MERCHANT and ADMIN; null for others, and until Stripe has answered.
    async fn stripe_refund(&self, ctx: &Context<'_>) -> Option<&str> {
        self.0.stripe_refund.as_deref().filter(|_| ctx.request().caller.is_staff())
    }

    /// Stripe's code for why it failed, like `charge_already_refunded`. For MERCHANT and ADMIN; null for others, and
    /// unless it failed.
    async fn failure(&self, ctx: &Context<'_>) -> Option<&str> {
        self.0.failure.as_deref().filter(|_| ctx.request().caller.is_staff())
    }

    /// When it was asked for.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }
}

/// Which payments to list. Conditions add up.
#[derive(InputObject, Clone, Copy, Debug, Default)]
pub struct PaymentFilter {
    /// Only those in this state.
    status: Option<PaymentStatus>,
    /// Only those whose money does not pay their order, or only the others.
    has_problem: Option<bool>,
}

/// Reads of payments.
#[derive(Default)]
pub struct PaymentQuery;

#[Object]
impl PaymentQuery {
    /// The shop's payments, newest first. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn payments(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
        #[graphql(desc = "Which payments.")] filter: Option<PaymentFilter>,
    ) -> async_graphql::Result<Connection<Payment>> {
        let PaymentFilter { status, has_problem } = filter.unwrap_or_default();
        let list = ListFilter { status: status.map(Into::into), has_problem };
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let page = list.page(&*ctx.request().session.tx().await?, &window).await?;
        Ok(Connection::new(page, move |tx| list.count(tx).boxed()))
    }
}

/// What is to be paid.
#[derive(InputObject)]
pub struct PaymentIntentCreateInput {
    /// The order.
    order_id: Id,
}

/// What `paymentIntentCreate` answers.
#[derive(SimpleObject)]
pub struct PaymentIntentCreatePayload {
    /// The order's payment.
    payment: Option<Payment>,
    /// What Stripe's own library in the browser needs to take the money. Not to be logged or put into a URL.
    client_secret: Option<String>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

/// What is to be given back.
#[derive(InputObject)]
pub struct RefundCreateInput {
    /// The payment.
    payment_id: Id,
    /// How much of it; all that is left, if nothing is said.
    amount: Option<Decimal>,
    /// Why, for the books: at most 500 characters.
    note: Option<String>,
}

payload! {
    /// What `refundCreate` answers.
    RefundCreatePayload {
        /// The refund, which is made as soon as this is answered: `status` tells how far it has come.
        refund: Refund
    }
}

/// Changes of payments.
#[derive(Default)]
pub struct PaymentMutation;

#[Object]
impl PaymentMutation {
    /// Asks Stripe for the money of an order that waits for it. Asked again, it answers with the same `PaymentIntent`.
    /// Requires CUSTOMER for one's own order, or MERCHANT or ADMIN.
    #[graphql(guard = "Access::User")]
    async fn payment_intent_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which order is to be paid.")] input: PaymentIntentCreateInput,
    ) -> async_graphql::Result<PaymentIntentCreatePayload> {
        let request = ctx.request();
        let created = payments::create_intent(&request.services, &request.caller, input.order_id.0).await;
        let (intended, user_errors) = split(created)?;
        let (payment, client_secret) = intended.map(|i| (Payment(i.payment), i.client_secret)).unzip();
        Ok(PaymentIntentCreatePayload { payment, client_secret, user_errors })
    }

    /// Gives a payment back, or a part of it: never more than was captured. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    async fn refund_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which payment is given back, and how much of it.")] input: RefundCreateInput,
    ) -> async_graphql::Result<RefundCreatePayload> {
        let request = ctx.request();
        let RefundCreateInput { payment_id, amount, note } = input;
        let amount = amount.map(|amount| amount.amount("amount")).transpose();
        let refunded = match amount {
            Ok(amount) => refunds::create(&request.services, &request.caller, payment_id.0, amount, note).await,
            Err(wrong) => Err(wrong),
        };
        RefundCreatePayload::of(refunded)
    }
}
