//! How often something may be done: quotas, and the algorithm that keeps to them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// So many units in such a time. All of them may be used at once; they come back evenly over the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    units: u32,
    seconds: u32,
}

impl Quota {
    /// So many units in so many seconds. Both count as one at least.
    #[must_use]
    pub const fn new(units: u32, seconds: u32) -> Self {
        Self { units: if units == 0 { 1 } else { units }, seconds: if seconds == 0 { 1 } else { seconds } }
    }

    /// Reads `600/m`: a number of units, and a second, minute or hour.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (units, period) = text.split_once('/')?;
        let seconds = match period.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let units = units.trim().parse().ok().filter(|units| (1..=MAX_PER_SECOND * seconds).contains(units))?;
        Some(Self { units, seconds })
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        let most = MAX_PER_SECOND.saturating_mul(self.seconds);
        Self { units: self.units.saturating_mul(factor).min(most), ..self }
    }

    /// When one unit will be there, of a quota that has refused so many and has none left.
    #[must_use]
    pub fn next_unit(self, units: u32, retry_after: Duration) -> Duration {
        retry_after.saturating_sub(Duration::from_nanos(self.time_of(units.saturating_sub(1))))
    }

    /// How many units may be used at once.
    #[must_use]
    pub const fn units(self) -> u32 {
        self.units
    }

    /// How long it takes until all of them have come back, in seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    /// The same, in nanoseconds.
    const fn period(self) -> u64 {
        self.seconds as u64 * 1_000_000_000
    }

    /// How long so many units take to come back, in nanoseconds.
    fn time_of(self, units: u32) -> u64 {
        let time = u128::from(units) * u128::from(self.period()) / u128::from(self.units);
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

/// The most units a second. Redis counts in microseconds.
const MAX_PER_SECOND: u32 = 1_000_000;

/// The quotas of those who send requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// For an address from which nobody is logged in.
    pub anonymous: Quota,
    /// For a customer.
    pub customer: Quota,
    /// For a merchant or an admin.
    pub staff: Quota,
    /// For a service account.
    pub service: Quota,
    /// For giving passwords, from one address.
    pub login: Quota,
    /// For registering shops, from one address.
    pub register: Quota,
    /// For all customers of a shop together, and for its staff and machines together.
    pub tenant: Quota,
}

/// What a quota says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the units were there. If not, none was taken.
    pub is_allowed: bool,
    /// How many are left.
    pub remaining: u32,
    /// When all will be there again.
    pub reset_after: Duration,
    /// When the request's units will be there; zero when they were, or when they never will.
    pub retry_after: Duration,
}

/// What a request was charged, and what its sender has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The quota's name.
    pub policy: &'static str,
    /// The quota.
    pub quota: Quota,
    /// How much was asked of it.
    pub units: u32,
    /// What it says.
    pub verdict: Verdict,
}

/// Where it is noted what a request was charged, for those who tell its sender. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Option<Charge>>>);

