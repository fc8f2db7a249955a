//! Shops.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::schema::tenants;
use super::session::{SystemTx, TenantTx};
use crate::domain::tenants::Tenant;
use crate::error::Result;

/// A shop with its settings.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = tenants, check_for_backend(Pg))]
pub struct TenantRow {
    /// The shop's id.
    pub id: Uuid,
    /// What the shop is called.
    pub name: String,
    /// The shop's name in host names and headers.
    pub subdomain: String,
    /// The publishable key that names the shop in anonymous requests.
    pub api_key: String,
    /// ISO 4217 code of the shop's currency.
    pub currency: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
}

impl TenantRow {
    /// What requests need to know of the shop.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        Tenant { id: self.id, subdomain: self.subdomain.clone(), currency: self.currency.clone() }
    }
}

/// How a request names its shop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TenantKey {
    /// By id, from a token.
    Id(Uuid),
    /// By subdomain, from a header or host name.
    Subdomain(String),
    /// By API key.
    ApiKey(String),
}

/// The shop of that name.
pub async fn find(tx: &SystemTx, key: &TenantKey) -> Result<Option<TenantRow>> {
    let select = tenants::table.select(TenantRow::as_select());
    match key {
        TenantKey::Id(id) => tx.tx().find(select.filter(tenants::id.eq(*id))).await,
        TenantKey::Subdomain(name) => tx.tx().find(select.filter(tenants::subdomain.eq(name.clone()))).await,
        TenantKey::ApiKey(key) => {
            let previous = tenants::previous_api_key.eq(key.clone()).and(tenants::previous_key_until.gt(now));
            tx.tx().find(select.filter(tenants::api_key.eq(key.clone()).or(previous.assume_not_null()))).await
        }
    }
}

/// Writes a new shop.
pub async fn insert(tx: &SystemTx, tenant: &Tenant, name: &str, api_key: &str) -> Result<TenantRow> {
    let row = (
        tenants::id.eq(tenant.id),
        tenants::name.eq(name.to_owned()),
        tenants::subdomain.eq(tenant.subdomain.clone()),
        tenants::api_key.eq(api_key.to_owned()),
        tenants::currency.eq(tenant.currency.clone()),
    );
    let insert = diesel::insert_into(tenants::table).values(row);
    tx.tx().get(insert.returning(TenantRow::as_returning())).await
}

/// The transaction's own shop.
pub async fn current(tx: &TenantTx) -> Result<Option<TenantRow>> {
    let select = tenants::table.select(TenantRow::as_select());
    tx.tx().find(select.filter(tenants::id.eq(tx.tenant_id()))).await
}

/// Gives the transaction's own shop another API key. The one that it has stays good until then.
pub async fn rotate_api_key(tx: &TenantTx, new: String, until: DateTime<Utc>) -> Result<Option<TenantRow>> {
    let rotated = (
        tenants::previous_api_key.eq(tenants::api_key.nullable()),
        tenants::previous_key_until.eq(Some(until)),
        tenants::api_key.eq(new),
    );
    let update = diesel::update(tenants::table.filter(tenants::id.eq(tx.tenant_id())));
    tx.tx().find(update.set(rotated).returning(TenantRow::as_returning())).await
}

/// Renames the transaction's own shop.
pub async fn rename(tx: &TenantTx, name: &str) -> Result<Option<TenantRow>> {
    let update = diesel::update(tenants::table.filter(tenants::id.eq(tx.tenant_id())))
        .set(tenants::name.eq(name.to_owned()))
        .returning(TenantRow::as_returning());
    tx.tx().find(update).await
}
