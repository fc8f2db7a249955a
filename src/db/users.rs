//! People of a shop.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::keyset::Listing;
use super::schema::users;
use super::session::{ReadSession, SystemTx, TenantTx};
use super::sql::Sql;
use crate::domain::actor::Role;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::domain::users::UserChanges;
use crate::error::{Error, Result};

/// A user, without anything secret.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Pg))]
pub struct UserRow {
    /// The user's id.
    pub id: Uuid,
    /// The user's shop.
    pub tenant_id: Uuid,
    /// In lower case.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// Whether logging in takes a second factor.
    pub mfa_enabled: bool,
    /// Whether the user may log in.
    pub is_active: bool,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
}

/// A user's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub Uuid);

impl Loader<UserId> for ReadSession {
    type Value = UserRow;
    type Error = std::sync::Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, UserRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = users::table.filter(users::id.eq_any(ids)).select(UserRow::as_select());
        let rows: Vec<UserRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (UserId(row.id), row)).collect())
    }
}

/// A new user as it is stored.
#[derive(Clone, Insertable)]
#[diesel(table_name = users)]
pub struct UserInsert {
    /// The user's id.
    pub id: Uuid,
    /// The user's shop.
    pub tenant_id: Uuid,
    /// In lower case.
    pub email: String,
    /// argon2id, in PHC string format.
    pub password_hash: String,
    /// ADMIN, MERCHANT or CUSTOMER.
    pub role: &'static str,
}

/// One user of the shop.
pub async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<UserRow>> {
    tx.tx().find(users::table.filter(users::id.eq(id)).select(UserRow::as_select())).await
}

/// A user with what logging in takes.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Pg))]
pub struct Credentials {
    /// The user.
    #[diesel(embed)]
    pub user: UserRow,
    /// argon2id, in PHC string format.
    pub password_hash: String,
    /// What tokens carry, and are worth nothing without.
    pub access_version: i32,
}

/// The user of that (lower-case) address, for logging in.
pub async fn credentials(tx: &TenantTx, email: &str) -> Result<Option<Credentials>> {
    tx.tx().find(users::table.filter(users::email.eq(email.to_owned())).select(Credentials::as_select())).await
}

/// One user of the shop, for logging in.
pub async fn credentials_of(tx: &TenantTx, id: Uuid) -> Result<Option<Credentials>> {
    tx.tx().find(users::table.filter(users::id.eq(id)).select(Credentials::as_select())).await
}

/// The access version of one user of the shop.
pub async fn access_version(tx: &TenantTx, id: Uuid) -> Result<Option<i32>> {
    tx.tx().find(users::table.filter(users::id.eq(id)).select(users::access_version)).await
}

/// Ends everything that was issued to a user.
pub async fn end_access(tx: &TenantTx, id: Uuid) -> Result<()> {
    let next = users::access_version.eq(users::access_version + 1);
    tx.tx().execute(diesel::update(users::table.filter(users::id.eq(id))).set(next)).await.map(|_| ())
}

/// Replaces an active user's password; none when it is no longer the one that was checked.
pub async fn replace_password(tx: &TenantTx, id: Uuid, checked: String, new: String) -> Result<Option<UserRow>> {
    let current = users::id.eq(id).and(users::password_hash.eq(checked)).and(users::is_active.eq(true));
    let update = diesel::update(users::table.filter(current)).set(users::password_hash.eq(new));
    tx.tx().find(update.returning(UserRow::as_returning())).await
}

/// Writes a new user.
pub async fn insert(tx: &TenantTx, user: UserInsert) -> Result<UserRow> {
    tx.tx().get(diesel::insert_into(users::table).values(user).returning(UserRow::as_returning())).await
}

/// Writes the first admin together with its shop.
pub async fn insert_first(tx: &SystemTx, user: UserInsert) -> Result<()> {
    tx.tx().execute(diesel::insert_into(users::table).values(user)).await.map(|_| ())
}

/// Changes a user of the shop.
pub async fn update(tx: &TenantTx, id: Uuid, changes: UserChanges) -> Result<Option<UserRow>> {
    #[derive(AsChangeset)]
    #[diesel(table_name = users)]
    struct Changeset {
        role: Option<&'static str>,
        is_active: Option<bool>,
    }
    let changes = Changeset { role: changes.role.map(Role::as_str), is_active: changes.is_active };
    let update = diesel::update(users::table.filter(users::id.eq(id))).set(changes);
    tx.tx().find(update.returning(UserRow::as_returning())).await
}

/// The ids of the shop's active admins, locked until the transaction ends, so that two who demote each other take turns.
pub async fn lock_admins(tx: &TenantTx) -> Result<Vec<Uuid>> {
    let query = users::table
        .filter(users::role.eq(Role::Admin.as_str()).and(users::is_active.eq(true)))
        .order(users::id)
        .select(users::id)
        .for_no_key_update();
    tx.tx().load(query).await
}

/// Which users to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserFilter {
    /// Only of this role.
    pub role: Option<Role>,
}

impl UserFilter {
    fn listing(self) -> Listing {
        Listing::new(Sql::new("users"), ("users.created_at", KeyKind::Time), "users.id", true)
            .only_if("users.role = ?", self.role.map(Role::as_str))
    }

    /// One page of the users, newest first.
    pub async fn page(self, tx: &TenantTx, window: &Window) -> Result<Page<UserRow>> {
        self.listing()
            .page(tx, ListId::of(&self), window, |row: &UserRow, _| (SortKey::Time(row.created_at), row.id))
            .await
    }

    /// How many users there are.
    pub async fn count(self, tx: &TenantTx) -> Result<i64> {
        self.listing().count(tx).await
    }
}
