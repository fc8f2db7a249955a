//! Redis, as something that the server does better with, but does not need.
//!
//! Everything here ends soon, whatever state Redis is in. After a failure a breaker opens: for a second callers are
//! told at once that Redis is gone; then one of them is let through to find out, and so on.

pub mod catalog;
pub mod documents;
pub mod limits;
pub mod sessions;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bb8::{ErrorSink, ManageConnection, Pool, PooledConnection};
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, ScriptInvocation};

use crate::error::Error;

/// How many connections may be open.
const CONNECTIONS: u32 = 10;
/// How long a command waits for a connection. Connecting goes on behind it, for at most a second.
const POOL_WAIT: Duration = Duration::from_secs(1);
/// How long a command waits for its answer.
const RESPONSE_WAIT: Duration = Duration::from_secs(1);
/// How long nobody tries after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Redis did not do what was asked, or was not asked because it failed a moment ago.
///
/// Go on without it. Why it failed is logged here, once, when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis cannot be used")]
pub struct RedisGone;

/// A pool of connections to Redis. Clones share it.
#[derive(Clone, Debug)]
pub struct Redis {
    pool: Pool<Manager>,
    breaker: Arc<Breaker>,
    generation: Arc<AtomicU64>,
    connect_error: ConnectError,
}

impl Redis {
    /// A pool that connects when it is first used. To be called on a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When the URL cannot be understood.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let generation = Arc::new(AtomicU64::new(0));
        let connect_error = ConnectError::default();
        let manager = Manager {
            redis: RedisConnectionManager::new(url).context("REDIS_URL")?,
            generation: Arc::clone(&generation),
        };
        let pool = Pool::builder()
            .max_size(CONNECTIONS)
            .connection_timeout(POOL_WAIT)
            // The default sends a PING before every command.
            .test_on_check_out(false)
            .error_sink(connect_error.boxed_clone())
            .build_unchecked(manager);
        Ok(Self { pool, breaker: Arc::new(Breaker::new()), generation, connect_error })
    }

    /// Asks for a sign of life, whether or not Redis failed a moment ago.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] with the reason, which this does not log.
    pub async fn ping(&self) -> crate::error::Result<()> {
        let answer = self.query(&redis::cmd("PING")).await;
        self.learn(&answer);
        answer.map_err(|error| Error::Unavailable(error.context("Redis")))
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`RedisGone`], with which the caller goes on.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RedisGone> {
        self.run(redis::cmd("GET").arg(key)).await
    }

    /// Sets a key's value and how long it lasts, with a resolution of a millisecond.
    ///
    /// # Errors
    ///
    /// [`RedisGone`], with which the caller goes on.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), RedisGone> {
        let milliseconds = ttl.as_millis().max(1);
        self.run(redis::cmd("SET").arg(key).arg(value).arg("PX").arg(milliseconds)).await
    }

    /// Forgets a key.
    ///
    /// # Errors
    ///
    /// [`RedisGone`], with which the caller goes on.
    pub async fn delete(&self, key: &str) -> Result<(), RedisGone> {
        self.run(redis::cmd("DEL").arg(key)).await
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisGone> {
        self.guarded(self.query(command)).await
    }

    /// Runs a script, which Redis does as one step.
    async fn script<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, RedisGone> {
        self.guarded(self.with_connection(async |redis| call.invoke_async(redis).await)).await
    }

    /// Does not even try when Redis failed a moment ago.
    async fn guarded<T>(&self, question: impl Future<Output = anyhow::Result<T>>) -> Result<T, RedisGone> {
        if !self.breaker.lets_through(Instant::now()) {
            return Err(RedisGone);
        }
        let answer = question.await;
        let is_news = self.learn(&answer);
        answer.map_err(|error| {
            if is_news {
                tracing::warn!(error = format!("{error:#}"), "Redis cannot be used; going on without it");
            }
            RedisGone
        })
    }

    /// Opens or closes the breaker. Tells whether that changed anything.
    fn learn<T>(&self, answer: &anyhow::Result<T>) -> bool {
        if answer.is_err() {
            return self.breaker.open(Instant::now());
        }
        let is_news = self.breaker.close();
        if is_news {
            tracing::info!("Redis can be used again");
        }
        is_news
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        self.with_connection(async |redis| command.query_async(redis).await).await
    }

    async fn with_connection<T>(
        &self,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> anyhow::Result<T> {
        let mut connection = self.connection().await?;
        let answer = ask(&mut connection.redis).await;
        if answer.is_err() {
            // Those of its age are likely to be broken as well. The first failure among them condemns them all.
            let age = connection.generation;
            let _ = self.generation.compare_exchange(age, age + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(answer?)
    }

    /// A connection that was opened after the last failure.
    async fn connection(&self) -> anyhow::Result<PooledConnection<'_, Manager>> {
        loop {
            let connection = self.pool.get().await.map_err(|_| self.connect_error.take())?;
            if connection.generation == self.generation.load(Ordering::Relaxed) {
                return Ok(connection);
            }
        }
    }
}

/// As Redis wants times.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Connects as `bb8_redis` does, and also knows when a connection is of no use any more, which `bb8_redis` does not:
/// it would hand out connections to a server that has been restarted for ever.
#[derive(Debug)]
struct Manager {
    redis: RedisConnectionManager,
    /// Counts the failures that condemned the connections of their time.
    generation: Arc<AtomicU64>,
}

struct Connection {
    redis: MultiplexedConnection,
    generation: u64,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let generation = self.generation.load(Ordering::Relaxed);
        let mut redis = self.redis.connect().await?;
        redis.set_response_timeout(RESPONSE_WAIT);
        Ok(Connection { redis, generation })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        self.redis.is_valid(&mut connection.redis).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.generation != self.generation.load(Ordering::Relaxed)
    }
}

/// Why connecting failed last. Who waits for a connection is only told that none came.
#[derive(Clone, Debug, Default)]
struct ConnectError(Arc<Mutex<Option<RedisError>>>);

impl ConnectError {
    fn take(&self) -> anyhow::Error {
        let error = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map_or_else(|| anyhow::anyhow!("no connection within {POOL_WAIT:?}"), anyhow::Error::new)
    }
}

impl ErrorSink<RedisError> for ConnectError {
    fn sink(&self, error: RedisError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}

/// Keeps callers from waiting for what failed a moment ago.
#[derive(Debug)]
struct Breaker {
    born: Instant,
    /// When the next one may try, in milliseconds since birth; 0 while nothing is wrong.
    next_try: AtomicU64,
}

impl Breaker {
    fn new() -> Self {
        Self { born: Instant::now(), next_try: AtomicU64::new(0) }
    }

    /// Whether the caller may try. After a pause only one may, and the next one after another pause.
    fn lets_through(&self, now: Instant) -> bool {
        let next_try = self.next_try.load(Ordering::Relaxed);
        let due = self.milliseconds(now) >= next_try;
        let taken = || {
            let after = self.milliseconds(now + PAUSE);
            self.next_try.compare_exchange(next_try, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        next_try == 0 || (due && taken())
    }

    /// To be called after a failure. Tells whether it is the first one.
    fn open(&self, now: Instant) -> bool {
        self.next_try.swap(self.milliseconds(now + PAUSE), Ordering::Relaxed) == 0
    }

    /// To be called after a success. Tells whether it is the first one.
    fn close(&self) -> bool {
        // Mostly there is nothing to write, and reading is free.
        self.next_try.load(Ordering::Relaxed) != 0 && self.next_try.swap(0, Ordering::Relaxed) != 0
    }

    fn milliseconds(&self, moment: Instant) -> u64 {
        milliseconds(moment.saturating_duration_since(self.born))
    }
}
