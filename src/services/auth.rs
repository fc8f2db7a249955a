//! Logging in, and what a token or header says of a caller.

use std::sync::Arc;

use crate::db::tenants::TenantKey;
use crate::db::users;
use crate::domain::actor::{Actor, Caller, RequestId};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::tenants::{Tenant, is_reserved};
use crate::domain::users::normalize_email;
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::sessions::{self, LoggedIn};

/// Checks a password. The answer, and the time it takes, are the same for a wrong password, an unknown address,
/// an unknown shop and a deactivated account.
pub async fn login(services: &Services, tenant: Option<TenantKey>, email: &str, password: String) -> Result<LoggedIn> {
    const REFUSED: Error = Error::Unauthenticated("shop, e-mail address or password is wrong");
    let tenant = match tenant {
        Some(key) => services.directory.find(key).await?,
        None => None,
    };
    let account = match &tenant {
        Some(tenant) => {
            let tx = services.db.tenant_read(tenant.id).await?;
            let account = users::credentials(&tx, &normalize_email(email)).await?;
            tx.commit().await?;
            account
        }
        None => None,
    };
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let matches = services.passwords.verify(password, hash).await?;
    match account {
        Some(account) if matches && account.user.is_active => sessions::begin(services, account, false).await,
        _ => Err(REFUSED),
    }
}

/// What a request says of its caller.
#[derive(Clone, Debug, Default)]
pub struct Credentials<'a> {
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// `X-API-Key`.
    pub api_key: Option<&'a str>,
    /// `X-Tenant`.
    pub subdomain: Option<&'a str>,
    /// The host's subdomain; counts where `X-Tenant` is not sent.
    pub host: Option<&'a str>,
    /// `Idempotency-Key`.
    pub idempotency: Option<IdempotencyKey>,
}

/// What [`identify`] found, for a transport to act on: each shows errors in a shape of its own.
#[derive(Clone, Debug)]
pub struct Identified(pub Result<Caller, Arc<Error>>);

/// Who asks. A token counts more than headers, and headers that contradict it, or each other, are refused.
pub async fn identify(services: &Services, request_id: RequestId, credentials: Credentials<'_>) -> Result<Caller> {
    let by_header = named_tenant(services, &credentials).await?;
    let idempotency = credentials.idempotency;
    let Some(token) = credentials.bearer else {
        return Ok(Caller { idempotency, ..Caller::nobody(by_header, request_id) });
    };
    let grant = services.tokens.verify(token)?;
    services.access.check(&grant).await?;
    let tenant = services.directory.find(TenantKey::Id(grant.tenant_id)).await?;
    let tenant = tenant.ok_or(Error::Unauthenticated("the token's shop no longer exists"))?;
    if by_header.is_some_and(|named| named.id != tenant.id) {
        return Err(Error::Forbidden("the tenant header contradicts the token"));
    }
    let actor = Actor::User { id: grant.user_id, role: grant.role };
    Ok(Caller { tenant: Some(tenant), actor, grant: Some(grant), request_id, idempotency })
}

async fn named_tenant(services: &Services, credentials: &Credentials<'_>) -> Result<Option<Tenant>> {
    let by_key = match credentials.api_key {
        Some(key) => {
            let tenant = services.directory.find(TenantKey::ApiKey(key.to_owned())).await?;
            Some(tenant.ok_or(Error::Unauthenticated("the API key is not valid"))?)
        }
        None => None,
    };
    let find = |name: &str| services.directory.find(TenantKey::Subdomain(name.to_ascii_lowercase()));
    let by_name = match (credentials.subdomain, credentials.host) {
        (Some(name), _) => Some(find(name).await?.ok_or(Error::not_found("Tenant"))?),
        // `www` and `api` are hosts of the platform, where shops are registered: no shop's, and no mistake.
        (None, Some(host)) if is_reserved(host) => None,
        (None, Some(host)) => Some(find(host).await?.ok_or(Error::not_found("Tenant"))?),
        (None, None) => None,
    };
    match (by_key, by_name) {
        (Some(key), Some(name)) if key.id != name.id => {
            Err(Error::Forbidden("X-API-Key and X-Tenant name different shops"))
        }
        (by_key, by_name) => Ok(by_key.or(by_name)),
    }
}
