//! Transactions that know whose they are.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::TransactionManagerStatus;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};
use tokio_postgres::{CancelToken, NoTls};
use uuid::Uuid;

use super::idempotency::{Keyed, Parked};
use super::pool::{Conn, Db};
use crate::domain::actor::Caller;
use crate::error::{Error, Result};

/// A transaction that sees and writes one tenant's rows, with actor and request id set for the audit triggers.
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

impl Db {
    /// Begins a transaction that may write for the caller's tenant.
    pub async fn tenant(&self, caller: &Caller) -> Result<TenantTx> {
        let tenant = caller.tenant()?.id;
        let user = caller.user_id().map(|id| id.to_string()).unwrap_or_default();
        // Uuids and request ids hold no character that could end the literal.
        let begin = format!(
            "BEGIN; SET LOCAL app.current_tenant_id = '{tenant}'; SET LOCAL app.user_id = '{user}'; \
             SET LOCAL app.request_id = '{}'",
            caller.request_id.as_str()
        );
        let tx = Tx::new(self.connection().await?, begin);
        if let Some(keyed) = &self.keyed {
            keyed.claim(&tx).await?;
        }
        Ok(TenantTx { tx, tenant, keyed: self.keyed.clone() })
    }

    /// Begins a transaction of a tenant that may write, and has nothing to audit.
    pub(super) async fn tenant_of(&self, tenant: Uuid) -> Result<TenantTx> {
        let begin = format!("BEGIN; SET LOCAL app.current_tenant_id = '{tenant}'");
        Ok(TenantTx { tx: Tx::new(self.connection().await?, begin), tenant, keyed: None })
    }

    /// Begins a transaction that reads this tenant's rows.
    pub async fn tenant_read(&self, tenant: Uuid) -> Result<TenantTx> {
        // Reads plan once a connection. PostgreSQL itself would plan `= any($1)` anew each time, because it takes an array
        // that it cannot see for ten keys; planning costs more than the read.
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL app.current_tenant_id = '{tenant}'; \
             SET LOCAL plan_cache_mode = force_generic_plan"
        );
        let tx = Tx::new(self.connection().await?, begin);
        Ok(TenantTx { tx, tenant, keyed: None })
    }

    /// Begins a transaction above tenants.
    pub async fn system(&self, reason: SystemReason, caller: Option<&Caller>) -> Result<SystemTx> {
        tracing::debug!(?reason, "system transaction");
        let request_id = caller.map_or("", |caller| caller.request_id.as_str());
        let begin = format!("BEGIN; SET LOCAL ROLE mercato_system; SET LOCAL app.request_id = '{request_id}'");
        let tx = Tx::new(self.connection().await?, begin);
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

    /// Makes everything that was written last; for a keyed request, together with its answer, once that is there.
    pub async fn commit(mut self) -> Result<()> {
        match self.keyed.take() {
            Some(keyed) => keyed.park(Parked::Tenant(self)).await,
            None => self.tx.end("COMMIT").await?,
        }
        Ok(())
    }

    /// Gives up everything that was written, and waits until it is so.
    pub async fn rollback(self) -> Result<()> {
        self.tx.end("ROLLBACK").await
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
            None => self.tx.end("COMMIT").await?,
        }
        Ok(())
    }

    pub(super) const fn tx(&self) -> &Tx {
        &self.tx
    }
}

/// Waits for PostgreSQL a little longer than it waits itself (see `statement_timeout`): where the network swallows the
/// answer, nothing else would ever end the wait and give the connection up.
async fn patiently<T>(answer: impl Future<Output = T>) -> Result<T> {
    const PATIENCE: Duration = Duration::from_secs(12);
    let late = |_| Error::Unavailable(anyhow::anyhow!("no answer from PostgreSQL"));
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)
}

/// Waits for a rollback, behind whatever statement still runs. One that keeps it waiting is cancelled, because nobody waits
/// for its answer any more.
async fn cancelling<T>(rollback: impl Future<Output = T>, cancel: CancelToken) -> T {
    const BUSY: Duration = Duration::from_millis(50);
    let mut rollback = pin!(rollback);
    if let Ok(done) = tokio::time::timeout(BUSY, &mut rollback).await {
        return done;
    }
    // It takes a connection of its own. Where there is none to be had, the statement's own timeout ends it.
    let (done, _) = join(rollback, cancel.cancel_query(NoTls)).await;
    done
}

/// How far the statements that open the transaction have come.
#[derive(Debug)]
enum Opening {
    /// To be sent in front of the first query.
    Due(String),
    Sent,
    Failed,
}

/// An open transaction on a connection of its own. Queries that are awaited together are sent together.
pub(super) struct Tx {
    conn: Option<Conn>,
    opening: Mutex<Opening>,
}

