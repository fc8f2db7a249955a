//! Logging in, and being somebody.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use crate::db::tenants::TenantKey;
use crate::db::users::UserId;
use crate::domain::actor::Role;
use crate::domain::users::{NewUser, PasswordChange};
use crate::error::{Error, Result};
use crate::graphql::context::RequestExt;
use crate::graphql::errors::{UserError, payload, user_errors};
use crate::graphql::guards::Access;
use crate::graphql::users::User;
use crate::services::auth::{self, Login, LoginAttempt};
use crate::services::sessions::{self, LoggedIn};
use crate::services::tokens::SignedToken;
use crate::services::users;

/// Reads of the caller.
#[derive(Default)]
pub struct AuthQuery;

#[Object]
impl AuthQuery {
    /// Who is logged in. Null when nobody is.
    #[graphql(guard = "Access::Public")]
    async fn viewer(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        let request = ctx.request();
        match request.caller.user_id() {
            Some(id) => Ok(request.loader.load_one(UserId(id)).await?.map(User)),
            None => Ok(None),
        }
    }
}

/// Who logs in, and where.
#[derive(InputObject)]
pub struct LoginInput {
    /// The shop's subdomain. May be left out when a header names the shop.
    tenant: Option<String>,
    /// The account's address, in any case of letters.
    email: String,
    /// The account's password.
    password: String,
}

/// What `login` answers.
#[derive(SimpleObject)]
pub struct LoginPayload {
    /// What to send from now on, as `Authorization: Bearer ...`.
    access_token: Option<String>,
    /// What `tokenRefresh` takes, once, for the next access token. Null while sessions cannot be kept; log in again then.
    refresh_token: Option<String>,
    /// When the access token ends.
    expires_at: Option<DateTime<Utc>>,
    /// Who is logged in now.
    viewer: Option<User>,
    /// What to answer with `mfaVerify` when the password was right and a second factor is asked for. There is no token then.
    mfa_challenge: Option<MfaChallenge>,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

/// The question for a second factor.
#[derive(SimpleObject)]
pub struct MfaChallenge {
    /// What `mfaVerify` takes beside the code. It opens nothing else.
    token: String,
    /// When the token ends.
    expires_at: DateTime<Utc>,
}

impl LoginPayload {
    pub(super) fn of(result: Result<Login>) -> async_graphql::Result<Self> {
        let nothing = Self {
            access_token: None,
            refresh_token: None,
            expires_at: None,
            viewer: None,
            mfa_challenge: None,
            user_errors: Vec::new(),
        };
        match result {
            Ok(Login::Done(LoggedIn { access, refresh, user })) => Ok(Self {
                access_token: Some(access.token),
                refresh_token: refresh,
                expires_at: Some(access.expires_at),
                viewer: Some(User(user)),
                ..nothing
            }),
            Ok(Login::Challenge(SignedToken { token, expires_at })) => {
                Ok(Self { mfa_challenge: Some(MfaChallenge { token, expires_at }), ..nothing })
            }
            Err(refused @ Error::Unauthenticated(_)) => Ok(Self { user_errors: user_errors(&refused), ..nothing }),
            Err(error) => Err(error.into()),
        }
    }
}

/// A session that goes on.
#[derive(InputObject)]
pub struct TokenRefreshInput {
    /// The refresh token that came last. It is good once: when it comes a second time, somebody else has it too, and the
    /// session ends.
    refresh_token: String,
}

/// Which sessions end.
#[derive(InputObject, Default)]
pub struct LogoutInput {
    /// Whether the user's other sessions end too.
    #[graphql(default)]
    everywhere: bool,
}

/// What `logout` answers.
#[derive(SimpleObject)]
pub struct LogoutPayload {
    /// Whether the session has ended, with all its tokens.
    logged_out: bool,
    /// What was wrong with the request; empty when it was done.
    user_errors: Vec<UserError>,
}

/// A new customer account.
#[derive(InputObject)]
pub struct CustomerRegisterInput {
    /// The address to log in with, unique in the shop.
    email: String,
    /// The password: 12 to 128 characters, and none of the commonest.
    password: String,
}

payload! {
    /// What `customerRegister` answers.
    CustomerRegisterPayload {
        /// The new customer, who can log in now.
        user: User
    }
}

/// A new password for one's own account.
#[derive(InputObject)]
pub struct PasswordChangeInput {
    /// The present password.
    current_password: String,
    /// The password from now on: 12 to 128 characters, and none of the commonest.
    new_password: String,
}

payload! {
    /// What `passwordChange` answers.
    PasswordChangePayload {
        /// The user, who logs in with the new password from now on.
        user: User
    }
}

/// Logging in and registering.
#[derive(Default)]
pub struct AuthMutation;

#[Object]
impl AuthMutation {
    /// Logs in with an e-mail address and a password. The answer does not tell which of them was wrong. Who has set up a second
    /// factor is answered with `mfaChallenge`, and goes on with `mfaVerify`.
    #[graphql(guard = "Access::Public")]
    async fn login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account's address and password, and the shop unless a header names it.")]
        input: LoginInput,
    ) -> async_graphql::Result<LoginPayload> {
        let request = ctx.request();
        let by_header = request.caller.tenant.as_ref().map(|tenant| TenantKey::Id(tenant.id));
        let tenant = input.tenant.map(|name| TenantKey::Subdomain(name.to_ascii_lowercase())).or(by_header);
        let attempt = LoginAttempt { tenant, email: input.email, password: input.password };
        LoginPayload::of(auth::login(&request.services, &request.caller, attempt).await)
    }

    /// Exchanges a refresh token for the next one and a new access token.
    #[graphql(guard = "Access::Public")]
    async fn token_refresh(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The refresh token that came last.")] input: TokenRefreshInput,
    ) -> async_graphql::Result<LoginPayload> {
        let refreshed = sessions::refresh(&ctx.request().services, &input.refresh_token).await;
        LoginPayload::of(refreshed.map(Login::Done))
    }

    /// Ends the session that the token belongs to, or all of the user's. Requires CUSTOMER, MERCHANT or ADMIN.
    #[graphql(guard = "Access::Session")]
    async fn logout(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whether other sessions end too; only this one does if nothing is said.", default)]
        input: LogoutInput,
    ) -> async_graphql::Result<LogoutPayload> {
        let request = ctx.request();
        sessions::end(&request.services, &request.caller, input.everywhere).await?;
        Ok(LogoutPayload { logged_out: true, user_errors: Vec::new() })
    }

    /// Opens a customer account in the shop that the token or header names.
    #[graphql(guard = "Access::Shop")]
    async fn customer_register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the new customer logs in with.")] input: CustomerRegisterInput,
    ) -> async_graphql::Result<CustomerRegisterPayload> {
        let request = ctx.request();
        let new = NewUser { email: input.email, password: input.password, role: Role::Customer };
        CustomerRegisterPayload::of(users::create(&request.services, &request.caller, new).await)
    }

    /// Changes one's own password, which ends all of one's sessions: log in again. Requires CUSTOMER, MERCHANT or ADMIN.
    #[graphql(guard = "Access::User")]
    async fn password_change(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The present password, and the one from now on.")] input: PasswordChangeInput,
    ) -> async_graphql::Result<PasswordChangePayload> {
        let request = ctx.request();
        let PasswordChangeInput { current_password, new_password } = input;
        let change = PasswordChange { current_password, new_password };
        PasswordChangePayload::of(users::change_password(&request.services, &request.caller, change).await)
    }
}
