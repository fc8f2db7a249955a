//! Sessions: what a login begins, refresh tokens carry on, and logging out ends.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clients::redis::RedisGone;
use crate::clients::redis::sessions::{Rotated, Session};
use crate::db::users::{self, Credentials, UserRow};
use crate::domain::actor::Caller;
use crate::domain::auth::{ACCESS_TOKEN_SECONDS, Grant};
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::tokens::SignedToken;

/// What somebody who is let in gets.
#[derive(Clone, Debug)]
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
    let token = RefreshToken { tenant: user.tenant_id, session: grant.session_id, secret: services.sources.secret()? };
    let session = Session { user_id: user.id, version, mfa };
    let ttl = services.accounts.session_ttl;
    let opened = services.redis.open_session(token.tenant, token.session, session, &token.hash(), ttl).await;
    Ok(LoggedIn { access, refresh: opened.ok().map(|()| token.encode()), user })
}

/// Exchanges a refresh token for the next one and an access token.
///
/// The token is used up last: when the database is gone, it is still good for the next attempt.
pub async fn refresh(services: &Services, token: &str) -> Result<LoggedIn> {
    let gone = |gone: RedisGone| Error::Unavailable(gone.into());
    let old = RefreshToken::decode(token).ok_or(REFUSED)?;
    let (tenant, id) = (old.tenant, old.session);
    let session = services.redis.session(tenant, id).await.map_err(gone)?.ok_or(REFUSED)?;
    let tx = services.db.tenant_read(tenant).await?;
    let account = users::credentials_of(&tx, session.user_id).await?;
    tx.commit().await?;
    // A session from before the second factor was set up does not do without it for longer than its token.
    let is_current = |account: &Credentials| {
        let has_second_factor = session.mfa || !account.user.mfa_enabled;
        account.access_version == session.version && account.user.is_active && has_second_factor
    };
    let account = account.filter(is_current);
    let Some(Credentials { user, access_version: version, .. }) = account else {
        end_one(services, tenant, id).await.map_err(gone)?;
        return Err(REFUSED);
    };
    let new = RefreshToken { secret: services.sources.secret()?, ..old };
    match services.redis.rotate_session(tenant, id, &old.hash(), &new.hash(), TOKENS_END).await.map_err(gone)? {
        Rotated::Next => {}
        Rotated::Reused => {
            services.access.session_ended(id);
            tracing::warn!(tenant_id = %tenant, "a refresh token came a second time; its session has been ended");
            return Err(REFUSED);
        }
        Rotated::Unknown => return Err(REFUSED),
    }
    // Who has taken the second factor away has none that was given.
    let mfa = session.mfa && user.mfa_enabled;
    let access = services.tokens.issue(&grant(&user, id, version, mfa))?;
    Ok(LoggedIn { access, refresh: Some(new.encode()), user })
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
    tx.commit().await?;
    services.access.changed(tenant, user).await;
    Ok(())
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

/// A refresh token: where its session is, and a secret of which only the hash is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RefreshToken {
    tenant: Uuid,
    session: Uuid,
    secret: [u8; 32],
}

const PREFIX: &str = "rt_";

impl RefreshToken {
    fn encode(self) -> String {
        let bytes = [self.tenant.as_bytes().as_slice(), self.session.as_bytes(), &self.secret].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (tenant, rest) = bytes.split_at_checked(16)?;
        let (session, secret) = rest.split_at_checked(16)?;
        Some(Self {
            tenant: Uuid::from_slice(tenant).ok()?,
            session: Uuid::from_slice(session).ok()?,
            secret: secret.try_into().ok()?,
        })
    }

    /// The secret has 256 random bits: a plain hash of it cannot be guessed.
    fn hash(self) -> String {
        hex::encode(Sha256::digest(self.secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_tokens_are_read_as_they_were_written() {
        let token = RefreshToken { tenant: Uuid::from_u128(1), session: Uuid::from_u128(2), secret: [3; 32] };
        let text = token.encode();
        assert_eq!(RefreshToken::decode(&text), Some(token));
        for broken in ["", "rt_", "rt_AAAA", &text[1..], &text[..text.len() - 2], &format!("{text}AA"), "rt_ä"] {
            assert_eq!(RefreshToken::decode(broken), None, "{broken}");
        }
    }
}
