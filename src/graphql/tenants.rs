//! Shops.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use crate::db::tenants::{TenantRow, current};
use crate::domain::tenants::NewTenant;
use crate::graphql::context::RequestExt;
use crate::graphql::errors::{UserError, payload, split};
use crate::graphql::guards::{Access, may_see};
use crate::graphql::scalars::{CurrencyCode, Id};
use crate::services::tenants;

/// A shop.
pub struct Tenant(pub TenantRow);

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self(row)
    }
}

/// A shop.
#[Object]
impl Tenant {
    /// The shop's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// What the shop is called.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The shop's name in host names and in the header `X-Tenant`.
    async fn subdomain(&self) -> &str {
        &self.0.subdomain
    }

    /// The currency of all its prices. It never changes.
    async fn currency(&self) -> CurrencyCode {
        CurrencyCode::new(self.0.currency.clone())
    }

    /// The publishable key that names the shop in anonymous requests (`X-API-Key`). Requires ADMIN; null with an error
    /// for others.
    async fn api_key(&self, ctx: &Context<'_>) -> Option<&str> {
        may_see(ctx, Access::Admin.check(&ctx.request().caller)).then_some(self.0.api_key.as_str())
    }

    /// When it was registered.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its settings last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }
}

/// Reads of shops.
#[derive(Default)]
pub struct TenantQuery;

#[Object]
impl TenantQuery {
    /// The shop that the token or header names.
    #[graphql(guard = "Access::Shop")]
    async fn tenant(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Tenant>> {
        let tx = ctx.request().session.tx().await?;
        Ok(current(&tx).await?.map(Tenant))
    }
}

/// A new shop and its first admin.
#[derive(InputObject)]
pub struct TenantRegisterInput {
    /// What the shop is called: 1 to 200 characters.
    name: String,
    /// The shop's name in host names: 3 to 63 lower-case letters, digits and inner hyphens. Some words are reserved.
    subdomain: String,
    /// The first admin's e-mail address.
    admin_email: String,
    /// The first admin's password: 12 to 128 characters, and none of the commonest.
    admin_password: String,
    /// The currency of all its prices, of at most two decimals.
    #[graphql(default_with = "CurrencyCode::new(String::from(\"USD\"))")]
    currency: CurrencyCode,
}

/// The first admin of a new shop.
#[derive(SimpleObject)]
pub struct RegisteredAdmin {
    /// The admin's id.
    id: Id,
    /// The address to log in with.
    email: String,
}

/// What `tenantRegister` answers.
#[derive(SimpleObject)]
pub struct TenantRegisterPayload {
    /// The new shop.
    tenant: Option<Tenant>,
    /// The publishable key that names the shop in anonymous requests (`X-API-Key`).
    api_key: Option<String>,
    /// Its first admin, who can log in now.
    admin: Option<RegisteredAdmin>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

/// What to change of a shop.
#[derive(InputObject)]
pub struct TenantUpdateInput {
    /// What the shop is called: 1 to 200 characters.
    name: String,
}

payload! {
    /// What `tenantUpdate` answers.
    TenantUpdatePayload {
        /// The shop as it is now.
        tenant: Tenant
    }
}

/// How to replace the API key.
#[derive(InputObject)]
pub struct TenantApiKeyRotateInput {
    /// For how many hours the present key stays good beside the new one: 0 to 720. With 0 it ends within seconds.
    #[graphql(default = 24)]
    overlap_hours: i32,
}

/// What `tenantApiKeyRotate` answers.
#[derive(SimpleObject)]
pub struct TenantApiKeyRotatePayload {
    /// The shop with its new key.
    tenant: Option<Tenant>,
    /// The publishable key that names the shop from now on (`X-API-Key`).
    api_key: Option<String>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

/// Changes of shops.
#[derive(Default)]
pub struct TenantMutation;

#[Object]
impl TenantMutation {
    /// Opens a new shop with its first admin.
    #[graphql(guard = "Access::Public")]
    async fn tenant_register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The shop, and what its first admin logs in with.")] input: TenantRegisterInput,
    ) -> async_graphql::Result<TenantRegisterPayload> {
        let request = ctx.request();
        let new = NewTenant {
            name: input.name,
            subdomain: input.subdomain,
            admin_email: input.admin_email,
            admin_password: input.admin_password,
            currency: input.currency.into_string(),
        };
        let (registered, user_errors) = split(tenants::register(&request.services, &request.caller, new).await)?;
        Ok(match registered {
            Some(registered) => TenantRegisterPayload {
                api_key: Some(registered.tenant.api_key.clone()),
                tenant: Some(Tenant(registered.tenant)),
                admin: Some(RegisteredAdmin { id: Id(registered.admin_id), email: registered.admin_email }),
                user_errors,
            },
            None => TenantRegisterPayload { tenant: None, api_key: None, admin: None, user_errors },
        })
    }

    /// Gives the shop another API key, and lets the present one end after an overlap. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn tenant_api_key_rotate(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "How long the present key stays good: for 24 hours if nothing is said.",
            default_with = "TenantApiKeyRotateInput { overlap_hours: 24 }"
        )]
        input: TenantApiKeyRotateInput,
    ) -> async_graphql::Result<TenantApiKeyRotatePayload> {
        let request = ctx.request();
        let rotated = tenants::rotate_api_key(&request.services, &request.caller, input.overlap_hours).await;
        let (tenant, user_errors) = split(rotated)?;
        let api_key = tenant.as_ref().map(|tenant| tenant.api_key.clone());
        Ok(TenantApiKeyRotatePayload { tenant: tenant.map(Tenant), api_key, user_errors })
    }

    /// Changes the shop's settings. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn tenant_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The settings from now on.")] input: TenantUpdateInput,
    ) -> async_graphql::Result<TenantUpdatePayload> {
        let request = ctx.request();
        TenantUpdatePayload::of(tenants::rename(&request.services, &request.caller, input.name).await)
    }
}
