//! What shops show of their catalogs to everybody alike, kept so that it need not be made anew for each visitor.
//!
//! Whole answers are kept, by what was asked: in the memory of each replica, and lists also in Redis, where the others find
//! them. What is kept belongs to a version of the catalog, which Redis knows, and every change begins a new one, so that
//! nothing has to be looked for and thrown away:
//!
//! - An answer is made from what the database says after the version was asked for, so it is never older than its version.
//! - The replica that made a change goes by the new version at once, the others within [`TRUSTED`].
//! - No replica goes back to a version before the last one it knew, should Redis have forgotten the last.
//! - Without Redis nobody knows the version, and nothing that is kept is used. A change that Redis could not be told of is
//!   told until it is heard; meanwhile this replica uses nothing that is kept of the shop.
//! - Redis forgets a version after [`KEPT`], so nothing is used for longer, whatever happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use quick_cache::Weighter;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clients::redis::Redis;
use crate::clients::redis::catalog::Version;

/// How long a version lasts if nothing is changed, and with it all answers of it.
const KEPT: Duration = Duration::from_mins(5);

/// How long this replica goes by the version that it saw. Other replicas' changes are seen that much later.
const TRUSTED: Duration = Duration::from_millis(200);

/// How long a change that Redis could not be told of waits until it is tried again.
const RETRIED: Duration = Duration::from_millis(200);

/// Of how many shops it is remembered what is known.
const SHOPS: u64 = 100_000;

/// About what an entry takes in memory beside the answer's text, in bytes.
const OVERHEAD: usize = 160;

/// The longest answer that is kept, in bytes.
const LONGEST: usize = 64 * 1024;

/// How many answers of a shop Redis keeps.
const MOST_SHARED: usize = 100;

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

/// What this replica knows of a shop's catalog.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last version, as far as this replica has heard; 0 while it has not.
    version: Version,
    /// When Redis was asked for it.
    asked: Option<Instant>,
    /// How many changes were made here, and how many of them Redis was told of.
    changes: u64,
    told: u64,
    /// Whether somebody is trying to tell it of the others.
    is_retried: bool,
}

impl Known {
    const fn is_untold(&self) -> bool {
        self.told < self.changes
    }

    fn is_trusted(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < TRUSTED)
    }

    /// What is known after Redis, when it was asked, named this version and was told of so many changes. Answers may come in
    /// another order than they were given.
    fn after(self, version: Version, asked: Instant, told: u64) -> Self {
        let heard = told.min(self.changes);
        let told = self.told.max(heard);
        if version < self.version {
            return Self { told, ..self };
        }
        Self { version, asked: self.asked.max(Some(asked)), told, ..self }
    }
}

/// How much this replica may still hand to Redis. Anybody can ask for lists that nobody asked for before, and Redis has other
/// things to keep.
#[derive(Debug)]
struct Allowance {
    bytes: u64,
    since: Instant,
    left: u64,
}

impl Allowance {
    /// Takes so many bytes of what may be handed over in the time that Redis keeps it.
    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        if now.duration_since(self.since) >= KEPT {
            (self.since, self.left) = (now, self.bytes);
        }
        let left = u64::try_from(bytes).ok().and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// The answers that are kept. Clones share them.
#[derive(Clone, Debug)]
pub struct Catalog {
    redis: Redis,
    known: Cache<Uuid, Known>,
    /// Not moka, because this is on the way of most requests: finding an answer here costs so much less that all that a
    /// request costs falls by a quarter.
    answers: Arc<quick_cache::sync::Cache<Place, Arc<RawValue>, Bytes>>,
    allowance: Arc<Mutex<Allowance>>,
    is_on: bool,
}

impl Catalog {
    /// Keeps nothing yet, and later on so many bytes in memory, and hands as many to Redis in five minutes; with 0, nothing
    /// anywhere.
    #[must_use]
    pub fn new(redis: Redis, bytes: u64) -> Self {
        // Few enough that each of the parts into which it is divided for many cores holds some of the longest.
        let about = usize::try_from(bytes).unwrap_or(usize::MAX) / (LONGEST / 8);
        let answers = Arc::new(quick_cache::sync::Cache::with_weighter(about, bytes, Bytes));
        let known = Cache::builder().max_capacity(SHOPS).time_to_live(KEPT).build();
        let allowance = Arc::new(Mutex::new(Allowance { bytes, since: Instant::now(), left: bytes }));
        Self { redis, known, answers, allowance, is_on: bytes > 0 }
    }

    /// Where the answer to a question is, or is to be kept: to be asked for before the answer is made. None when nobody knows
    /// which version of the catalog is the last.
    pub async fn place(&self, tenant: Uuid, question: Question) -> Option<Place> {
        if !self.is_on {
            return None;
        }
        let mut known = self.known.get(&tenant).unwrap_or_default();
        if !known.is_trusted() && !known.is_untold() {
            let asked = Instant::now();
            let version = self.redis.catalog_version(tenant, known.version, KEPT).await.ok()?;
            known = self.learn(tenant, |known| known.after(version, asked, 0));
        }
        (!known.is_untold()).then_some(Place { tenant, version: known.version, question })
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
        let found = String::from_utf8(found).ok().filter(|found| found.starts_with('{') && found.len() <= LONGEST)?;
        let answer: Arc<RawValue> = RawValue::from_string(found).ok()?.into();
        self.answers.insert(*place, Arc::clone(&answer));
        Some(answer)
    }

