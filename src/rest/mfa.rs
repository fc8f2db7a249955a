//! Second factors.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::auth::{LoggedIn, Payload};
use super::envelope::{Failure, Success, UserError, accepted};
use super::extract::Body;
use super::openapi::{BodyFailures, Failures, Taken};
use super::run::{Call, operations};
use crate::domain::auth::ACCESS_TOKEN_SECONDS;

operations! {
    MFA_SETUP = "mfaSetup";
    MFA_ENROLL = "mfaEnroll";
    MFA_VERIFY = "mfaVerify";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(setup)).routes(routes!(verify))
}

/// What an authenticator app needs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MfaSetup {
    /// The secret in base 32, to be typed.
    secret: String,
    /// The same and more as an `otpauth:` URI.
    otpauth_url: String,
    /// That URI as a QR code to scan: a PNG in a `data:` URI.
    qr_code: String,
}

/// Set up a second factor
///
/// Put the secret into an authenticator app and give its code to `POST /auth/mfa/verify`: then logging in takes a code.
#[utoipa::path(
    post, path = "/auth/mfa/setup", operation_id = "mfaSetup", tag = "Authentication",
    security(("bearer" = [])),
    responses((status = 200, description = "The secret.", body = Success<MfaSetup>), Failures, Taken),
)]
async fn setup(call: Call) -> Result<Success<MfaSetup>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        secret: Option<String>,
        otpauth_url: Option<String>,
        qr_code: Option<String>,
        user_errors: Vec<UserError>,
    }

    let Payload { secret, otpauth_url, qr_code, user_errors } = call.run(&MFA_SETUP, json!({})).await?;
    let ((secret, otpauth_url), qr_code) = accepted(secret.zip(otpauth_url).zip(qr_code), user_errors)?;
    Ok(Success::of(MfaSetup { secret, otpauth_url, qr_code }))
}

/// A code, and what it is given for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MfaVerifyRequest {
    /// The six digits that the app shows. To log in, a recovery code will do as well.
    code: String,
    /// The token that the login answered with. Left out, the code ends setting up, which takes a Bearer token.
    #[schema(format = Password)]
    mfa_token: Option<String>,
}

/// A second factor that has been set up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondFactor {
    /// Always true: logging in takes a code from now on.
    mfa_enabled: bool,
    /// What helps once each when the app is gone. Shown this one time: keep them.
    recovery_codes: Vec<String>,
    /// What to send from now on, as `Authorization: Bearer …`: a token for which the second factor was given.
    token: String,
    /// How long the token is valid, in seconds.
    #[schema(examples(3600))]
    expires_in: i64,
}

/// What giving a code answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum MfaVerifyAnswer {
    /// The login is done.
    LoggedIn(LoggedIn),
    /// Setting up is done.
    SecondFactor(SecondFactor),
}

/// Give a second factor
///
/// With `mfaToken`, the code ends a login; without, and with a Bearer token, it ends setting up. Each code counts once, and
/// guesses are few.
#[utoipa::path(
    post, path = "/auth/mfa/verify", operation_id = "mfaVerify", tag = "Authentication",
    request_body = MfaVerifyRequest,
    security((), ("bearer" = [])),
    responses((status = 200, description = "The code was right.", body = Success<MfaVerifyAnswer>), Failures, BodyFailures, Taken),
)]
async fn verify(call: Call, Body(body): Body<MfaVerifyRequest>) -> Result<Success<MfaVerifyAnswer>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Enrolled {
        recovery_codes: Option<Vec<String>>,
        access_token: Option<String>,
        user_errors: Vec<UserError>,
    }

    let input = json!({"input": {"code": body.code, "mfaToken": body.mfa_token}});
    if body.mfa_token.is_some() {
        let payload: Payload = call.run(&MFA_VERIFY, input).await?;
        return Ok(Success::of(MfaVerifyAnswer::LoggedIn(payload.logged_in()?)));
    }
    let Enrolled { recovery_codes, access_token, user_errors } = call.run(&MFA_ENROLL, input).await?;
    let (recovery_codes, token) = accepted(recovery_codes.zip(access_token), user_errors)?;
    let enabled = SecondFactor { mfa_enabled: true, recovery_codes, token, expires_in: ACCESS_TOKEN_SECONDS };
    Ok(Success::of(MfaVerifyAnswer::SecondFactor(enabled)))
}