impl Tx {
    fn new(conn: Conn, begin: String) -> Self {
        Self { conn: Some(conn), opening: Mutex::new(Opening::Due(begin)) }
    }

    fn conn(&self) -> Result<&AsyncPgConnection> {
        let conn = self.conn.as_deref();
        conn.ok_or_else(|| Error::internal(anyhow::anyhow!("the transaction has ended")))
    }

    /// Runs a query. The first one travels with the statements that open the transaction, which saves a round trip;
    /// all others wait until it is back, so that none can overtake the setting of the tenant.
    async fn run<'a, F, Fut, T>(&'a self, query: F) -> Result<T>
    where
        F: FnOnce(&'a AsyncPgConnection) -> Fut,
        Fut: Future<Output = QueryResult<T>>,
    {
        let conn = self.conn()?;
        let mut opening = self.opening.lock().await;
        match std::mem::replace(&mut *opening, Opening::Failed) {
            Opening::Due(begin) => {
                let mut pipelined = conn;
                let (begun, result) = patiently(join(pipelined.batch_execute(&begin), query(conn))).await?;
                begun?;
                *opening = Opening::Sent;
                Ok(result?)
            }
            Opening::Sent => {
                *opening = Opening::Sent;
                drop(opening);
                Ok(patiently(query(conn)).await??)
            }
            Opening::Failed => Err(Error::Unavailable(anyhow::anyhow!("the transaction did not begin"))),
        }
    }

    /// Loads all rows of a query.
    ///
    /// Boxed, here and below, because rustc cannot show that the bare future is `Send` (rust-lang/rust#110338).
    pub(super) fn load<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<Vec<U>>>
    where
        U: Send + 'a,
        Q: LoadQuery<'a, &'a AsyncPgConnection, U> + Send + 'a,
    {
        self.run(|mut conn| async move { query.load(&mut conn).await }).boxed()
    }

    /// Loads the row of a query that has at most one.
    pub(super) async fn find<'a, Q, U>(&'a self, query: Q) -> Result<Option<U>>
    where
        U: Send + 'a,
        Q: LoadQuery<'a, &'a AsyncPgConnection, U> + Send + 'a,
    {
        Ok(self.load(query).await?.pop())
    }

    /// Loads the row of a query that always has one.
    pub(super) fn get<'a, Q, U>(&'a self, query: Q) -> BoxFuture<'a, Result<U>>
    where
        U: Send + 'a,
        Q: LoadQuery<'a, &'a AsyncPgConnection, U> + Send + 'a,
    {
        self.run(|mut conn| async move { query.get_result(&mut conn).await }).boxed()
    }

    /// Runs a statement and counts the rows that it changed.
    pub(super) fn execute<'a, Q>(&'a self, statement: Q) -> BoxFuture<'a, Result<usize>>
    where
        Q: ExecuteDsl<&'a AsyncPgConnection> + Send + 'a,
    {
        self.run(|mut conn| async move { statement.execute(&mut conn).await }).boxed()
    }

    async fn end(mut self, how: &str) -> Result<()> {
        if matches!(self.opening.get_mut(), Opening::Due(_)) {
            // Nothing was ever sent, so there is nothing to end.
            *self.opening.get_mut() = Opening::Sent;
            self.conn = None;
            return Ok(());
        }
        // The connection stays in its place until the answer is there: dropped half-way, this rolls back.
        let ended = match self.conn.as_deref_mut() {
            Some(conn) => patiently(conn.batch_execute(how)).await?,
            None => Ok(()),
        };
        if ended.is_ok() {
            self.conn = None;
        }
        Ok(ended?)
    }
}

impl Drop for Tx {
    /// A transaction that was not ended (an error, or a client that went away) is rolled back before its connection
    /// goes back to the pool; where that cannot be, the connection is closed.
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if matches!(self.opening.get_mut(), Opening::Due(_)) {
            return;
        }
        AnsiTransactionManager::transaction_manager_status_mut(&mut *conn).set_in_error();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let cancel = conn.cancel_token();
            runtime.spawn(async move {
                let rollback = conn.batch_execute("ROLLBACK");
                if matches!(patiently(cancelling(rollback, cancel)).await, Ok(Ok(()))) {
                    *AnsiTransactionManager::transaction_manager_status_mut(&mut *conn) =
                        TransactionManagerStatus::default();
                }
            });
        }
    }
}

/// One tenant's reads for the length of one request, shared by all of its resolvers and loaders.
///
/// The transaction opens with the first query, so a request that reads nothing costs nothing.
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

    /// The shared transaction, opened when this is the first read. What a keyed request has done is read from its own.
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

    /// Ends the transaction, if one was opened, and gives its connection back.
    pub async fn close(&self) -> Result<()> {
        match self.0.tx.write().await.take() {
            Some(tx) => tx.commit().await,
            None => Ok(()),
        }
    }
}
