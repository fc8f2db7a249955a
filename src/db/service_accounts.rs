//! Service accounts of a shop.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::Db;
use super::keyset::Listing;
use super::schema::{service_account_uses, service_accounts};
use super::session::{ReadSession, TenantTx};
use super::sql::Sql;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::domain::service_accounts::{Scope, Scopes};
use crate::error::{Error, Result};

/// A service account, without anything secret.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = service_accounts, check_for_backend(Pg))]
pub struct ServiceAccountRow {
    /// The account's id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    scopes: Vec<String>,
    /// When its key ends.
    pub expires_at: DateTime<Utc>,
    /// When its key was ended.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl ServiceAccountRow {
    /// What it may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.scopes.iter().filter_map(|name| Scope::parse(name)).collect()
    }
}

/// A service account's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAccountId(pub Uuid);

impl Loader<ServiceAccountId> for ReadSession {
    type Value = ServiceAccountRow;
    type Error = std::sync::Arc<Error>;

    async fn load(
        &self,
        keys: &[ServiceAccountId],
    ) -> Result<HashMap<ServiceAccountId, ServiceAccountRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = service_accounts::table.filter(service_accounts::id.eq_any(ids));
        let rows: Vec<ServiceAccountRow> =
            self.tx().await?.tx().load(query.select(ServiceAccountRow::as_select())).await?;
        Ok(rows.into_iter().map(|row| (ServiceAccountId(row.id), row)).collect())
    }
}

/// When a service account was used last, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastUse(pub Uuid);

impl Loader<LastUse> for ReadSession {
    type Value = DateTime<Utc>;
    type Error = std::sync::Arc<Error>;

    async fn load(&self, keys: &[LastUse]) -> Result<HashMap<LastUse, DateTime<Utc>>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = service_account_uses::table.filter(service_account_uses::service_account_id.eq_any(ids));
        let columns = (service_account_uses::service_account_id, service_account_uses::last_used_at);
        let rows: Vec<(Uuid, DateTime<Utc>)> = self.tx().await?.tx().load(query.select(columns)).await?;
        Ok(rows.into_iter().map(|(id, at)| (LastUse(id), at)).collect())
    }
}

/// A new service account as it is stored.
#[derive(Clone, Insertable)]
#[diesel(table_name = service_accounts)]
pub struct ServiceAccountInsert {
    /// The account's id.
    pub id: Uuid,
    /// The shop.
    pub tenant_id: Uuid,
    /// What it is called.
    pub name: String,
    /// The hash of its key.
    pub key_hash: String,
    /// The names of what it may do.
    pub scopes: Vec<&'static str>,
    /// When its key ends.
    pub expires_at: DateTime<Utc>,
}

/// Writes a new service account.
pub async fn insert(tx: &TenantTx, account: ServiceAccountInsert) -> Result<ServiceAccountRow> {
    let insert = diesel::insert_into(service_accounts::table).values(account);
    tx.tx().get(insert.returning(ServiceAccountRow::as_returning())).await
}

/// The account of that id and key, if the key is still good.
pub async fn authenticate(tx: &TenantTx, id: Uuid, key_hash: String) -> Result<Option<ServiceAccountRow>> {
    let known = service_accounts::id.eq(id).and(service_accounts::key_hash.eq(key_hash));
    let good = service_accounts::revoked_at.is_null().and(service_accounts::expires_at.gt(now));
    tx.tx().find(service_accounts::table.filter(known.and(good)).select(ServiceAccountRow::as_select())).await
}

/// Ends an account's key; it stays ended.
pub async fn revoke(tx: &TenantTx, id: Uuid) -> Result<Option<ServiceAccountRow>> {
    let current = service_accounts::table.filter(service_accounts::id.eq(id));
    let good = current.filter(service_accounts::revoked_at.is_null());
    let update = diesel::update(good).set(service_accounts::revoked_at.eq(now));
    match tx.tx().find(update.returning(ServiceAccountRow::as_returning())).await? {
        Some(revoked) => Ok(Some(revoked)),
        None => tx.tx().find(current.select(ServiceAccountRow::as_select())).await,
    }
}

/// Notes that an account was used just now.
pub async fn note_use(db: &Db, tenant: Uuid, id: Uuid) -> Result<()> {
    let tx = db.tenant_of(tenant).await?;
    let used = (service_account_uses::tenant_id.eq(tenant), service_account_uses::service_account_id.eq(id));
    let insert = diesel::insert_into(service_account_uses::table).values(used);
    let key = (service_account_uses::tenant_id, service_account_uses::service_account_id);
    let upsert = insert.on_conflict(key).do_update().set(service_account_uses::last_used_at.eq(now));
    tx.tx().execute(upsert).await?;
    tx.commit().await
}

/// Which service accounts to list: all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceAccountFilter;

impl ServiceAccountFilter {
    fn listing() -> Listing {
        let key = ("service_accounts.created_at", KeyKind::Time);
        Listing::new(Sql::new("service_accounts"), key, "service_accounts.id", true)
    }

    /// One page of the accounts, newest first.
    pub async fn page(self, tx: &TenantTx, window: &Window) -> Result<Page<ServiceAccountRow>> {
        let key = |row: &ServiceAccountRow, _| (SortKey::Time(row.created_at), row.id);
        Self::listing().page(tx, ListId::of(&self), window, key).await
    }

    /// How many accounts there are.
    pub async fn count(self, tx: &TenantTx) -> Result<i64> {
        Self::listing().count(tx).await
    }
}
