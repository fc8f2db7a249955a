//! Sessions: what a login begins, refresh tokens carry on, and logging out ends.

use std::time::Duration;

use uuid::Uuid;

use crate::clients::redis::RedisGone;
use crate::clients::redis::sessions::{Rotated, Session};
use crate::db::users::{self, Credentials, UserRow};
use crate::domain::actor::Caller;
use crate::domain::auth::{ACCESS_TOKEN_SECONDS, Grant};
use crate::domain::opaque_token::OpaqueToken;
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::tokens::SignedToken;
use crate::telemetry::metrics::{Outcome, Proof};

/// What somebody who is let in gets.
#[derive(Clone)]
pub struct LoggedIn {
    /// What the user sends from now on.
    pub access: SignedToken,
    /// What the next access token can be had for. None while Redis is gone: then one has to log in again.
    pub refresh: Option<String>,
    /// The user.
    pub user: UserRow,
}

/// What is wrong with a refresh token; nobody is told more.
const REFUSED: Error = Error::Unauthenticated("the refresh token is not valid, or no longer; log in again");

/// How long the end of a session must be remembered: until the last of its access tokens has ended, and a bit.
const TOKENS_END: Duration = Duration::from_secs(ACCESS_TOKEN_SECONDS.unsigned_abs() + 60);

/// Begins a session.
pub async fn begin(services: &Services, account: Credentials, mfa: bool) -> Result<LoggedIn> {
    let Credentials { user, access_version: version, .. } = account;
    let grant = grant(&user, services.sources.id(), version, mfa);
    let access = services.tokens.issue(&grant)?;
    let token = OpaqueToken { tenant: user.tenant_id, id: grant.session_id, secret: services.sources.secret()? };
    let session = Session { user_id: user.id, version, mfa };
    let ttl = services.accounts.session_ttl;
    let opened = services.redis.open_session(token.tenant, token.id, session, &token.hash(), ttl).await;
    Ok(LoggedIn { access, refresh: opened.ok().map(|()| token.encode(OpaqueToken::REFRESH)), user })
}

/// Exchanges a refresh token for the next one and an access token.
///
/// The token is used up last: when the database is gone, it is still good for the next attempt.
pub async fn refresh(services: &Services, token: &str) -> Result<LoggedIn> {
    let refreshed = refreshed(services, token).await;
    let outcome = match &refreshed {
        Ok(_) => Outcome::Accepted,
        Err(Error::Unauthenticated(_)) => Outcome::Refused,
        Err(_) => return refreshed,
    };
    let user = refreshed.as_ref().ok().map(|logged_in| &logged_in.user);
    services.attempted(Proof::RefreshToken, outcome, user.map(|user| user.tenant_id), user.map(|user| user.id));
    refreshed
}

async fn refreshed(services: &Services, token: &str) -> Result<LoggedIn> {
    let gone = |gone: RedisGone| Error::Unavailable(gone.into());
    let old = OpaqueToken::decode(OpaqueToken::REFRESH, token).ok_or(REFUSED)?;
    let OpaqueToken { tenant, id, .. } = old;
    let session = services.redis.session(tenant, id).await.map_err(gone)?.ok_or(REFUSED)?;
    let tx = services.db.tenant_read(tenant).await?;
    let account = users::credentials_of(&tx, session.user_id).await?;
    tx.commit().await?;
    let is_current = |account: &Credentials| account.access_version == session.version && account.user.is_active;
    let Some(Credentials { user, access_version: version, .. }) = account.filter(is_current) else {
        end_one(services, tenant, id).await.map_err(gone)?;
        return Err(REFUSED);
    };
    // A session from before the second factor was set up does not do without it for longer than its token. It is not ended:
    // it may be the very one in which that is being done.
    if user.mfa_enabled && !session.mfa {
        return Err(REFUSED);
    }
    let new = OpaqueToken { secret: services.sources.secret()?, ..old };
    match services.redis.rotate_session(tenant, id, &old.hash(), &new.hash(), TOKENS_END).await.map_err(gone)? {
        Rotated::Next => {}
        Rotated::Reused => {
            services.access.session_ended(id);
            tracing::warn!(tenant_id = %tenant, "a refresh token came a second time; its session has been ended");
            return Err(REFUSED);
        }
        Rotated::Unknown => return Err(REFUSED),
    }
    let access = services.tokens.issue(&grant(&user, id, version, session.mfa))?;
    Ok(LoggedIn { access, refresh: Some(new.encode(OpaqueToken::REFRESH)), user })
}

/// Ends the caller's session, or all that the caller has. Without Redis, which knows sessions apart, it is all.
pub async fn end(services: &Services, caller: &Caller, everywhere: bool) -> Result<()> {
    let (tenant, (user, _)) = (caller.tenant()?.id, caller.user()?);
    let session = caller.grant.ok_or_else(|| Error::internal(anyhow::anyhow!("a user without a session")))?.session_id;
    if !everywhere && end_one(services, tenant, session).await.is_ok() {
        return Ok(());
    }
    let tx = services.db.tenant(caller).await?;
    users::end_access(&tx, user).await?;
    services.access_changed(&tx, user);
    tx.commit().await
}

async fn end_one(services: &Services, tenant: Uuid, id: Uuid) -> Result<(), RedisGone> {
    services.redis.end_session(tenant, id, TOKENS_END).await?;
    services.access.session_ended(id);
    Ok(())
}

/// What a user's tokens say.
#[must_use]
pub const fn grant(user: &UserRow, session_id: Uuid, version: i32, mfa: bool) -> Grant {
    Grant { user_id: user.id, tenant_id: user.tenant_id, role: user.role, session_id, version, mfa }
}
