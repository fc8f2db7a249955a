//! Shops: finding and registering them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::future::Cache;

use crate::db::tenants::{self, TenantKey, TenantRow};
use crate::db::users::{self, UserInsert};
use crate::db::{Db, SystemReason};
use crate::domain::actor::{Caller, Role};
use crate::domain::tenants::{NewTenant, Tenant};
use crate::domain::users::normalize_email;
use crate::domain::validation;
use crate::error::{Error, Result};
use crate::services::Services;

/// How long a replica may answer from memory which shop a name or key stands for.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Finds shops by what requests call them, and remembers them for a few seconds.
#[derive(Clone)]
pub struct TenantDirectory {
    db: Db,
    known: Cache<TenantKey, Tenant>,
}

impl TenantDirectory {
    /// A directory that reads from this database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        let known = Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build();
        Self { db, known }
    }

    /// The shop of that name, if it was asked for a moment ago. Only shops that exist are remembered.
    pub async fn remembered(&self, key: &TenantKey) -> Option<Tenant> {
        self.known.get(key).await
    }

    /// The shop of that name, if there is one.
    pub async fn find(&self, key: TenantKey) -> Result<Option<Tenant>> {
        if let Some(tenant) = self.remembered(&key).await {
            return Ok(Some(tenant));
        }
        let tx = self.db.system(SystemReason::FindTenant, None).await?;
        let found = tenants::find(&tx, &key).await?.map(|row| row.tenant());
        tx.commit().await?;
        if let Some(tenant) = &found {
            self.known.insert(key, tenant.clone()).await;
        }
        Ok(found)
    }
}

/// A shop that was just registered, with its first admin.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The shop.
    pub tenant: TenantRow,
    /// Its first admin's id.
    pub admin_id: uuid::Uuid,
    /// Its first admin's address.
    pub admin_email: String,
}

/// Opens a new shop: the tenant, its API key and its first admin, in one transaction.
pub async fn register(services: &Services, caller: &Caller, new: NewTenant) -> Result<Registered> {
    validation::check(&new)?;
    services.limits.charge_registration(caller).await?;
    services.limits.charge_password(caller).await?;
    let password_hash = services.passwords.hash(new.admin_password).await?;
    let tenant = Tenant { id: services.sources.id(), subdomain: new.subdomain, currency: new.currency };
    let admin = UserInsert {
        id: services.sources.id(),
        tenant_id: tenant.id,
        email: normalize_email(&new.admin_email),
        password_hash,
        role: Role::Admin.as_str(),
    };
    let (admin_id, admin_email) = (admin.id, admin.email.clone());
    let api_key = new_api_key(services)?;
    let tx = services.db.system(SystemReason::RegisterTenant, Some(caller)).await?;
    let tenant = tenants::insert(&tx, &tenant, &new.name, &api_key).await?;
    users::insert_first(&tx, admin).await?;
    tx.commit().await?;
    Ok(Registered { tenant, admin_id, admin_email })
}

/// Renames the caller's shop.
pub async fn rename(services: &Services, caller: &Caller, name: String) -> Result<TenantRow> {
    let name = validation::check_text::<1, 200>("name", name)?;
    let tx = services.db.tenant(caller).await?;
    let renamed = tenants::rename(&tx, &name).await?.ok_or(Error::not_found("Tenant"))?;
    tx.commit().await?;
    Ok(renamed)
}

/// The most hours that a replaced API key may stay good.
pub const MAX_OVERLAP: i32 = 30 * 24;

/// Gives the caller's shop another API key. The one that it has stays good for so many hours, so that nothing breaks that
/// still has it; the one before that ends at once.
pub async fn rotate_api_key(services: &Services, caller: &Caller, overlap_hours: i32) -> Result<TenantRow> {
    if !(0..=MAX_OVERLAP).contains(&overlap_hours) {
        let message = format!("must be a whole number from 0 to {MAX_OVERLAP}");
        return Err(Error::field("overlapHours", message));
    }
    let new = new_api_key(services)?;
    let until = services.sources.now() + chrono::Duration::hours(overlap_hours.into());
    let tx = services.db.tenant(caller).await?;
    let tenant = tenants::rotate_api_key(&tx, new, until).await?.ok_or(Error::not_found("Tenant"))?;
    tx.commit().await?;
    Ok(tenant)
}

/// A publishable key: it names the shop and grants what an anonymous shopper may do, so it may be in a web page.
fn new_api_key(services: &Services) -> Result<String> {
    Ok(format!("pk_{}", URL_SAFE_NO_PAD.encode(services.sources.secret()?)))
}
