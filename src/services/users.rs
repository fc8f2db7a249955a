//! People of a shop.

use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::users::{self, UserInsert, UserRow};
use crate::domain::actor::{Caller, Role};
use crate::domain::users::{NewUser, PasswordChange, UserChanges, normalize_email};
use crate::domain::validation;
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::throttle::Attempt;
use crate::telemetry::metrics::Proof;

/// Adds a user of any role to the caller's shop. Who may do that is the guards' to say.
pub async fn create(services: &Services, caller: &Caller, new: NewUser) -> Result<UserRow> {
    validation::check(&new)?;
    services.limits.charge_password(caller).await?;
    let tenant_id = caller.tenant()?.id;
    let user = UserInsert {
        id: services.sources.id(),
        tenant_id,
        email: normalize_email(&new.email),
        password_hash: services.passwords.hash(new.password).await?,
        role: new.role.as_str(),
    };
    let tx = services.db.tenant(caller).await?;
    if new.role != Role::Customer {
        still_admin(&tx, caller).await?;
    }
    let user = users::insert(&tx, user).await?;
    tx.commit().await?;
    Ok(user)
}

/// Changes what a user may do. A shop always keeps an active admin.
pub async fn update(services: &Services, caller: &Caller, id: Uuid, changes: UserChanges) -> Result<UserRow> {
    if changes.role.is_none() && changes.is_active.is_none() {
        return Err(Error::field("role", "give at least one of role and isActive"));
    }
    let demotes = changes.role.is_some_and(|role| role != Role::Admin) || changes.is_active == Some(false);
    let tx = services.db.tenant(caller).await?;
    still_admin(&tx, caller).await?;
    if demotes && users::lock_admins(&tx).await? == [id] {
        tx.rollback().await?;
        let field = if changes.is_active == Some(false) { "isActive" } else { "role" };
        return Err(Error::field(field, "this is the shop's last active admin; make another one first"));
    }
    let user = users::update(&tx, id, changes).await?.ok_or(Error::not_found_at("User", "id"))?;
    services.access_changed(&tx, id);
    tx.commit().await?;
    Ok(user)
}

/// Changes the caller's own password, which ends all of the caller's sessions.
pub async fn change_password(services: &Services, caller: &Caller, change: PasswordChange) -> Result<UserRow> {
    validation::check(&change)?;
    let (id, _) = caller.user()?;
    services.limits.charge_password(caller).await?;
    let attempt = Attempt::begin(services, &[&id.to_string()], caller.address).await;
    let tx = services.db.tenant_read(caller.tenant()?.id).await?;
    let account = users::credentials_of(&tx, id).await?;
    tx.commit().await?;
    let checked = account.map(|account| account.password_hash);
    let checked = checked.filter(|_| attempt.is_allowed);
    let wrong = || Error::field("currentPassword", "is not your current password, or too many were tried");
    // Hashing takes a while: no connection waits for it.
    let matches = services.passwords.verify(change.current_password, checked.clone()).await?;
    services.attempted(Proof::Password, attempt.outcome(matches), Some(caller.tenant()?.id), Some(id));
    if !matches {
        return Err(wrong());
    }
    attempt.succeeded(services).await;
    let new = services.passwords.hash(change.new_password).await?;
    let tx = services.db.tenant(caller).await?;
    let user = users::replace_password(&tx, id, checked.ok_or_else(wrong)?, new).await?.ok_or_else(wrong)?;
    services.access_changed(&tx, id);
    tx.commit().await?;
    Ok(user)
}

/// A token outlives a demotion by some seconds; power over people must not. So it is asked for in the transaction that
/// uses it.
pub(super) async fn still_admin(tx: &TenantTx, caller: &Caller) -> Result<()> {
    let user = users::find(tx, caller.user()?.0).await?;
    match user {
        Some(user) if user.is_active && user.role == Role::Admin => Ok(()),
        _ => Err(Error::Unauthenticated("your rights have changed; log in again")),
    }
}
