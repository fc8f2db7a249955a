//! Registering a shop.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Routes;
use super::auth::Role;
use super::envelope::{Failure, Success, UserError, accepted};
use super::extract::Body;
use super::openapi::{BodyFailures, Failures, Taken};
use super::run::{Call, operations};

operations! {
    REGISTER = "tenantRegister";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(register))
}

/// A new shop and its first admin.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "name": "Ada's Engines", "subdomain": "engines", "adminEmail": "ada@example.com",
    "adminPassword": "correct horse battery", "currency": "EUR",
})))]
pub struct TenantRegistration {
    /// What the shop is called.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The shop's name in host names and in the header `X-Tenant`: lower-case letters, digits and inner hyphens. Some
    /// words are reserved.
    #[schema(min_length = 3, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    subdomain: String,
    /// The first admin's e-mail address.
    #[schema(format = Email, max_length = 254)]
    admin_email: String,
    /// The first admin's password.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    admin_password: String,
    /// The ISO 4217 code of the currency of all the shop's prices, of at most two decimals; USD if nothing is said. It
    /// never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
}

/// A shop that was just registered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    tenant: Tenant,
    admin: Admin,
}

/// A shop.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// The shop's id.
    id: Uuid,
    /// What the shop is called.
    name: String,
    /// The shop's name in host names and in the header `X-Tenant`.
    subdomain: String,
    /// The publishable key that names the shop in anonymous requests, in the header `X-API-Key`.
    #[serde(default)]
    #[schema(required = true)]
    api_key: String,
    /// The ISO 4217 code of the currency of all its prices.
    currency: String,
    /// When it was registered.
    created_at: DateTime<Utc>,
}

/// The first admin of a shop.
#[derive(Debug, Serialize, ToSchema)]
pub struct Admin {
    /// The admin's id.
    id: Uuid,
    /// The address to log in with.
    #[schema(format = Email)]
    email: String,
    role: Role,
}

/// Register a shop
///
/// Opens a new shop with its first admin, who can log in at once. Send the shop's `apiKey` as `X-API-Key` to read its
/// catalog without logging in.
#[utoipa::path(
    post, path = "/tenants", operation_id = "registerTenant", tag = "Tenants",
    request_body = TenantRegistration,
    security(()),
    responses(
        (status = 201, description = "The shop is open.", body = Success<Registered>),
        Failures, BodyFailures, Taken,
    ),
)]
async fn register(
    call: Call,
    Body(body): Body<TenantRegistration>,
) -> Result<(StatusCode, Success<Registered>), Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        tenant: Option<Tenant>,
        api_key: Option<String>,
        admin: Option<Account>,
        user_errors: Vec<UserError>,
    }

    #[derive(Deserialize)]
    struct Account {
        id: Uuid,
        email: String,
    }

    let Payload { tenant, api_key, admin, user_errors } = call.run(&REGISTER, json!({ "input": body })).await?;
    let registered = tenant.zip(api_key).zip(admin).map(|((tenant, api_key), admin)| Registered {
        tenant: Tenant { api_key, ..tenant },
        admin: Admin { id: admin.id, email: admin.email, role: Role::Admin },
    });
    Ok((StatusCode::CREATED, Success::of(accepted(registered, user_errors)?)))
}
