//! Transactions, and reads, that know whose they are.

use std::sync::Arc;

use tokio::sync::{RwLock, RwLockReadGuard};
use uuid::Uuid;

use super::idempotency::{Keyed, Parked};
use super::pool::Db;
use super::tx::Tx;
use crate::domain::actor::Caller;
use crate::error::{Error, Result};

/// What sees one tenant's rows, and no others: a transaction that writes them as well, with actor and request id set for the
/// audit triggers, or reads that each are a transaction of their own.
///
/// Dropping it rolls back. Only [`Db::tenant`] and [`Db::tenant_read`] make one.
pub struct TenantTx {
    tx: Tx,
    tenant: Uuid,
    /// The keyed request whose effect this is.
    keyed: Option<Arc<Keyed>>,
}

/// A transaction of the role `mercato_system`, which sees the few things that lie above tenants.
///
/// Dropping it rolls back. Only [`Db::system`] makes one, and wants to know why.
pub struct SystemTx {
    tx: Tx,
    /// The keyed request whose effect this is.
    keyed: Option<Arc<Keyed>>,
}

/// Why something must see across tenants: every use can be found by its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemReason {
    /// A new shop is written with its first admin.
    RegisterTenant,
    /// A shop is found by id, subdomain or API key.
    FindTenant,
    /// A webhook tells of an intent; whose it is, is looked up.
    LocatePayment,
    /// Work on payments is found and taken.
    Settle,
    /// What has had its day is deleted.
    Sweep,
}

/// Connections are set up for reading, see `pool.rs`: this is what writing takes.
const WRITING: &str = "BEGIN READ WRITE; SET LOCAL plan_cache_mode = auto";

impl Db {
    /// Begins a transaction that may write for the caller's tenant.
    pub async fn tenant(&self, caller: &Caller) -> Result<TenantTx> {
        let tenant = caller.tenant()?.id;
        let user = caller.user_id().map(|id| id.to_string()).unwrap_or_default();
        // Uuids and request ids hold no character that could end the literal.
        let begin = format!(
            "{WRITING}; SET LOCAL app.current_tenant_id = '{tenant}'; SET LOCAL app.user_id = '{user}'; \
             SET LOCAL app.request_id = '{}'",
            caller.request_id.as_str()
        );
        let tx = Tx::transaction(self.connection().await?, begin);
        if let Some(keyed) = &self.keyed {
            keyed.claim(&tx).await?;
        }
        Ok(TenantTx { tx, tenant, keyed: self.keyed.clone() })
    }

    /// Begins a transaction of a tenant that may write, and has nothing to audit.
    pub(super) async fn tenant_of(&self, tenant: Uuid) -> Result<TenantTx> {
        let begin = format!("{WRITING}; SET LOCAL app.current_tenant_id = '{tenant}'");
        Ok(TenantTx { tx: Tx::transaction(self.connection().await?, begin), tenant, keyed: None })
    }

    /// Begins to read this tenant's rows.
    ///
    /// Each statement sees what is there when it runs. It would in a transaction too, at PostgreSQL's usual isolation, but that
    /// takes two more messages, which cost more than most reads.
    pub async fn tenant_read(&self, tenant: Uuid) -> Result<TenantTx> {
        Ok(TenantTx { tx: Tx::statements(self.connection().await?, tenant), tenant, keyed: None })
    }

    /// Begins a transaction above tenants.
    pub async fn system(&self, reason: SystemReason, caller: Option<&Caller>) -> Result<SystemTx> {
        tracing::debug!(?reason, "system transaction");
        let request_id = caller.map_or("", |caller| caller.request_id.as_str());
        let begin = format!("{WRITING}; SET LOCAL ROLE mercato_system; SET LOCAL app.request_id = '{request_id}'");
        let tx = Tx::transaction(self.connection().await?, begin);
        if let Some(keyed) = &self.keyed {
            keyed.claim(&tx).await?;
        }
        Ok(SystemTx { tx, keyed: self.keyed.clone() })
    }
}

impl TenantTx {
    /// The tenant whose rows this transaction sees.
    #[must_use]
    pub const fn tenant_id(&self) -> Uuid {
        self.tenant
    }

    /// Does what must not be done before others can see what was written. It is done even if the client goes away meanwhile,
    /// and not if nothing is committed.
    pub fn after_commit(&self, then: impl Future<Output = ()> + Send + 'static) {
        self.tx.after_commit(then);
    }

    /// Makes everything that was written last; for a keyed request, together with its answer, once that is there.
    pub async fn commit(mut self) -> Result<()> {
        match self.keyed.take() {
            Some(keyed) => keyed.park(Parked::Tenant(self)).await,
            None => self.tx.commit().await?,
        }
        Ok(())
    }

    /// Gives up everything that was written, and waits until it is so.
    pub async fn rollback(self) -> Result<()> {
        self.tx.rollback().await
    }

    pub(super) const fn tx(&self) -> &Tx {
        &self.tx
    }
}

impl SystemTx {
    /// Makes everything that was written last; for a keyed request, together with its answer, once that is there.
    pub async fn commit(mut self) -> Result<()> {
        match self.keyed.take() {
            Some(keyed) => keyed.park(Parked::System(self)).await,
            None => self.tx.commit().await?,
        }
        Ok(())
    }

    pub(super) const fn tx(&self) -> &Tx {
        &self.tx
    }
}

/// One tenant's reads for the length of one request, shared by all of its resolvers and loaders.
///
/// They are on one connection, which is taken with the first query: a request that reads nothing costs nothing.
#[derive(Clone)]
pub struct ReadSession(Arc<SessionState>);

struct SessionState {
    db: Db,
    tenant: Option<Uuid>,
    tx: RwLock<Option<TenantTx>>,
}

impl ReadSession {
    /// A session that will read this tenant's rows, or refuse when there is none.
    #[must_use]
    pub fn new(db: Db, tenant: Option<Uuid>) -> Self {
        Self(Arc::new(SessionState { db, tenant, tx: RwLock::new(None) }))
    }

    /// What all reads of the request share. What a keyed request has done is read from its own transaction.
    pub async fn tx(&self) -> Result<RwLockReadGuard<'_, TenantTx>> {
        if let Some(keyed) = &self.0.db.keyed {
            let parked = keyed.parked.read().await;
            let own = RwLockReadGuard::try_map(parked, |parked| match parked {
                Some(Parked::Tenant(tx)) => Some(tx),
                _ => None,
            });
            if let Ok(tx) = own {
                return Ok(tx);
            }
        }
        loop {
            if let Ok(tx) = RwLockReadGuard::try_map(self.0.tx.read().await, Option::as_ref) {
                return Ok(tx);
            }
            let mut slot = self.0.tx.write().await;
            if slot.is_none() {
                let tenant =
                    self.0.tenant.ok_or_else(|| Error::internal(anyhow::anyhow!("a read without a tenant")))?;
                *slot = Some(self.0.db.tenant_read(tenant).await?);
            }
        }
    }

    /// Gives the connection back, if one was taken.
    pub async fn close(&self) -> Result<()> {
        match self.0.tx.write().await.take() {
            Some(tx) => tx.commit().await,
            None => Ok(()),
        }
    }
}
