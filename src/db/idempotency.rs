//! Answers that were given to requests with an `Idempotency-Key`, and the transactions that wait for theirs.
//!
//! A keyed request's effect and its answer are one transaction: the key is claimed by its first statement, and where a
//! service commits, the open transaction is parked instead, until the answer has been read from it and written down in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::sql_types::{Nullable, Text};
use tokio::sync::RwLock;

use super::pool::Db;
use super::session::{SystemTx, TenantTx};
use super::sql::Sql;
use super::tx::Tx;
use crate::domain::idempotency::Claim;
use crate::error::{Error, Result};

/// One keyed request: its claim, and its transaction once that is ready to be committed.
pub struct Keyed {
    claim: Claim,
    pub(super) parked: RwLock<Option<Parked>>,
    is_lost: AtomicBool,
}

/// A transaction that has done its work.
pub(super) enum Parked {
    /// A shop's; the answer may be read from it.
    Tenant(TenantTx),
    /// One above shops.
    System(SystemTx),
}

impl Parked {
    const fn tx(&self) -> &Tx {
        match self {
            Self::Tenant(tx) => tx.tx(),
            Self::System(tx) => tx.tx(),
        }
    }
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The answer to this very request.
    Answer(String),
    /// Something about another request.
    OtherRequest,
}

impl Db {
    /// The database for one keyed request: the first transaction that writes claims the key, and waits to be finished.
    #[must_use]
    pub fn keyed(&self, claim: Claim) -> (Self, Arc<Keyed>) {
        let keyed = Arc::new(Keyed { claim, parked: RwLock::new(None), is_lost: AtomicBool::new(false) });
        (self.with_keyed(Some(Arc::clone(&keyed))), keyed)
    }

    /// The database for what must be committed before the request's own transaction.
    #[must_use]
    pub fn unkeyed(&self) -> Self {
        self.with_keyed(None)
    }

    /// What was answered to this key in the last 24 hours.
    pub async fn answer_of(&self, claim: &Claim) -> Result<Option<Kept>> {
        let find = Sql::new(
            "select fingerprint, response from idempotency_keys
             where tenant_id = ? and actor_id = ? and operation = ? and key = ?
               and created_at >= now() - interval '24 hours'",
        );
        // Rows without a tenant are those of the nil one.
        let tx = self.tenant_read(claim.tenant_id).await?;
        let found: Option<(String, Option<String>)> =
            tx.tx().find(named(find, claim).returning::<(Text, Nullable<Text>)>()).await?;
        tx.commit().await?;
        Ok(found.map(|found| match found {
            (fingerprint, Some(answer)) if fingerprint == claim.fingerprint => Kept::Answer(answer),
            _ => Kept::OtherRequest,
        }))
    }

    /// Keeps an answer that had no effect. False when another one was quicker.
    pub async fn keep_answer(&self, claim: &Claim, answer: String) -> Result<bool> {
        let tx = self.unkeyed().tenant_of(claim.tenant_id).await?;
        if !take(tx.tx(), claim).await? {
            tx.rollback().await?;
            return Ok(false);
        }
        keep(tx.tx(), claim, answer).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Keyed {
    /// Claims the key in a transaction that is about to write, and waits where another one has it under way.
    pub(super) async fn claim(&self, tx: &Tx) -> Result<()> {
        if self.parked.read().await.is_some() {
            return Err(Error::internal(anyhow::anyhow!("a keyed request writes in two transactions")));
        }
        if take(tx, &self.claim).await? {
            return Ok(());
        }
        self.is_lost.store(true, Ordering::Relaxed);
        // Nobody sees this one: what the quicker request was answered comes in its place. Hence none that is logged.
        Err(Error::IdempotencyKeyReused)
    }

    pub(super) async fn park(&self, done: Parked) {
        *self.parked.write().await = Some(done);
    }

    /// Whether another request with the same key was quicker: its answer counts, and ours is void.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether something was done that waits to be committed.
    pub async fn has_effect(&self) -> bool {
        self.parked.read().await.is_some()
    }

    /// Makes what was done last, together with its answer.
    pub async fn commit(&self, answer: String) -> Result<()> {
        let Some(done) = self.parked.write().await.take() else { return Ok(()) };
        keep(done.tx(), &self.claim, answer).await?;
        match done {
            Parked::Tenant(tx) => tx.commit().await,
            Parked::System(tx) => tx.commit().await,
        }
    }

    /// Gives up what was done.
    pub async fn rollback(&self) {
        // Dropping it rolls it back.
        self.parked.write().await.take();
    }
}

/// A claim's key, for a statement that compares it in this order.
fn named(sql: Sql, claim: &Claim) -> Sql {
    sql.bind(claim.tenant_id).bind(claim.actor_id).bind(claim.operation.clone()).bind(claim.key.clone())
}

/// Takes a key that is free, or that has had its day.
async fn take(tx: &Tx, claim: &Claim) -> Result<bool> {
    let take = Sql::new(
        "insert into idempotency_keys (tenant_id, actor_id, operation, key, fingerprint) values (?, ?, ?, ?, ?)
         on conflict (tenant_id, actor_id, operation, key)
         do update set fingerprint = excluded.fingerprint, response = null, created_at = excluded.created_at
         where idempotency_keys.created_at < now() - interval '24 hours'",
    );
    let take = named(take, claim).bind(claim.fingerprint.clone());
    Ok(tx.execute(take.returning::<()>()).await? == 1)
}

async fn keep(tx: &Tx, claim: &Claim, answer: String) -> Result<()> {
    let keep = Sql::new(
        "update idempotency_keys set response = ? where tenant_id = ? and actor_id = ? and operation = ? and key = ?",
    );
    match tx.execute(named(keep.bind(answer), claim).returning::<()>()).await? {
        1 => Ok(()),
        _ => Err(Error::internal(anyhow::anyhow!("an answer without its claim"))),
    }
}

/// Deletes what has had its day, and returns how much that was. In batches, because no statement may take long.
pub async fn sweep(tx: &SystemTx) -> Result<usize> {
    const BATCH: i32 = 5_000;
    let mut swept = 0;
    loop {
        let delete = Sql::new(
            "delete from idempotency_keys
             where created_at < now() - interval '24 hours'
               and (tenant_id, actor_id, operation, key) in (
                   select tenant_id, actor_id, operation, key from idempotency_keys
                   where created_at < now() - interval '24 hours'
                   order by created_at limit ?)",
        );
        let deleted = tx.tx().execute(delete.bind(BATCH).returning::<()>()).await?;
        swept += deleted;
        if deleted == 0 {
            return Ok(swept);
        }
    }
}