impl Meter {
    /// Notes a charge: the first one, or else one that was refused.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] when it was refused.
    pub fn charge(&self, charge: Charge) -> Result<()> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Charge { quota, units: cost, verdict: Verdict { is_allowed, retry_after, .. }, .. } = charge;
        if noted.is_none() || !is_allowed {
            *noted = Some(charge);
        }
        if is_allowed { Ok(()) } else { Err(Error::RateLimited { cost, limit: quota.units(), retry_after }) }
    }

    /// The charge, if there was one.
    #[must_use]
    pub fn get(&self) -> Option<Charge> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept of a quota that somebody uses: the moment at which all of it will be there again (the "theoretical arrival
/// time" of the generic cell rate algorithm, ITU-T I.371), in nanoseconds of whatever clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage(u64);

impl Usage {
    /// Takes so many units at this moment, all of them or none.
    ///
    /// `clients/redis/limits.rs` does the same in Lua; a test holds the two against each other.
    pub fn take(&mut self, quota: Quota, units: u32, now: u64) -> Verdict {
        let period = quota.period();
        let full_at = self.0.max(now);
        let used = full_at - now;
        let after = used.saturating_add(quota.time_of(units));
        let is_allowed = after <= period;
        let used = if is_allowed { after } else { used };
        if is_allowed {
            self.0 = now + used;
        }
        let retry_after = if is_allowed || units > quota.units { 0 } else { after - period };
        Verdict {
            is_allowed,
            remaining: remaining(quota, used),
            reset_after: Duration::from_nanos(used),
            retry_after: Duration::from_nanos(retry_after),
        }
    }

    /// Whether nothing is in use any more.
    #[must_use]
    pub const fn is_over(self, now: u64) -> bool {
        self.0 <= now
    }
}

/// How many whole units are left when this much time is in use.
fn remaining(quota: Quota, used: u64) -> u32 {
    let free = u128::from(quota.period().saturating_sub(used));
    let units = free * u128::from(quota.units) / u128::from(quota.period());
    u32::try_from(units).unwrap_or(quota.units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn quotas_are_read() {
        assert_eq!(Quota::parse("600/m"), Some(Quota::new(600, 60)));
        assert_eq!((Quota::parse("5/s"), Quota::parse(" 7 / h ")), (Some(Quota::new(5, 1)), Some(Quota::new(7, 3600))));
        for wrong in ["", "5", "5/", "/m", "0/m", "-1/m", "5/d", "1.5/m", "60000001/m", "1000001/s", "5/m/s"] {
            assert_eq!(Quota::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn all_at_once_and_then_evenly() {
        let (quota, mut usage) = (Quota::new(10, 60), Usage::default());
        for left in (0..10).rev() {
            let verdict = usage.take(quota, 1, SECOND);
            assert!(verdict.is_allowed && verdict.remaining == left, "{verdict:?}");
        }
        let refused = usage.take(quota, 1, SECOND);
        assert_eq!((refused.is_allowed, refused.remaining), (false, 0));
        assert_eq!((refused.retry_after.as_secs(), refused.reset_after.as_secs()), (6, 60));
        assert!(!usage.take(quota, 1, 7 * SECOND - 1).is_allowed);
        assert!(usage.take(quota, 1, 7 * SECOND).is_allowed);
        assert!(!usage.is_over(66 * SECOND) && usage.is_over(67 * SECOND));
    }

    #[test]
    fn what_is_larger_than_the_quota_never_fits() {
        let mut usage = Usage::default();
        let refused = usage.take(Quota::new(10, 60), 11, SECOND);
        assert_eq!((refused.is_allowed, refused.remaining, refused.retry_after), (false, 10, Duration::ZERO));
        assert_eq!(usage, Usage::default());
    }

    proptest! {
        /// Whatever is asked and when: in no stretch of time is more let through than the quota and what came back.
        #[test]
        fn never_more_than_the_quota(
            units in 1..1000_u32,
            seconds in 1..3600_u32,
            asks in prop::collection::vec((0..100 * SECOND, 1..50_u32), 1..200),
        ) {
            let (quota, mut usage, mut now) = (Quota::new(units, seconds), Usage::default(), SECOND);
            let mut taken = Vec::new();
            for (pause, cost) in asks {
                now += pause;
                let verdict = usage.take(quota, cost, now);
                prop_assert!(verdict.remaining <= units && verdict.reset_after <= Duration::from_secs(seconds.into()));
                if verdict.is_allowed {
                    taken.push((now, u128::from(cost)));
                } else if verdict.retry_after > Duration::ZERO {
                    let later = now + u64::try_from(verdict.retry_after.as_nanos()).unwrap();
                    prop_assert!(usage.clone().take(quota, cost, later).is_allowed, "told to come back too early");
                }
            }
            for (first, &(begin, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for &(end, cost) in &taken[first..] {
                    sum += cost;
                    let came_back = u128::from(end - begin) * u128::from(units) / u128::from(quota.period());
                    // One unit of rounding for each that was taken would be too many; one in all is not.
                    prop_assert!(sum <= u128::from(units) + came_back + 1, "{sum} in {}", end - begin);
                }
            }
        }
    }
}
