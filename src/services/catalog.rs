//! What shops show of their catalogs to everybody alike, kept so that it need not be made anew for each visitor.
//!
//! Whole answers are kept, by what was asked: in the memory of each replica, and lists also in Redis, where the others find
//! them. What is kept belongs to a version of the catalog, which Redis knows, and every change begins a new one, so that
//! nothing has to be looked for and thrown away:
//!
//! - An answer is made from what the database says after the version was asked for, so it is never older than its version.
//! - The replica that made a change goes by the new version at once, the others after [`TRUSTED`] at most.
//! - Without Redis nobody knows the version, and nothing that is kept is used. A change that Redis could not be told of is
//!   made known before this replica uses anything again.
//! - Redis forgets a version after [`KEPT`], so nothing is used for longer, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use quick_cache::Weighter;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clients::redis::Redis;
use crate::clients::redis::catalog::Version;

/// How long a version lasts if nothing is changed, and with it all answers of it.
const KEPT: Duration = Duration::from_mins(5);

/// How long this replica goes by the version that it saw. Other replicas' changes are seen that much later.
const TRUSTED: Duration = Duration::from_millis(200);

/// How many shops' versions are remembered.
const SHOPS: u64 = 100_000;

/// About what an entry takes in memory beside the answer's text, in bytes.
const OVERHEAD: usize = 160;

/// The longest answer that is kept, in bytes.
const LONGEST: usize = 64 * 1024;

/// How many answers of a shop Redis keeps. With the longest, that is six megabytes.
const SHARED: usize = 100;

/// What is asked of a catalog, and how: the SHA-256 of all that decides on the answer.
pub type Question = [u8; 32];

/// An answer's place: the shop, the version of its catalog, and the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    tenant: Uuid,
    version: Version,
    question: Question,
}

/// Weighs answers by the memory that they take.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Place, Arc<RawValue>> for Bytes {
    fn weight(&self, _: &Place, answer: &Arc<RawValue>) -> u64 {
        u64::try_from(answer.get().len().saturating_add(OVERHEAD)).unwrap_or(u64::MAX)
    }
}

/// The answers that are kept. Clones share them.
#[derive(Clone, Debug)]
pub struct Catalog {
    redis: Redis,
    versions: Cache<Uuid, Version>,
    /// Shops whose changes Redis could not be told of.
    untold: Cache<Uuid, ()>,
    /// Not moka, because this is on the way of most requests: finding an answer here costs so much less that all that a
    /// request costs falls by a quarter.
    answers: Arc<quick_cache::sync::Cache<Place, Arc<RawValue>, Bytes>>,
    is_on: bool,
}

impl Catalog {
    /// Keeps nothing yet, and later on so many bytes in memory; with 0, nothing anywhere.
    #[must_use]
    pub fn new(redis: Redis, bytes: u64) -> Self {
        let about = usize::try_from(bytes / 1024).unwrap_or(usize::MAX);
        let answers = Arc::new(quick_cache::sync::Cache::with_weighter(about, bytes, Bytes));
        let versions = Cache::builder().max_capacity(SHOPS).time_to_live(TRUSTED).build();
        let untold = Cache::builder().time_to_live(KEPT).build();
        Self { redis, versions, untold, answers, is_on: bytes > 0 }
    }

    /// Where the answer to a question is, or is to be kept: to be asked for before the answer is made. None when nobody knows
    /// which version of the catalog is the last.
    pub async fn place(&self, tenant: Uuid, question: Question) -> Option<Place> {
        if !self.is_on {
            return None;
        }
        let version = match self.versions.get(&tenant) {
            Some(version) => version,
            None if self.untold.contains_key(&tenant) => self.changed(tenant).await?,
            None => self.learn(tenant, self.redis.catalog_version(tenant, KEPT).await.ok()?),
        };
        Some(Place { tenant, version, question })
    }

    /// The answer that is kept there; of lists also what another replica keeps.
    pub async fn find(&self, place: &Place, is_list: bool) -> Option<Arc<RawValue>> {
        if let Some(answer) = self.answers.get(place) {
            return Some(answer);
        }
        if !is_list {
            // PostgreSQL finds it as fast as Redis would.
            return None;
        }
        let found = self.redis.catalog_answer(place.tenant, place.version, &place.question).await.ok().flatten()?;
        // What others may write to is not taken at its word.
        let answer: Arc<RawValue> = RawValue::from_string(String::from_utf8(found).ok()?).ok()?.into();
        self.answers.insert(*place, Arc::clone(&answer));
        Some(answer)
    }

    /// Keeps an answer, unless it is too long; a list also for other replicas.
    pub async fn keep(&self, place: Place, answer: &Arc<RawValue>, is_list: bool) {
        if answer.get().len() > LONGEST {
            return;
        }
        self.answers.insert(place, Arc::clone(answer));
        if is_list {
            let Place { tenant, version, question } = place;
            // When Redis is gone, which it says itself, the answer stays with this replica.
            let _ = self.redis.keep_catalog_answer(tenant, version, &question, answer.get(), SHARED).await;
        }
    }

    /// Lets go of what was kept of a shop's catalog, here and elsewhere, because that was changed. Answers the new version, if
    /// Redis could be told.
    pub async fn changed(&self, tenant: Uuid) -> Option<Version> {
        let Ok(version) = self.redis.catalog_changed(tenant, KEPT).await else {
            self.untold.insert(tenant, ());
            self.versions.invalidate(&tenant);
            return None;
        };
        self.untold.invalidate(&tenant);
        Some(self.learn(tenant, version))
    }

    /// Remembers a version, unless a later one has become known meanwhile. Answers the later one.
    fn learn(&self, tenant: Uuid, version: Version) -> Version {
        let later = self.versions.entry(tenant).and_compute_with(|known| match known {
            Some(known) if *known.value() > version => Op::Nop,
            _ => Op::Put(version),
        });
        later.into_entry().map_or(version, moka::Entry::into_value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was asked before a change may be answered after it.
    #[tokio::test]
    async fn a_later_version_stays() {
        let catalog = Catalog::new(Redis::new("redis://127.0.0.1:1").unwrap(), 1 << 20);
        let (tenant, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(
            [(tenant, 5), (tenant, 3), (tenant, 7), (other, 1)].map(|(id, version)| catalog.learn(id, version)),
            [5, 5, 7, 1]
        );
    }
}
