//! Service accounts: machines that act for a shop, within their scopes, with a key instead of a password.

use std::time::Duration;

use moka::future::Cache;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::db::Db;
use crate::db::service_accounts::{self, ServiceAccountInsert, ServiceAccountRow};
use crate::domain::actor::Caller;
use crate::domain::opaque_token::OpaqueToken;
use crate::domain::service_accounts::{MAX_DAYS, Scope, Scopes};
use crate::domain::validation;
use crate::error::{Error, FieldError, Result};
use crate::services::Services;
use crate::services::users::still_admin;

/// How long a replica goes by what it saw: a key that is ended is good for no longer.
const REMEMBERED: Duration = Duration::from_secs(2);

/// How exactly the last use is known.
const NOTED_EVERY: Duration = Duration::from_mins(1);

/// Knows whose keys are good. Clones share what they remember.
#[derive(Clone)]
pub struct ServiceAccounts {
    db: Db,
    known: Cache<[u8; 32], KnownAccount>,
    noted: Cache<Uuid, ()>,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug)]
pub struct KnownAccount {
    /// The shop.
    pub tenant_id: Uuid,
    /// The account.
    pub id: Uuid,
    /// What it may do.
    pub scopes: Scopes,
}

impl ServiceAccounts {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(db: Db) -> Self {
        let known = Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build();
        let noted = Cache::builder().max_capacity(10_000).time_to_live(NOTED_EVERY).build();
        Self { db, known, noted }
    }

    /// Whose key this is, if it was good a moment ago.
    pub async fn remembered(&self, key: &str) -> Option<KnownAccount> {
        self.known.get::<[u8; 32]>(&Sha256::digest(key).into()).await
    }

    /// Whose key this is, as the database knows. Every failure looks the same from outside.
    pub async fn verify(&self, key: &str) -> Result<KnownAccount> {
        const REFUSED: Error = Error::Unauthenticated("the service account's key is not valid, or no longer");
        let digest = Sha256::digest(key).into();
        let key = OpaqueToken::decode(OpaqueToken::SERVICE, key).ok_or(REFUSED)?;
        let tx = self.db.tenant_read(key.tenant).await?;
        let account = service_accounts::authenticate(&tx, key.id, key.hash()).await?;
        tx.commit().await?;
        let account = account.ok_or(REFUSED)?;
        let known = KnownAccount { tenant_id: key.tenant, id: account.id, scopes: account.scopes() };
        self.known.insert(digest, known).await;
        if self.noted.get(&account.id).await.is_none() {
            self.noted.insert(account.id, ()).await;
            // It says when the key was used last, and is no reason to refuse it.
            if let Err(error) = service_accounts::note_use(&self.db, key.tenant, account.id).await {
                error.log();
            }
        }
        Ok(known)
    }

    fn forget_all(&self) {
        self.known.invalidate_all();
    }
}

/// What a new service account needs.
pub struct NewServiceAccount {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How long its key is good, in days.
    pub expires_in_days: i32,
}

/// Makes a service account. Its key is shown this one time.
pub async fn create(
    services: &Services,
    caller: &Caller,
    new: NewServiceAccount,
) -> Result<(ServiceAccountRow, SecretString)> {
    let NewServiceAccount { name, scopes, expires_in_days: days } = new;
    let name = validation::check_text::<1, 200>("name", name)?;
    let mut wrong = Vec::new();
    if scopes.is_empty() {
        wrong.push(FieldError::new("scopes", "must name one scope at least"));
    }
    if !(1..=MAX_DAYS).contains(&days) {
        wrong.push(FieldError::new("expiresInDays", format!("must be a whole number from 1 to {MAX_DAYS}")));
    }
    if !wrong.is_empty() {
        return Err(Error::Validation(wrong));
    }
    let tenant = caller.tenant()?.id;
    let key = OpaqueToken { tenant, id: services.sources.id(), secret: services.sources.secret()? };
    let scopes: Scopes = scopes.into_iter().collect();
    let insert = ServiceAccountInsert {
        id: key.id,
        tenant_id: tenant,
        name,
        key_hash: key.hash(),
        scopes: scopes.iter().map(Scope::as_str).collect(),
        expires_at: services.sources.now() + chrono::Duration::days(days.into()),
    };
    let tx = services.db.tenant(caller).await?;
    still_admin(&tx, caller).await?;
    let account = service_accounts::insert(&tx, insert).await?;
    tx.commit().await?;
    Ok((account, key.encode(OpaqueToken::SERVICE).into()))
}

/// Ends a service account's key.
pub async fn revoke(services: &Services, caller: &Caller, id: Uuid) -> Result<ServiceAccountRow> {
    let tx = services.db.tenant(caller).await?;
    still_admin(&tx, caller).await?;
    let account = service_accounts::revoke(&tx, id).await?.ok_or(Error::not_found_at("ServiceAccount", "id"))?;
    let known = services.service_accounts.clone();
    tx.after_commit(async move { known.forget_all() });
    tx.commit().await?;
    Ok(account)
}