    /// Keeps an answer, a list also for other replicas. Returns it as it is kept; none if it is too long for that.
    pub async fn keep(&self, place: Place, answer: &impl Serialize, is_list: bool) -> Option<Arc<RawValue>> {
        let answer = written(answer)?;
        self.answers.insert(place, Arc::clone(&answer));
        let (text, now) = (answer.get(), Instant::now());
        if is_list && self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(text.len(), now) {
            let Place { tenant, version, question } = place;
            // When Redis is gone, which it says itself, the answer stays with this replica.
            let _ = self.redis.keep_catalog_answer(tenant, version, &question, text, MOST_SHARED).await;
        }
        Some(answer)
    }

    /// Lets go of what was kept of a shop's catalog, here and elsewhere, because that was changed.
    pub async fn changed(&self, tenant: Uuid) {
        self.learn(tenant, |known| Known { changes: known.changes + 1, ..known });
        if self.tell(tenant).await {
            return;
        }
        let mut is_first = false;
        self.learn(tenant, |known| {
            is_first = !known.is_retried;
            Known { is_retried: true, ..known }
        });
        if is_first {
            tokio::spawn(self.clone().retry(tenant));
        }
    }

    /// Tells Redis until there is nothing left to tell, for all who could not.
    async fn retry(self, tenant: Uuid) {
        while self.learn(tenant, |known| Known { is_retried: known.is_untold(), ..known }).is_retried {
            if !self.tell(tenant).await {
                tokio::time::sleep(RETRIED).await;
            }
        }
    }

    /// Tells Redis of the changes that were made here so far. False when it could not be told.
    async fn tell(&self, tenant: Uuid) -> bool {
        let (known, asked) = (self.known.get(&tenant).unwrap_or_default(), Instant::now());
        let Ok(version) = self.redis.catalog_changed(tenant, known.version, KEPT).await else { return false };
        self.learn(tenant, |now| now.after(version, asked, known.changes));
        true
    }

    /// Changes what is known of a shop, and answers it.
    fn learn(&self, tenant: Uuid, change: impl FnOnce(Known) -> Known) -> Known {
        let entry = self.known.entry(tenant);
        entry.and_upsert_with(|known| change(known.map_or_else(Known::default, moka::Entry::into_value))).into_value()
    }
}

/// An answer as JSON, unless it is too long.
fn written(answer: &impl Serialize) -> Option<Arc<RawValue>> {
    let mut room = vec![0; LONGEST];
    let mut rest = room.as_mut_slice();
    serde_json::to_writer(&mut rest, answer).ok()?;
    let left = rest.len();
    room.truncate(LONGEST - left);
    Some(RawValue::from_string(String::from_utf8(room).ok()?).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was asked before a change may be answered after it.
    #[test]
    fn a_later_version_stays() {
        let (early, late) = (Instant::now(), Instant::now() + TRUSTED);
        let known = Known::default().after(5, late, 0);
        for (version, asked, expected) in [(3, early, (5, late)), (5, early, (5, late)), (7, early, (7, late))] {
            let known = known.after(version, asked, 0);
            assert_eq!((known.version, known.asked), (expected.0, Some(expected.1)), "{version}");
        }
    }

    /// Whoever was told of two changes does not know of the third.
    #[test]
    fn changes_are_untold_until_each_was_told() {
        let now = Instant::now();
        let mut known = Known { changes: 3, ..Known::default() };
        for (told, is_untold) in [(0, true), (2, true), (3, false), (1, false)] {
            known = known.after(1, now, told);
            assert_eq!(known.is_untold(), is_untold, "{told}");
        }
        // Told by somebody who knew more, of what was forgotten since.
        assert!(Known { changes: known.changes + 1, ..known }.is_untold());
        let forgetful = Known::default().after(1, now, 3);
        assert!(Known { changes: 1, ..forgetful }.is_untold());
    }

    #[test]
    fn redis_is_handed_so_much_in_its_time() {
        let since = Instant::now();
        let mut allowance = Allowance { bytes: 100, since, left: 100 };
        let takes =
            [(60, 0, true), (50, 1, false), (40, 299, true), (1, 299, false), (100, 300, true), (1, 301, false)];
        for (bytes, seconds, is_allowed) in takes {
            let now = since + Duration::from_secs(seconds);
            assert_eq!(allowance.take(bytes, now), is_allowed, "{bytes} after {seconds} s");
        }
    }

    #[test]
    fn answers_that_are_too_long_are_not_written() {
        let of = |length: usize| written(&"x".repeat(length - 2)).map(|answer| answer.get().len());
        assert_eq!((of(10), of(LONGEST), of(LONGEST + 1)), (Some(10), Some(LONGEST), None));
    }

    /// On many cores there are many parts, and an answer must fit into one.
    #[tokio::test]
    async fn the_longest_answers_are_kept() {
        let catalog = Catalog::new(Redis::new("redis://127.0.0.1:1").unwrap(), 12 << 20);
        let answer = written(&"x".repeat(LONGEST - 2)).unwrap();
        let places = (0..40).map(|n| Place { tenant: Uuid::nil(), version: 1, question: [n; 32] }).collect::<Vec<_>>();
        for place in &places {
            catalog.answers.insert(*place, Arc::clone(&answer));
        }
        assert_eq!(places.iter().filter(|&place| catalog.answers.get(place).is_some()).count(), places.len());
        assert!(catalog.answers.weight() >= 40 * LONGEST as u64);
    }
}
