//! Service accounts.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use secrecy::ExposeSecret;

use crate::db::service_accounts::{LastUse, ServiceAccountFilter, ServiceAccountRow};
use crate::domain::page::{ListId, PageArgs};
use crate::domain::service_accounts::{DEFAULT_DAYS, Scope};
use crate::graphql::context::RequestExt;
use crate::graphql::errors::{UserError, payload, split};
use crate::graphql::guards::Access;
use crate::graphql::pagination::Connection;
use crate::graphql::scalars::Id;
use crate::services::service_accounts::{self, NewServiceAccount};

/// A part of what a merchant may do, for service accounts.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Scope")]
pub enum ServiceScope {
    /// Reading products, inactive ones too.
    ProductsRead,
    /// Creating and changing products.
    ProductsWrite,
    /// Reading the stock, and the products that it is of.
    InventoryRead,
    /// Changing the stock.
    InventoryWrite,
    /// Reading orders, what was bought with them, and their payments.
    OrdersRead,
    /// Creating, moving and cancelling orders.
    OrdersWrite,
    /// Asking for payments, and giving money back. To read their orders takes `ORDERS_READ`.
    PaymentsWrite,
}

/// A machine that acts for the shop.
pub struct ServiceAccount(pub ServiceAccountRow);

impl From<ServiceAccountRow> for ServiceAccount {
    fn from(row: ServiceAccountRow) -> Self {
        Self(row)
    }
}

/// A machine that acts for the shop, within its scopes, with a key instead of a password.
#[Object]
impl ServiceAccount {
    /// The account's id; the audit log names it as the user.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// What it is called.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it may do.
    async fn scopes(&self) -> Vec<ServiceScope> {
        self.0.scopes().iter().map(Into::into).collect()
    }

    /// When its key ends.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.expires_at
    }

    /// When its key was ended before its time.
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.revoked_at
    }

    /// When it was used last, to the minute. Null when it never was.
    async fn last_used_at(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<DateTime<Utc>>> {
        Ok(ctx.request().loader.load_one(LastUse(self.0.id)).await?)
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }
}

/// Reads of service accounts.
#[derive(Default)]
pub struct ServiceAccountQuery;

#[Object]
impl ServiceAccountQuery {
    /// The shop's service accounts, newest first. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn service_accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
    ) -> async_graphql::Result<Connection<ServiceAccount>> {
        let list = ServiceAccountFilter;
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let page = list.page(&*ctx.request().session.tx().await?, &window).await?;
        Ok(Connection::new(page, move |tx| list.count(tx).boxed()))
    }
}

/// A new service account.
#[derive(InputObject)]
pub struct ServiceAccountCreateInput {
    /// What it is called: 1 to 200 characters.
    name: String,
    /// What it may do: one scope at least.
    scopes: Vec<ServiceScope>,
    /// For how many days its key is good: 1 to 365.
    #[graphql(default_with = "DEFAULT_DAYS")]
    expires_in_days: i32,
}

/// What `serviceAccountCreate` answers.
#[derive(SimpleObject)]
pub struct ServiceAccountCreatePayload {
    /// The new account.
    service_account: Option<ServiceAccount>,
    /// What it sends as `Authorization: Bearer ...`. Shown this one time.
    key: Option<String>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

payload! {
    /// What `serviceAccountRevoke` answers.
    ServiceAccountRevokePayload {
        /// The account, whose key has ended.
        service_account: ServiceAccount
    }
}

/// Changes of service accounts.
#[derive(Default)]
pub struct ServiceAccountMutation;

#[Object]
impl ServiceAccountMutation {
    /// Makes a service account with a key of its own. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn service_account_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the account is called, what it may do, and for how long.")]
        input: ServiceAccountCreateInput,
    ) -> async_graphql::Result<ServiceAccountCreatePayload> {
        let request = ctx.request();
        let ServiceAccountCreateInput { name, scopes, expires_in_days } = input;
        let scopes = scopes.into_iter().map(Into::into).collect();
        let new = NewServiceAccount { name, scopes, expires_in_days };
        let (created, user_errors) = split(service_accounts::create(&request.services, &request.caller, new).await)?;
        let (account, key) = created.unzip();
        Ok(ServiceAccountCreatePayload {
            service_account: account.map(ServiceAccount),
            key: key.map(|key| key.expose_secret().to_owned()),
            user_errors,
        })
    }

    /// Ends a service account's key within seconds. To replace a key, make another account first. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn service_account_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the account whose key ends.")] id: Id,
    ) -> async_graphql::Result<ServiceAccountRevokePayload> {
        let request = ctx.request();
        ServiceAccountRevokePayload::of(service_accounts::revoke(&request.services, &request.caller, id.0).await)
    }
}
