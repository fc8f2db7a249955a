//! Whether a token's user may still come in: what ends access before tokens do.
//!
//! The truth is a number in the user's row, which the database itself raises with every change of password, role or
//! standing. Tokens carry the number of their time. So that not every request asks the database, the number is kept in
//! Redis for some seconds and in memory for one: that, and no more, is how long an ended token can live on. Without Redis
//! the database is asked, once a second for each user who is there.

use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

use crate::clients::redis::{Redis, RedisGone};
use crate::db::{Db, users};
use crate::domain::auth::Grant;
use crate::error::{Error, Result};

/// How long this replica goes by what it saw.
const IN_MEMORY: Duration = Duration::from_secs(1);

/// How long all replicas go by what one of them saw, unless they are told of a change.
const IN_REDIS: Duration = Duration::from_secs(5);

/// How many users' and sessions' standings are remembered.
const REMEMBERED: u64 = 100_000;

/// Knows whose access has ended. Clones share what they remember.
#[derive(Clone)]
pub struct Access {
    db: Db,
    redis: Redis,
    /// By shop and user: a user of one shop is nobody in another.
    versions: Cache<(Uuid, Uuid), Option<i32>>,
    ended: Cache<Uuid, bool>,
}

impl Access {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(db: Db, redis: Redis) -> Self {
        let versions = Cache::builder().max_capacity(REMEMBERED).time_to_live(IN_MEMORY).build();
        let ended = Cache::builder().max_capacity(REMEMBERED).time_to_live(IN_MEMORY).build();
        Self { db, redis, versions, ended }
    }

    /// Refuses a token whose session, or whose user's access, has ended.
    pub async fn check(&self, grant: &Grant) -> Result<()> {
        const ENDED: Error = Error::Unauthenticated("the token is not valid, or no longer; log in again");
        let (tenant, user) = (grant.tenant_id, grant.user_id);
        let mut version = self.version(tenant, user).await?;
        if version < Some(grant.version) {
            // The token is of after a change, and what is remembered of before it.
            version = self.asked(tenant, user).await?;
        }
        if version != Some(grant.version) || self.has_ended(grant).await {
            return Err(ENDED);
        }
        Ok(())
    }

    /// Tells this and all other replicas, if Redis is there, that a user's access was changed.
    pub async fn changed(&self, tenant: Uuid, user: Uuid) {
        self.versions.invalidate(&(tenant, user));
        // Others see it as soon as what they know is old.
        let _: Result<(), RedisGone> = self.redis.delete(&version_key(tenant, user)).await;
    }

    /// What a session's end is to this replica.
    pub fn session_ended(&self, session: Uuid) {
        self.ended.insert(session, true);
    }

    async fn version(&self, tenant: Uuid, user: Uuid) -> Result<Option<i32>> {
        if let Some(version) = self.versions.get(&(tenant, user)) {
            return Ok(version);
        }
        let shared = self.redis.get(&version_key(tenant, user)).await.ok().flatten();
        let shared = shared.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
        if shared.is_none() {
            return self.asked(tenant, user).await;
        }
        self.versions.insert((tenant, user), shared);
        Ok(shared)
    }

    /// The version that the database knows, which everybody is told.
    async fn asked(&self, tenant: Uuid, user: Uuid) -> Result<Option<i32>> {
        let tx = self.db.tenant_read(tenant).await?;
        let version = users::access_version(&tx, user).await?;
        tx.commit().await?;
        if let Some(version) = version {
            let key = version_key(tenant, user);
            let _: Result<(), RedisGone> = self.redis.set(&key, version.to_string().as_bytes(), IN_REDIS).await;
        }
        self.versions.insert((tenant, user), version);
        Ok(version)
    }

    /// Without Redis nobody knows, and the token ends with its hour.
    async fn has_ended(&self, grant: &Grant) -> bool {
        if let Some(ended) = self.ended.get(&grant.session_id) {
            return ended;
        }
        let ended = self.redis.is_session_ended(grant.tenant_id, grant.session_id).await.unwrap_or(false);
        self.ended.insert(grant.session_id, ended);
        ended
    }
}

fn version_key(tenant: Uuid, user: Uuid) -> String {
    format!("mercato:{{{tenant}}}:access:{user}")
}
