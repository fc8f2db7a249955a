//! Logging in, and what a token or header says of a caller.

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::db::tenants::TenantKey;
use crate::db::users;
use crate::domain::actor::{Actor, Caller, RequestId, Role};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::limits::Meter;
use crate::domain::opaque_token::OpaqueToken;
use crate::domain::tenants::{Tenant, is_reserved};
use crate::domain::users::normalize_email;
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::service_accounts::KnownAccount;
use crate::services::sessions::{self, LoggedIn};
use crate::services::throttle::Attempt;
use crate::services::tokens::SignedToken;
use crate::telemetry::metrics::{Outcome, Proof};

/// What comes of a password that was right.
#[derive(Clone)]
pub enum Login {
    /// A session.
    Done(LoggedIn),
    /// The question for a second factor: a token that opens nothing but the way on.
    Challenge(SignedToken),
}

/// What somebody who wants to be let in says.
pub struct LoginAttempt {
    /// The shop.
    pub tenant: Option<TenantKey>,
    /// The account's address, in any case of letters.
    pub email: String,
    /// The password.
    pub password: String,
}

/// Checks a password. The answer, and the time it takes, are the same for a wrong password, an unknown address,
/// an unknown shop, a deactivated account, and one for which too many passwords were tried.
pub async fn login(services: &Services, caller: &Caller, attempt: LoginAttempt) -> Result<Login> {
    const REFUSED: Error = Error::Unauthenticated(
        "shop, e-mail address or password is wrong, or too many were tried: wait a few minutes then",
    );
    let LoginAttempt { tenant: key, email, password } = attempt;
    services.limits.charge_password(caller).await?;
    let email = normalize_email(&email);
    let tenant = match &key {
        Some(key) => services.directory.find(key.clone()).await?,
        None => None,
    };
    let shop = tenant.as_ref().map_or_else(|| format!("{key:?}"), |tenant| tenant.id.to_string());
    let attempt = Attempt::begin(services, &[&shop, &email], caller.address).await;
    let account = match &tenant {
        Some(tenant) => {
            let tx = services.db.tenant_read(tenant.id).await?;
            let account = users::credentials(&tx, &email).await?;
            tx.commit().await?;
            account
        }
        None => None,
    };
    let hash = account.as_ref().filter(|_| attempt.is_allowed).map(|account| account.password_hash.clone());
    let matches = services.passwords.verify(password, hash).await?;
    let user = account.as_ref().map(|account| account.user.id);
    let account = account.filter(|account| matches && account.user.is_active);
    let outcome = attempt.outcome(account.is_some());
    services.attempted(Proof::Password, outcome, tenant.map(|tenant| tenant.id), user);
    let account = account.ok_or(REFUSED)?;
    attempt.succeeded(services).await;
    if !account.user.mfa_enabled {
        return sessions::begin(services, account, false).await.map(Login::Done);
    }
    let grant = sessions::grant(&account.user, services.sources.id(), account.access_version, false);
    services.tokens.challenge(&grant).map(Login::Challenge)
}

/// What a request says of its caller.
#[derive(Clone, Default)]
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

/// Where a request comes from, and what it costs.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The request's correlation id.
    pub request_id: RequestId,
    /// The client's address.
    pub address: IpAddr,
    /// Where the request's cost is noted.
    pub meter: Meter,
}

/// What [`identify`] found, for a transport to act on: each shows errors in a shape of its own.
#[derive(Clone, Debug)]
pub struct Identified(pub Result<Caller, Arc<Error>>);

