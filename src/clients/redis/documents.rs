//! Texts of persisted queries that all replicas share.
//!
//! Anybody may register one, so there are never more than so many: whoever floods them pushes out texts, which clients send
//! again, and nothing else.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::{Redis, RedisGone, milliseconds};

/// How many texts are kept. With the longest that are shared, that is 16 MiB.
pub const KEPT: usize = 2_000;

/// Writes a text, notes when, and lets go of the oldest beyond what is kept.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
         redis.call('ZADD', KEYS[1], time[1] * 1000000 + time[2], KEYS[2])
         redis.call('PEXPIRE', KEYS[1], ARGV[2])
         local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
         if over > 0 then
             local oldest = redis.call('ZPOPMIN', KEYS[1], over)
             for i = 1, #oldest, 2 do redis.call('DEL', oldest[i]) end
         end
         return 1",
    )
});

impl Redis {
    /// The text with this hash, in hexadecimal digits, if it is kept.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows.
    pub async fn document(&self, hash: &str) -> Result<Option<Vec<u8>>, RedisGone> {
        self.get(&key(hash)).await
    }

    /// Keeps a text for this long, or until so many others have come.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: it is not kept.
    pub async fn keep_document(&self, hash: &str, text: &str, ttl: Duration, most: usize) -> Result<(), RedisGone> {
        let mut call = KEEP.key("mercato:{apq}:index");
        call.key(key(hash)).arg(text).arg(milliseconds(ttl)).arg(most);
        self.script(&call).await
    }
}

/// The braces keep all of them together in a cluster, where a script may only touch keys of one place.
fn key(hash: &str) -> String {
    format!("mercato:{{apq}}:text:{hash}")
}
