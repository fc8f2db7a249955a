//! Second factors.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;

use crate::error::{Error, Result};
use crate::graphql::context::{RequestContext, RequestExt};
use crate::graphql::errors::{UserError, payload, split, user_errors};
use crate::graphql::guards::Access;
use crate::graphql::users::User;
use crate::services::mfa::{self, Enrolled, Setup};
use crate::services::sessions::LoggedIn;

/// What `mfaSetup` answers.
#[derive(SimpleObject)]
pub struct MfaSetupPayload {
    /// The secret in base 32, for those who type it into their authenticator app.
    secret: Option<String>,
    /// The same and more as an `otpauth:` URI.
    otpauth_url: Option<String>,
    /// That URI as a QR code to scan: a PNG in a `data:` URI, which browsers show as an image.
    qr_code: Option<String>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

/// A code, and what it is given for.
#[derive(InputObject)]
pub struct MfaVerifyInput {
    /// The six digits that the app shows. To log in, a recovery code will do as well.
    code: String,
    /// The token of a login's `mfaChallenge`. Left out, the code ends setting up.
    mfa_token: Option<String>,
}

/// What `mfaVerify` answers.
#[derive(SimpleObject, Default)]
pub struct MfaVerifyPayload {
    /// Whether logging in takes a code from now on.
    mfa_enabled: Option<bool>,
    /// What helps once each when the app is gone. Shown this one time, when setting up ends: keep them.
    recovery_codes: Option<Vec<String>>,
    /// What to send from now on, as `Authorization: Bearer ...`.
    access_token: Option<String>,
    /// What `tokenRefresh` takes, once, for the next access token. Null when setting up ends: the one that is there stays good.
    refresh_token: Option<String>,
    /// When the access token ends.
    expires_at: Option<DateTime<Utc>>,
    /// Who gave the code.
    viewer: Option<User>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

impl MfaVerifyPayload {
    async fn of(request: &RequestContext, input: &MfaVerifyInput) -> Result<Self> {
        let (services, caller) = (&request.services, &request.caller);
        if let Some(token) = &input.mfa_token {
            let LoggedIn { access, refresh, user } = mfa::log_in(services, caller, token, &input.code).await?;
            return Ok(Self {
                mfa_enabled: Some(user.mfa_enabled),
                access_token: Some(access.token),
                refresh_token: refresh,
                expires_at: Some(access.expires_at),
                viewer: Some(User(user)),
                ..Self::default()
            });
        }
        Access::Enrolling.check(caller)?;
        let Enrolled { user, recovery_codes, access } = mfa::enroll(services, caller, &input.code).await?;
        Ok(Self {
            mfa_enabled: Some(user.mfa_enabled),
            recovery_codes: Some(recovery_codes.iter().map(|code| code.expose_secret().to_owned()).collect()),
            access_token: Some(access.token),
            expires_at: Some(access.expires_at),
            viewer: Some(User(user)),
            ..Self::default()
        })
    }
}

/// A code that shows that one still has the second factor.
#[derive(InputObject)]
pub struct MfaDisableInput {
    /// The six digits that the app shows, or a recovery code.
    code: String,
}

payload! {
    /// What `mfaDisable` answers.
    MfaDisablePayload {
        /// The user, who logs in without a code from now on.
        user: User
    }
}

/// Changes of second factors.
#[derive(Default)]
pub struct MfaMutation;

#[Object]
impl MfaMutation {
    /// Begins to set up a second factor: put the secret into an authenticator app and give its code to `mfaVerify`. Requires
    /// ADMIN.
    #[graphql(guard = "Access::Enrolling")]
    async fn mfa_setup(&self, ctx: &Context<'_>) -> async_graphql::Result<MfaSetupPayload> {
        let request = ctx.request();
        let (setup, user_errors) = split(mfa::set_up(&request.services, &request.caller).await)?;
        let Some(Setup { secret, otpauth_url, qr_code }) = setup else {
            return Ok(MfaSetupPayload { secret: None, otpauth_url: None, qr_code: None, user_errors });
        };
        Ok(MfaSetupPayload {
            secret: Some(secret.expose_secret().to_owned()),
            otpauth_url: Some(otpauth_url.expose_secret().to_owned()),
            qr_code: Some(qr_code.expose_secret().to_owned()),
            user_errors,
        })
    }

    /// Gives a code: to end setting up, which requires ADMIN, or to go on with a login that asked for it. Each code counts once.
    #[graphql(guard = "Access::Public")]
    async fn mfa_verify(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The code, and the token of the login that asked for it.")] input: MfaVerifyInput,
    ) -> async_graphql::Result<MfaVerifyPayload> {
        match MfaVerifyPayload::of(ctx.request(), &input).await {
            Err(refused @ Error::Unauthenticated(_)) if input.mfa_token.is_some() => {
                Ok(MfaVerifyPayload { user_errors: user_errors(&refused), ..MfaVerifyPayload::default() })
            }
            verified => {
                let (payload, user_errors) = split(verified)?;
                Ok(MfaVerifyPayload { user_errors, ..payload.unwrap_or_default() })
            }
        }
    }

    /// Takes one's own second factor away, which ends all of one's sessions, this one too: log in again. Where admins must have
    /// one, nothing but setting up another is possible then. Requires CUSTOMER, MERCHANT or ADMIN.
    #[graphql(guard = "Access::User")]
    async fn mfa_disable(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A code of the factor that is taken away.")] input: MfaDisableInput,
    ) -> async_graphql::Result<MfaDisablePayload> {
        let request = ctx.request();
        MfaDisablePayload::of(mfa::disable(&request.services, &request.caller, &input.code).await)
    }
}