/// Who asks. A token counts more than headers, and headers that contradict it, or each other, are refused. Who says something
/// wrong of itself is charged for finding out.
pub async fn identify(services: &Services, origin: Origin, credentials: Result<Credentials<'_>>) -> Result<Caller> {
    let caller = Caller { address: origin.address, meter: origin.meter, ..Caller::nobody(None, origin.request_id) };
    let (address, meter) = (caller.address, caller.meter.clone());
    let identified = match credentials {
        Ok(credentials) => identified(services, caller, credentials).await,
        Err(error) => Err(error),
    };
    match &identified {
        Ok(caller) => services.limits.check(caller)?,
        Err(Error::Unauthenticated(_) | Error::NotFound { .. }) => {
            services.limits.charge_stranger(address, &meter).await?;
        }
        Err(_) => {}
    }
    identified
}

async fn identified(services: &Services, caller: Caller, credentials: Credentials<'_>) -> Result<Caller> {
    let by_header = named_tenant(services, &caller, &credentials).await?;
    let caller = Caller { idempotency: credentials.idempotency, ..caller };
    let Some(token) = credentials.bearer else {
        return Ok(Caller { tenant: by_header, ..caller });
    };
    if token.starts_with(OpaqueToken::SERVICE) {
        let KnownAccount { tenant_id, id, scopes } = service_account(services, &caller, token).await?;
        let tenant = of_token(services, tenant_id, by_header).await?;
        let actor = Actor::User { id, role: Role::Merchant };
        return Ok(Caller { tenant: Some(tenant), actor, scopes: Some(scopes), ..caller });
    }
    let grant = services.tokens.verify(token)?;
    services.access.check(&grant).await?;
    let tenant = of_token(services, grant.tenant_id, by_header).await?;
    let owes_second_factor = services.accounts.mfa_required_for_admins && grant.role == Role::Admin && !grant.mfa;
    let actor = Actor::User { id: grant.user_id, role: grant.role };
    Ok(Caller { tenant: Some(tenant), actor, grant: Some(grant), owes_second_factor, ..caller })
}

/// The shop that a token names, if the headers do not name another.
async fn of_token(services: &Services, id: Uuid, by_header: Option<Tenant>) -> Result<Tenant> {
    let tenant = services.directory.find(TenantKey::Id(id)).await?;
    let tenant = tenant.ok_or(Error::Unauthenticated("the token's shop no longer exists"))?;
    if by_header.is_some_and(|named| named.id != tenant.id) {
        return Err(Error::Forbidden("the tenant header contradicts the token"));
    }
    Ok(tenant)
}

/// Whose key this is. The database is asked only for addresses that have not given too many wrong ones.
async fn service_account(services: &Services, caller: &Caller, key: &str) -> Result<KnownAccount> {
    if let Some(known) = services.service_accounts.remembered(key).await {
        return Ok(known);
    }
    services.limits.check_stranger(caller.address, &caller.meter)?;
    let verified = services.service_accounts.verify(key).await;
    match &verified {
        Ok(known) => services.attempted(Proof::ServiceKey, Outcome::Accepted, Some(known.tenant_id), Some(known.id)),
        Err(Error::Unauthenticated(_)) => services.attempted(Proof::ServiceKey, Outcome::Refused, None, None),
        Err(_) => {}
    }
    verified
}

/// The shop that a header calls so. The database is asked only for addresses that have not given too many wrong names.
async fn shop(services: &Services, caller: &Caller, key: TenantKey) -> Result<Option<Tenant>> {
    let remembered = services.directory.remembered(&key).await;
    if remembered.is_some() {
        return Ok(remembered);
    }
    services.limits.check_stranger(caller.address, &caller.meter)?;
    services.directory.find(key).await
}

async fn named_tenant(services: &Services, caller: &Caller, credentials: &Credentials<'_>) -> Result<Option<Tenant>> {
    let by_key = match credentials.api_key {
        Some(key) => {
            let tenant = shop(services, caller, TenantKey::ApiKey(key.to_owned())).await?;
            Some(tenant.ok_or(Error::Unauthenticated("the API key is not valid"))?)
        }
        None => None,
    };
    let find = |name: &str| shop(services, caller, TenantKey::Subdomain(name.to_ascii_lowercase()));
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
