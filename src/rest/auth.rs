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
    TOKEN_REFRESH = "tokenRefresh";
    LOGOUT = "logout";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(refresh)).routes(routes!(logout))
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
#[derive(Deserialize, ToSchema)]
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
#[derive(Serialize, ToSchema)]
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
    /// What `POST /auth/refresh` takes, once, for the next token. Null while sessions cannot be kept; log in again then.
    refresh_token: Option<String>,
    user: User,
}

/// A login that asks for a second factor.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MfaRequired {
    /// Always true.
    mfa_required: bool,
    /// What `POST /auth/mfa/verify` takes beside the code, for five minutes. It opens nothing else.
    mfa_token: String,
}

/// What logging in answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum LoginAnswer {
    /// The user is logged in.
    LoggedIn(LoggedIn),
    /// The user must give a second factor.
    MfaRequired(MfaRequired),
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
/// Answers with a token that is valid for an hour, or asks for a second factor if the user has set one up. The answer to a
/// wrong login does not tell whether it was the shop, the address or the password.
#[utoipa::path(
    post, path = "/auth/login", operation_id = "login", tag = "Authentication",
    request_body = LoginRequest,
    security((), ("apiKey" = []), ("tenant" = [])),
    responses((status = 200, description = "Logged in.", body = Success<LoginAnswer>), Failures, BodyFailures),
)]
async fn login(call: Call, Body(body): Body<LoginRequest>) -> Result<Success<LoginAnswer>, Failure> {
    let LoginRequest { subdomain, email, password } = body;
    let input = json!({"input": {"tenant": subdomain, "email": email, "password": password}});
    let payload: Payload = call.run(&LOGIN, input).await?;
    let answer = match payload.mfa_challenge {
        Some(Challenge { token }) => LoginAnswer::MfaRequired(MfaRequired { mfa_required: true, mfa_token: token }),
        None => LoginAnswer::LoggedIn(payload.logged_in()?),
    };
    Ok(Success::of(answer))
}

/// What the operations of logging in answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    access_token: Option<String>,
    refresh_token: Option<String>,
    viewer: Option<User>,
    mfa_challenge: Option<Challenge>,
    user_errors: Vec<UserError>,
}

#[derive(Deserialize)]
struct Challenge {
    token: String,
}

impl Payload {
    pub(super) fn logged_in(self) -> Result<LoggedIn, Failure> {
        let (token, user) = accepted(self.access_token.zip(self.viewer), self.user_errors)?;
        let refresh_token = self.refresh_token;
        Ok(LoggedIn { token, token_type: "Bearer", expires_in: ACCESS_TOKEN_SECONDS, refresh_token, user })
    }
}

/// A session that goes on.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RefreshRequest {
    /// The refresh token that came last.
    #[schema(format = Password)]
    refresh_token: String,
}

/// Stay logged in
///
/// Exchanges a refresh token for a new token and the next refresh token. Each is good once: when one comes a second time,
/// somebody else has it too, and the session ends.
#[utoipa::path(
    post, path = "/auth/refresh", operation_id = "tokenRefresh", tag = "Authentication",
    request_body = RefreshRequest,
    security(()),
    responses((status = 200, description = "Still logged in.", body = Success<LoggedIn>), Failures, BodyFailures),
)]
async fn refresh(call: Call, Body(body): Body<RefreshRequest>) -> Result<Success<LoggedIn>, Failure> {
    let input = json!({"input": {"refreshToken": body.refresh_token}});
    Ok(Success::of(call.run::<Payload>(&TOKEN_REFRESH, input).await?.logged_in()?))
}

/// Which sessions end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogoutRequest {
    /// Whether the user's other sessions end too.
    #[serde(default)]
    everywhere: bool,
}

/// A session that has ended.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoggedOut {
    /// Whether the session has ended, with all its tokens.
    logged_out: bool,
}

/// Log out
///
/// Ends the session that the token belongs to, or all of the user's.
#[utoipa::path(
    post, path = "/auth/logout", operation_id = "logout", tag = "Authentication",
    request_body = LogoutRequest,
    security(("bearer" = [])),
    responses((status = 200, description = "Logged out.", body = Success<LoggedOut>), Failures, BodyFailures),
)]
async fn logout(call: Call, Body(body): Body<LogoutRequest>) -> Result<Success<LoggedOut>, Failure> {
    let input = json!({"input": {"everywhere": body.everywhere}});
    Ok(Success::of(call.run(&LOGOUT, input).await?))
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
