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

/// Which state of a catalog something belongs to. Later ones are greater, also after Redis has forgotten all it knew: it is
/// Redis's clock, in microseconds, when the catalog was changed or first asked for.
pub type Version = u64;

/// The field of the hash that holds the version. Questions are longer.
const VERSION: &str = "version";

/// The version, once a new one has begun: always, or if there is none.
static VERSION_OF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local version = redis.call('HGET', KEYS[1], 'version')
         if version and ARGV[2] == 'if none' then return version end
         local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         if version and tonumber(version) >= now then now = tonumber(version) + 1 end
         version = string.format('%.0f', now)
         redis.call('DEL', KEYS[1])
         redis.call('HSET', KEYS[1], 'version', version)
         redis.call('PEXPIRE', KEYS[1], ARGV[1])
         return version",
    )
});

/// Keeps an answer, if the catalog is still of its version and there is room.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'version') == ARGV[1]
             and redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[4]) then
             redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
         end
         return 1",
    )
});

impl Redis {
    /// The version that a shop's catalog has now. The first to ask begins one, and what is kept of it lasts for `ttl`.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows.
    pub async fn catalog_version(&self, tenant: Uuid, ttl: Duration) -> Result<Version, RedisGone> {
        self.version(tenant, ttl, "if none").await
    }

    /// Tells all replicas that a shop's catalog was changed, and does away with what they keep of it. Answers the new version.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody was told.
    pub async fn catalog_changed(&self, tenant: Uuid, ttl: Duration) -> Result<Version, RedisGone> {
        self.version(tenant, ttl, "always").await
    }

    async fn version(&self, tenant: Uuid, ttl: Duration, when: &str) -> Result<Version, RedisGone> {
        self.script(VERSION_OF.key(key(tenant)).arg(milliseconds(ttl)).arg(when)).await
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

    /// Keeps an answer for all replicas, if the catalog is still of this version and fewer than `most` are kept.
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
        self.script(KEEP.key(key(tenant)).arg(version).arg(question).arg(answer).arg(most)).await
    }
}

fn key(tenant: Uuid) -> String {
    format!("mercato:{{{tenant}}}:catalog")
}
