//! Logging in.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Routes;
use super::envelope::{Failure, Success, UserError, accepted};
use super::extract::Body;
use super::openapi::{BodyFailures, Failures};
use super::run::{Call, operations};
use crate::domain::auth::ACCESS_TOKEN_SECONDS;

operations! {
    LOGIN = "login";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(login))
}

/// What a user may do in a shop: a CUSTOMER buys, a MERCHANT runs the catalog, the stock and the orders, and an ADMIN
/// also the users and settings.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Merchant,
    /// Owns the shop.
    Admin,
}

/// Who logs in, and where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"subdomain": "demo", "email": "ada@example.com", "password": "correct horse battery"})))]
pub struct LoginRequest {
    /// The shop's subdomain. May be left out when the header `X-Tenant` or `X-API-Key` names the shop.
    subdomain: Option<String>,
    /// The account's address, in any case of letters.
    email: String,
    /// The account's password.
    #[schema(format = Password)]
    password: String,
}

/// A user who has just logged in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoggedIn {
    /// What to send from now on, as `Authorization: Bearer …`: a JSON Web Token, signed with RS256. Its public key is at
    /// `/.well-known/jwks.json`.
    token: String,
    /// How to send it: always `Bearer`.
    #[schema(examples("Bearer"))]
    token_type: &'static str,
    /// How long the token is valid, in seconds.
    #[schema(examples(3600))]
    expires_in: i64,
    user: User,
}

/// Somebody who can log in to a shop.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The user's id.
    id: Uuid,
    /// The address to log in with, in lower case.
    #[schema(format = Email)]
    email: String,
    role: Role,
    /// The id of the user's shop.
    tenant_id: Uuid,
}

/// Log in
///
/// Answers with a token that is valid for an hour. The answer to a wrong login does not tell whether it was the shop, the
/// address or the password.
#[utoipa::path(
    post, path = "/auth/login", operation_id = "login", tag = "Authentication",
    request_body = LoginRequest,
    security((), ("apiKey" = []), ("tenant" = [])),
    responses((status = 200, description = "Logged in.", body = Success<LoggedIn>), Failures, BodyFailures),
)]
async fn login(call: Call, Body(body): Body<LoginRequest>) -> Result<Success<LoggedIn>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        access_token: Option<String>,
        viewer: Option<User>,
        user_errors: Vec<UserError>,
    }

    let LoginRequest { subdomain, email, password } = body;
    let input = json!({"input": {"tenant": subdomain, "email": email, "password": password}});
    let payload: Payload = call.run(&LOGIN, input).await?;
    let (token, user) = accepted(payload.access_token.zip(payload.viewer), payload.user_errors)?;
    Ok(Success::of(LoggedIn { token, token_type: "Bearer", expires_in: ACCESS_TOKEN_SECONDS, user }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::actor::Role as Domain;

    #[test]
    fn roles_are_those_of_the_domain() {
        for role in Domain::ALL {
            let read: Role = serde_json::from_value(json!(role.as_str())).unwrap();
            assert_eq!(json!(read), json!(role.as_str()));
        }
    }
}
