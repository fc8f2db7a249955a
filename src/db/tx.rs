//! What runs statements: an open transaction, or single statements that each are one and name their tenant themselves.

use std::future::Future;
use std::pin::pin;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::TransactionManagerStatus;
use diesel_async::methods::ExecuteDsl;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use tokio::sync::Mutex;
use tokio_postgres::{CancelToken, NoTls};
use tracing::Instrument;
use uuid::Uuid;

use super::pool::Conn;
use super::walled::Loads;
use crate::error::{Error, Result};

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

/// How statements see one tenant's rows, or what lies above tenants.
enum Mode {
    /// In a transaction that is opened with the first of them.
    Transaction(Mutex<Opening>),
    /// Each in one of its own. Those that are not answered yet are counted.
    Statements { tenant: Uuid, running: AtomicUsize },
}

/// How far the statements that open the transaction have come.
#[derive(Debug)]
enum Opening {
    /// To be sent in front of the first query.
    Due(String),
    Sent,
    Failed,
}

/// A connection of one's own to run statements on. Those that are awaited together are sent together.
pub(super) struct Tx {
    conn: Option<Conn>,
    mode: Mode,
    /// What is to be done once it is committed.
    then: std::sync::Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl Tx {
    /// A transaction that begins with these statements.
    pub(super) fn transaction(conn: Conn, begin: String) -> Self {
        Self::on(conn, Mode::Transaction(Mutex::new(Opening::Due(begin))))
    }

    /// Reads that each see this tenant's rows, without a transaction around them: see [`Walled`](super::walled::Walled).
    pub(super) fn statements(conn: Conn, tenant: Uuid) -> Self {
        Self::on(conn, Mode::Statements { tenant, running: AtomicUsize::new(0) })
    }

    fn on(conn: Conn, mode: Mode) -> Self {
        Self { conn: Some(conn), mode, then: std::sync::Mutex::default() }
    }

    fn conn(&self) -> Result<&AsyncPgConnection> {
        let conn = self.conn.as_deref();
        conn.ok_or_else(|| Error::internal(anyhow::anyhow!("the transaction has ended")))
    }

    /// Runs a query. The first one of a transaction travels with the statements that open it, which saves a round trip;
    /// all others wait until it is back, so that none can overtake the setting of the tenant.
    async fn run<'a, F, Fut, T>(&'a self, query: F) -> Result<T>
    where
        F: FnOnce(&'a AsyncPgConnection) -> Fut,
        Fut: Future<Output = QueryResult<T>>,
    {
        let conn = self.conn()?;
        let opening = match &self.mode {
            Mode::Transaction(opening) => opening,
            Mode::Statements { running, .. } => {
                // Whoever is dropped here does not count down: the connection is busy then.
                running.fetch_add(1, Ordering::Relaxed);
                let result = patiently(query(conn)).await?;
                running.fetch_sub(1, Ordering::Relaxed);
                return Ok(result?);
            }
        };
        let mut opening = opening.lock().await;
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
        Q: Loads<'a, U> + Send + 'a,
    {
        match self.mode {
            Mode::Transaction(_) => self.run(|mut conn| async move { query.load(&mut conn).await }).boxed(),
            Mode::Statements { tenant, .. } => {
                self.run(move |mut conn| async move { query.walled(tenant).load(&mut conn).await }).boxed()
            }
        }
    }

    /// Loads the row of a query that has at most one.
    pub(super) async fn find<'a, Q, U>(&'a self, query: Q) -> Result<Option<U>>
    where
        U: Send + 'a,
        Q: Loads<'a, U> + Send + 'a,
    {
        Ok(self.load(query).await?.pop())
    }

    /// Loads the row of a query that always has one.
    pub(super) async fn get<'a, Q, U>(&'a self, query: Q) -> Result<U>
    where
        U: Send + 'a,
        Q: Loads<'a, U> + Send + 'a,
    {
        self.find(query)
            .await?
            .ok_or_else(|| Error::internal(anyhow::anyhow!("a query that always has a row has none")))
    }

    /// Runs a statement and counts the rows that it changed, which takes a transaction.
    pub(super) fn execute<'a, Q>(&'a self, statement: Q) -> BoxFuture<'a, Result<usize>>
    where
        Q: ExecuteDsl<&'a AsyncPgConnection> + Send + 'a,
    {
        self.run(|mut conn| async move { statement.execute(&mut conn).await }).boxed()
    }

    /// Whether nothing was sent that has to be ended, or waited for, before somebody else gets the connection.
    fn is_idle(&mut self) -> bool {
        match &mut self.mode {
            Mode::Transaction(opening) => matches!(opening.get_mut(), Opening::Due(_)),
            Mode::Statements { running, .. } => *running.get_mut() == 0,
        }
    }

    /// Does what must not be done before others can see what was written: see [`commit`](Self::commit).
    pub(super) fn after_commit(&self, then: impl Future<Output = ()> + Send + 'static) {
        self.then.lock().unwrap_or_else(PoisonError::into_inner).push(then.boxed());
    }

    /// Makes everything that was written last, and then does what comes after it. Whoever waits for this may go away: once
    /// begun, both go on to their end. Where nobody knows whether PostgreSQL has committed, it is taken to have.
    pub(super) async fn commit(mut self) -> Result<()> {
        if matches!(self.mode, Mode::Statements { .. }) {
            return self.end("COMMIT").await;
        }
        let then = std::mem::take(self.then.get_mut().unwrap_or_else(PoisonError::into_inner));
        let commit = async move {
            let committed = self.end("COMMIT").await;
            if matches!(committed, Ok(()) | Err(Error::Unavailable(_))) {
                for then in then {
                    then.await;
                }
            }
            committed
        };
        tokio::spawn(commit.in_current_span()).await.map_err(Error::internal)?
    }

    /// Gives up everything that was written, and waits until it is so.
    pub(super) async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &str) -> Result<()> {
        if self.is_idle() {
            self.conn = None;
            return Ok(());
        }
        if matches!(self.mode, Mode::Statements { .. }) {
            // Somebody gave up waiting: dropping it ends that.
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
    /// goes back to the pool, and so is a statement that nobody waits for any more; where that cannot be, the connection is
    /// closed.
    fn drop(&mut self) {
        let is_idle = self.is_idle();
        let Some(mut conn) = self.conn.take().filter(|_| !is_idle) else { return };
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
