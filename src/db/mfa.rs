//! Second factors of a shop's people: columns of their own rows.

use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text};
use uuid::Uuid;

use super::schema::users;
use super::session::TenantTx;
use super::users::UserRow;
use crate::error::Result;

/// A user with what a code is checked against.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Pg))]
pub struct SecondFactor {
    /// The user.
    #[diesel(embed)]
    pub user: UserRow,
    /// The secret, sealed. It counts once `mfa_enabled` is set.
    pub mfa_secret: Option<Vec<u8>>,
}

/// One user of the shop.
pub async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<SecondFactor>> {
    tx.tx().find(users::table.filter(users::id.eq(id)).select(SecondFactor::as_select())).await
}

/// Keeps a secret that no code has verified yet; none when the user has one that was.
pub async fn offer(tx: &TenantTx, id: Uuid, sealed: Vec<u8>) -> Result<Option<UserRow>> {
    let without = users::id.eq(id).and(users::mfa_enabled.eq(false));
    let secret = (users::mfa_secret.eq(Some(sealed)), users::mfa_last_step.eq(None::<i64>));
    let update = diesel::update(users::table.filter(without)).set(secret);
    tx.tx().find(update.returning(UserRow::as_returning())).await
}

/// Makes a secret count, by its first code and with hashes of recovery codes; none when it is not the one that was checked,
/// or counts already.
pub async fn enable(
    tx: &TenantTx,
    id: Uuid,
    checked: Vec<u8>,
    step: i64,
    recovery_codes: Vec<String>,
) -> Result<Option<UserRow>> {
    let offered = users::id.eq(id).and(users::mfa_enabled.eq(false)).and(users::mfa_secret.eq(Some(checked)));
    let enabled = (
        users::mfa_enabled.eq(true),
        users::mfa_last_step.eq(Some(step)),
        users::mfa_recovery_codes.eq(recovery_codes),
    );
    let update = diesel::update(users::table.filter(offered)).set(enabled);
    tx.tx().find(update.returning(UserRow::as_returning())).await
}

/// Uses up the code of a time step, and those of all earlier ones; false when it was used before, or when the secret is no
/// longer the one that was checked. The secret is sealed anew, because keys change.
pub async fn use_step(tx: &TenantTx, id: Uuid, step: i64, checked: Option<Vec<u8>>, sealed: Vec<u8>) -> Result<bool> {
    let unused = users::mfa_last_step.is_null().or(users::mfa_last_step.lt(Some(step)).assume_not_null());
    let current = users::mfa_enabled.eq(true).and(users::mfa_secret.eq(checked));
    let usable = users::id.eq(id).and(current).and(unused);
    let used = (users::mfa_last_step.eq(Some(step)), users::mfa_secret.eq(Some(sealed)));
    Ok(tx.tx().execute(diesel::update(users::table.filter(usable)).set(used)).await? == 1)
}

/// Uses up a recovery code; false when there is none of that hash.
pub async fn use_recovery_code(tx: &TenantTx, id: Uuid, hash: String) -> Result<bool> {
    let usable =
        users::id.eq(id).and(users::mfa_enabled.eq(true)).and(users::mfa_recovery_codes.contains(vec![hash.clone()]));
    let others = sql::<Array<Text>>("array_remove(mfa_recovery_codes, ").bind::<Text, _>(hash).sql(")");
    let update = diesel::update(users::table.filter(usable)).set(users::mfa_recovery_codes.eq(others));
    Ok(tx.tx().execute(update).await? == 1)
}

/// Forgets a user's second factor.
pub async fn disable(tx: &TenantTx, id: Uuid) -> Result<Option<UserRow>> {
    let nothing = (
        users::mfa_enabled.eq(false),
        users::mfa_secret.eq(None::<Vec<u8>>),
        users::mfa_last_step.eq(None::<i64>),
        users::mfa_recovery_codes.eq(Vec::<String>::new()),
    );
    let update = diesel::update(users::table.filter(users::id.eq(id))).set(nothing);
    tx.tx().find(update.returning(UserRow::as_returning())).await
}
