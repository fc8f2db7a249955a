//! What all replicas keep of a shop's catalog, as long as nobody changes it.
//!
//! It is one hash: the version of the catalog, and answers by the question. Whoever changes the catalog does away with the
//! hash and begins a new one of a later version, so nothing that is found beside a version was made of an earlier catalog.
//! The hash lives for some minutes, however often it is used. Anybody may ask questions, so it holds so many answers, and no
//! more.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use uuid::Uuid;

use super::{Redis, RedisGone, milliseconds};

/// Which state of a catalog something belongs to. Later ones are greater: it is Redis's clock, in microseconds, when the
/// catalog was changed or first asked for, or one more than the last that is known, should the clock be behind that.
pub type Version = u64;

/// The field of the hash that holds the version. Questions are longer.
const VERSION: &str = "version";

/// The version, once a new one has begun: if it was changed, or if there is none, or only one before the last that is known.
static VERSION_OF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local known, is_changed = tonumber(ARGV[2]), ARGV[3] == '1'
         local version = tonumber(redis.call('HGET', KEYS[1], ARGV[4])) or 0
         if version > 0 and version >= known and not is_changed then return string.format('%.0f', version) end
         local time = redis.call('TIME')
         version = string.format('%.0f', math.max(time[1] * 1000000 + time[2], version + 1, known + 1))
         redis.call('DEL', KEYS[1])
         redis.call('HSET', KEYS[1], ARGV[4], version)
         redis.call('PEXPIRE', KEYS[1], ARGV[1])
         return version",
    )
});

/// Keeps an answer, if the catalog is still of its version: in place of another one, if there are many. Where Redis has no
/// room left it is not kept, and that is no failure.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], ARGV[5]) ~= ARGV[1] then return end
         if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
             local other = redis.call('HRANDFIELD', KEYS[1])
             if other == ARGV[5] then return end
             redis.call('HDEL', KEYS[1], other)
         end
         redis.pcall('HSET', KEYS[1], ARGV[2], ARGV[3])",
    )
});

impl Redis {
    /// The version that a shop's catalog has now, which is none before the last that is `known`. The first to ask begins one,
    /// and what is kept of it lasts for `ttl`.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows.
    pub async fn catalog_version(&self, tenant: Uuid, known: Version, ttl: Duration) -> Result<Version, RedisGone> {
        self.version(tenant, known, ttl, false).await
    }

    /// Tells all replicas that a shop's catalog was changed, and does away with what they keep of it. Answers the new version,
    /// which is later than the last that is `known`.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody was told.
    pub async fn catalog_changed(&self, tenant: Uuid, known: Version, ttl: Duration) -> Result<Version, RedisGone> {
        self.version(tenant, known, ttl, true).await
    }

    async fn version(
        &self,
        tenant: Uuid,
        known: Version,
        ttl: Duration,
        is_changed: bool,
    ) -> Result<Version, RedisGone> {
        let ttl = milliseconds(ttl);
        self.script(VERSION_OF.key(key(tenant)).arg(ttl).arg(known).arg(u8::from(is_changed)).arg(VERSION)).await
    }

    /// The answer to this question, if it was kept of the version that the catalog has now.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows.
    pub async fn catalog_answer(
        &self,
        tenant: Uuid,
        version: Version,
        question: &[u8],
    ) -> Result<Option<Vec<u8>>, RedisGone> {
        let found = redis::cmd("HMGET").arg(key(tenant)).arg(VERSION).arg(question).take();
        let (now, answer): (Option<Version>, Option<Vec<u8>>) = self.run(&found).await?;
        Ok(answer.filter(|_| now == Some(version)))
    }

    /// Keeps an answer for all replicas, if the catalog is still of this version. Of more than `most` any one is dropped.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: it is not kept.
    pub async fn keep_catalog_answer(
        &self,
        tenant: Uuid,
        version: Version,
        question: &[u8],
        answer: &str,
        most: usize,
    ) -> Result<(), RedisGone> {
        self.script(KEEP.key(key(tenant)).arg(version).arg(question).arg(answer).arg(most).arg(VERSION)).await
    }
}

fn key(tenant: Uuid) -> String {
    format!("mercato:{{{tenant}}}:catalog")
}
