//! Sessions: what refresh tokens are checked against (RFC 9700, section 4.14.2).
//!
//! A session is a hash in Redis: whose it is, on what grounds, and the SHA-256 of the one refresh token that is good for
//! it. Every use replaces the token. One that comes a second time has been stolen, from the user or by the user, and
//! nobody can tell which: the session ends, together with its access tokens.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use uuid::Uuid;

use super::{Redis, RedisGone, milliseconds};

/// A session as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub user_id: Uuid,
    /// The user's access version when it began.
    pub version: i32,
    /// Whether a second factor was given.
    pub mfa: bool,
}

/// What came of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It was good, and the next one is good now.
    Next,
    /// It was used before. The session has ended.
    Reused,
    /// There is no such session, or none any more.
    Unknown,
}

static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('HSET', KEYS[1], 'secret', ARGV[1], 'user', ARGV[2], 'version', ARGV[3], 'mfa', ARGV[4])
         return redis.call('PEXPIRE', KEYS[1], ARGV[5])",
    )
});

/// `HSET` leaves the time at which the session ends as it is.
static ROTATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local secret = redis.call('HGET', KEYS[1], 'secret')
         if not secret then return 'unknown' end
         if secret ~= ARGV[1] then
             redis.call('DEL', KEYS[1])
             redis.call('SET', KEYS[2], 1, 'PX', ARGV[3])
             return 'reused'
         end
         redis.call('HSET', KEYS[1], 'secret', ARGV[2])
         return 'next'",
    )
});

static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('DEL', KEYS[1])
         redis.call('SET', KEYS[2], 1, 'PX', ARGV[1])
         return 1",
    )
});

static SECOND_FACTOR: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'mfa', 1) end return 1")
});

impl Redis {
    /// Begins a session that lasts this long, with the hash of its first refresh token.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: there is no session.
    pub async fn open_session(
        &self,
        tenant: Uuid,
        id: Uuid,
        session: Session,
        secret: &str,
        ttl: Duration,
    ) -> Result<(), RedisGone> {
        let mut call = OPEN.key(session_key(tenant, id));
        call.arg(secret).arg(session.user_id.to_string()).arg(session.version).arg(u8::from(session.mfa));
        call.arg(milliseconds(ttl));
        self.script(&call).await
    }

    /// The session of that id, if there is one still.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows.
    pub async fn session(&self, tenant: Uuid, id: Uuid) -> Result<Option<Session>, RedisGone> {
        let fields = ["user", "version", "mfa"];
        let values = self.run(redis::cmd("HMGET").arg(session_key(tenant, id)).arg(&fields)).await?;
        let (user, version, mfa): (Option<String>, Option<i32>, Option<u8>) = values;
        let user_id = user.and_then(|user| user.parse().ok());
        Ok(user_id.zip(version).map(|(user_id, version)| Session { user_id, version, mfa: mfa == Some(1) }))
    }

    /// Takes a refresh token's hash and puts the next one's in its place. If it was used before, the session ends, and its
    /// access tokens are known to be ended for as long as any of them could be valid.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nothing is known of the token.
    pub async fn rotate_session(
        &self,
        tenant: Uuid,
        id: Uuid,
        presented: &str,
        next: &str,
        tokens_end: Duration,
    ) -> Result<Rotated, RedisGone> {
        let mut call = ROTATE.key(session_key(tenant, id));
        call.key(ended_key(tenant, id)).arg(presented).arg(next).arg(milliseconds(tokens_end));
        let answer: String = self.script(&call).await?;
        Ok(match answer.as_str() {
            "next" => Rotated::Next,
            "reused" => Rotated::Reused,
            _ => Rotated::Unknown,
        })
    }

    /// Ends a session and its access tokens.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: the session goes on.
    pub async fn end_session(&self, tenant: Uuid, id: Uuid, tokens_end: Duration) -> Result<(), RedisGone> {
        let mut call = END.key(session_key(tenant, id));
        call.key(ended_key(tenant, id)).arg(milliseconds(tokens_end));
        self.script(&call).await
    }

    /// Notes that a second factor was given in a session.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: tokens of this session go on without.
    pub async fn session_has_second_factor(&self, tenant: Uuid, id: Uuid) -> Result<(), RedisGone> {
        self.script(&SECOND_FACTOR.key(session_key(tenant, id))).await
    }

    /// Whether a session was ended before its time.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows.
    pub async fn is_session_ended(&self, tenant: Uuid, id: Uuid) -> Result<bool, RedisGone> {
        Ok(self.get(&ended_key(tenant, id)).await?.is_some())
    }
}

/// The braces keep a shop's keys together in a cluster, where a script may only touch keys of one place.
fn session_key(tenant: Uuid, id: Uuid) -> String {
    format!("mercato:{{{tenant}}}:session:{id}")
}

fn ended_key(tenant: Uuid, id: Uuid) -> String {
    format!("mercato:{{{tenant}}}:session-ended:{id}")
}
