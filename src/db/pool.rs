//! The pool of connections that the server's role has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use tokio_postgres::NoTls;

use super::idempotency::Keyed;
use crate::error::{Error, Result};

pub(super) type Conn = PooledConnection<'static, AsyncPgConnection>;

/// The database, as the server's role sees it.
#[derive(Clone)]
pub struct Db {
    pool: Pool<AsyncPgConnection>,
    connect_error: ConnectError,
    /// The keyed request that this handle belongs to, if it does.
    pub(super) keyed: Option<Arc<Keyed>>,
}

/// How busy the pool is.
#[derive(Clone, Copy, Debug)]
pub struct PoolState {
    /// Connections that are open.
    pub open: u32,
    /// Connections that wait for work.
    pub idle: u32,
}

/// No statement outlives a request; nothing waits for a lock, or holds one between statements, for longer than this.
const LIMITS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
                      SET idle_in_transaction_session_timeout = '5s'; SET TIME ZONE 'UTC'";

/// Statements read unless a transaction says otherwise, and are planned once a connection. PostgreSQL itself would plan
/// `= any($1)` anew each time, because it takes an array that it cannot see for ten keys; planning costs more than the read.
const READING: &str = "SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan";

impl Db {
    /// A pool of at most `size` connections that makes callers wait up to `wait` for one. Nothing connects yet.
    #[must_use]
    pub fn new(database_url: &str, size: u32, wait: Duration) -> Self {
        let mut config = ManagerConfig::default();
        // The default sends a query at every checkout; broken connections are found on their way back instead.
        config.recycling_method = RecyclingMethod::Fast;
        let connect_error = ConnectError::default();
        let errors = connect_error.clone();
        config.custom_setup = Box::new(move |url| connect(url, errors.clone()).boxed());
        let manager = AsyncDieselConnectionManager::new_with_config(database_url, config);
        let pool =
            Pool::builder().max_size(size).connection_timeout(wait).test_on_check_out(false).build_unchecked(manager);
        Self { pool, connect_error, keyed: None }
    }

    pub(super) fn with_keyed(&self, keyed: Option<Arc<Keyed>>) -> Self {
        Self { pool: self.pool.clone(), connect_error: self.connect_error.clone(), keyed }
    }

    /// A connection that was alive a moment ago.
    pub(super) async fn connection(&self) -> Result<Conn> {
        self.open().await.map_err(Error::Unavailable)
    }

    /// The same for the start, where there is nobody who could try again.
    pub(super) async fn open(&self) -> anyhow::Result<Conn> {
        loop {
            let mut conn = self.pool.get_owned().await.map_err(|_| self.connect_error.explain())?;
            // After a restart of PostgreSQL the pool is full of closed connections; dropping one makes room.
            if !conn.is_broken() {
                return Ok(conn);
            }
        }
    }

    /// How busy the pool is.
    #[must_use]
    pub fn state(&self) -> PoolState {
        let state = self.pool.state();
        PoolState { open: state.connections, idle: state.idle_connections }
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<()> {
        let mut conn = self.connection().await?;
        Ok(conn.batch_execute("SELECT 1").await?)
    }

    /// Refuses to go on when the server's role could walk through the walls between tenants.
    pub async fn check_role(&self) -> anyhow::Result<()> {
        use diesel::prelude::*;
        use diesel_async::RunQueryDsl;

        #[derive(QueryableByName)]
        #[expect(clippy::struct_excessive_bools, reason = "each is a question to the catalog")]
        struct Power {
            #[diesel(sql_type = diesel::sql_types::Text)]
            role: String,
            #[diesel(sql_type = diesel::sql_types::Bool)]
            bypasses: bool,
            #[diesel(sql_type = diesel::sql_types::Bool)]
            owns: bool,
            #[diesel(sql_type = diesel::sql_types::Bool)]
            inherits: bool,
            #[diesel(sql_type = diesel::sql_types::Bool)]
            unwalled: bool,
        }
        let mut conn = self.open().await?;
        let power: Power = diesel::sql_query(
            "select current_user::text as role, r.rolsuper or r.rolbypassrls as bypasses, \
                exists (select from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') \
                        and pg_has_role(current_user, c.relowner, 'usage')) as owns, \
                exists (select from pg_roles s where s.rolname like 'mercato\\_%' and s.rolname <> current_user \
                        and pg_has_role(current_user, s.oid, 'usage')) as inherits, \
                exists (select from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') \
                        and c.relname not like '\\_\\_%' and not (c.relrowsecurity and c.relforcerowsecurity)) as unwalled \
             from pg_roles r where r.rolname = current_user",
        )
        .get_result(&mut *conn)
        .await
        .context("DATABASE_URL: cannot read the role's rights")?;
        anyhow::ensure!(!power.unwalled, "a table has no row-level security: the walls between shops would not hold");
        let too_much = match power {
            Power { bypasses: true, .. } => "is a superuser or bypasses row-level security",
            Power { owns: true, .. } => "owns tables",
            Power { inherits: true, .. } => "has another role's rights without asking for them",
            _ => return Ok(()),
        };
        anyhow::bail!(
            "DATABASE_URL: role {} {too_much}, so the walls between shops would not hold; connect as mercato_app",
            power.role
        )
    }
}

/// Why connecting failed last, until it succeeds. Who waits for a connection is only told that none came.
#[derive(Clone, Default)]
struct ConnectError(Arc<Mutex<Option<String>>>);

impl ConnectError {
    fn learn(&self, error: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Why no connection came.
    fn explain(&self) -> anyhow::Error {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(error) => anyhow::anyhow!("{error}").context(
                "DATABASE_URL: cannot connect; it must name a PostgreSQL that runs, and a role, password and database \
                 that it knows",
            ),
            None => anyhow::anyhow!(
                "no database connection within DATABASE_POOL_WAIT_MS: all DATABASE_POOL_SIZE are busy, or the host of \
                 DATABASE_URL does not answer"
            ),
        }
    }
}

async fn connect(url: &str, errors: ConnectError) -> diesel::ConnectionResult<AsyncPgConnection> {
    let opened = async {
        let mut conn = establish(url).await?;
        conn.batch_execute(&format!("{LIMITS}; {READING}")).await?;
        anyhow::Ok(conn)
    };
    let opened = opened.await.map_err(|error| format!("{error:#}"));
    errors.learn(opened.as_ref().err().cloned());
    opened.map_err(diesel::ConnectionError::BadConnection)
}

/// A connection, or why there is none, which diesel would not tell.
pub(super) async fn establish(url: &str) -> anyhow::Result<AsyncPgConnection> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
}
