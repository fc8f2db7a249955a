//! How much of everybody's quota is left: shared by all replicas through Redis, and kept by each for itself without.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use uuid::Uuid;

use crate::clients::redis::Redis;
use crate::clients::redis::limits::{Take, Taken};
use crate::domain::actor::{Actor, Caller, Role};
use crate::domain::limits::{Charge, Meter, Quota, Quotas, Usage, Verdict};
use crate::error::Result;

/// Who is busy asks Redis once for so many requests: a part of the quota is taken ahead for a moment, and what is left of
/// it then is lost. So limits are never exceeded, and a flood does not become one of Redis.
const AHEAD_OF: u32 = 64;

/// For how long what was taken ahead counts.
const LEASE: Duration = Duration::from_secs(1);

/// How many quotas are remembered at a time.
const REMEMBERED: u64 = 100_000;

/// Knows what is left. Clones share it.
#[derive(Clone)]
pub struct Limits {
    redis: Redis,
    /// None when requests are not limited.
    quotas: Option<Quotas>,
    /// What was taken ahead.
    leases: Cache<String, Arc<Mutex<Lease>>>,
    /// What this replica knows of quotas while Redis is gone.
    own: Cache<String, Arc<Mutex<Usage>>>,
    /// Quotas of which nothing was left, and when something will be.
    used_up: Cache<String, (Charge, Instant)>,
    /// When something will be of each of these, in nanoseconds since the birth of this.
    used_up_until: Arc<AtomicU64>,
    born: Instant,
}

/// What is left of what was taken ahead.
#[derive(Default)]
struct Lease {
    units: u32,
    /// Whether somebody is about to bring more.
    is_asked_for: bool,
    /// What Redis said last.
    remaining: u32,
    reset_after: Duration,
}

impl Limits {
    /// Nothing is used yet, as far as this replica knows.
    #[must_use]
    pub fn new(redis: Redis, quotas: Option<Quotas>) -> Self {
        let leases = Cache::builder().max_capacity(REMEMBERED).time_to_live(LEASE).build();
        // No quota takes longer to come back.
        let own = Cache::builder().max_capacity(REMEMBERED).time_to_idle(Duration::from_hours(1)).build();
        let used_up = Cache::builder().max_capacity(REMEMBERED).time_to_live(Duration::from_mins(1)).build();
        Self { redis, quotas, leases, own, used_up, used_up_until: Arc::default(), born: Instant::now() }
    }

    /// Charges a request to its caller's quota, and to the shop's.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] when one of them is used up: then neither was charged.
    pub async fn charge(&self, caller: &Caller, cost: u32) -> Result<()> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        self.take_of(dues(quotas, caller, cost), &caller.meter).await
    }

    /// Refuses a caller of whose quota nothing was left a moment ago, before anything is done for it.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`], until a unit has come back.
    pub fn check(&self, caller: &Caller) -> Result<()> {
        match &self.quotas {
            // Mostly there is nobody.
            Some(quotas) if self.used_up_until.load(Ordering::Relaxed) > self.now() => {
                self.check_dues(dues(quotas, caller, 1), &caller.meter)
            }
            _ => Ok(()),
        }
    }

    /// Charges a request that is refused before anybody knows its cost: finding that out is not free either.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`], as for any other.
    pub async fn charge_malformed(&self, caller: &Caller) -> Result<()> {
        const REFUSED: u32 = 10;
        self.charge(caller, REFUSED).await
    }

    /// Charges an address for a request whose sender turned out not to be who it said.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] when its quota is used up.
    pub async fn charge_stranger(&self, address: IpAddr, meter: &Meter) -> Result<()> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        self.take_of(of_address(STRANGER, quotas.anonymous, address, 1), meter).await
    }

    /// Refuses an address that has lately been refused by [`Self::charge_stranger`], before anything is looked up for it.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`], until a unit of its quota has come back.
    pub fn check_stranger(&self, address: IpAddr, meter: &Meter) -> Result<()> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        self.check_dues(of_address(STRANGER, quotas.anonymous, address, 1), meter)
    }

    /// Charges the caller's address for a shop that it registers: every shop brings quotas of its own.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] when its quota is used up.
    pub async fn charge_registration(&self, caller: &Caller) -> Result<()> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        self.take_of(of_address(REGISTER, quotas.register, caller.address, 1), &caller.meter).await
    }

    /// Charges the caller's address for a password that it gives, because looking at one is dear.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] when its quota is used up.
    pub async fn charge_password(&self, caller: &Caller) -> Result<()> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        self.take_of(of_address(LOGIN, quotas.login, caller.address, 1), &caller.meter).await
    }

    /// Takes from all of these quotas, or from none.
    async fn take_of(&self, dues: Vec<Due>, meter: &Meter) -> Result<()> {
        let (policies, mut takes): (Vec<_>, Vec<_>) = dues.into_iter().unzip();
        let verdicts = match self.leased(&mut takes) {
            Some(verdicts) => verdicts,
            None => self.take_ahead(&takes).await,
        };
        policies.into_iter().zip(takes).zip(verdicts).try_for_each(|((policy, take), verdict)| {
            let charge = Charge { policy, quota: take.quota, units: take.units, verdict };
            if !verdict.is_allowed && verdict.remaining == 0 {
                let next = take.quota.next_unit(take.units, verdict.retry_after);
                self.used_up.insert(take.key, (charge, Instant::now() + next));
                self.used_up_until.fetch_max(self.now().saturating_add(nanoseconds(next)), Ordering::Relaxed);
            }
            meter.charge(charge)
        })
    }

    /// Refuses for what is known to be used up.
    fn check_dues(&self, dues: Vec<Due>, meter: &Meter) -> Result<()> {
        dues.iter().try_for_each(|(_, take)| {
            let Some((mut charge, until)) = self.used_up.get(&take.key) else { return Ok(()) };
            charge.units = take.units;
            charge.verdict.retry_after = until.saturating_duration_since(Instant::now());
            if charge.verdict.retry_after.is_zero() { Ok(()) } else { meter.charge(charge) }
        })
    }

    /// Takes all of it from what was taken ahead. Otherwise, when this is not the first request within a moment, one of
    /// those that come now takes more ahead.
    fn leased(&self, takes: &mut [Take]) -> Option<Vec<Verdict>> {
        let leases: Vec<_> = takes.iter().map(|take| self.leases.get(&take.key)).collect();
        {
            let mut held: Vec<_> = leases.iter().flatten().map(|lease| lock(lease)).collect();
            let suffices = held.iter().zip(takes.iter()).all(|(lease, take)| lease.units >= take.units);
            if suffices && held.len() == takes.len() {
                return Some(held.iter_mut().zip(takes).map(|(lease, take)| lease.take(take.units)).collect());
            }
        }
        for (take, lease) in takes.iter_mut().zip(&leases) {
            let Some(mut lease) = lease.as_deref().map(lock) else { continue };
            if lease.units < take.units && !lease.is_asked_for {
                lease.is_asked_for = true;
                take.ahead = take.quota.units() / AHEAD_OF;
            }
        }
        None
    }

    /// Takes from all of these quotas, or from none, and keeps what was taken ahead.
    async fn take_ahead(&self, takes: &[Take]) -> Vec<Verdict> {
        let taken = self.take_anywhere(takes).await;
        for (take, Taken { verdict, ahead }) in takes.iter().zip(&taken) {
            let lease = self.leases.get_with_by_ref(&take.key, Arc::default);
            let mut lease = lock(&lease);
            lease.remaining = verdict.remaining;
            lease.reset_after = verdict.reset_after;
            if take.ahead > 0 {
                lease.units += ahead;
                lease.is_asked_for = false;
            }
        }
        taken.into_iter().map(|taken| taken.verdict).collect()
    }

    /// Takes from all of these quotas, or from none.
    pub async fn take(&self, takes: &[Take]) -> Vec<Verdict> {
        self.take_anywhere(takes).await.into_iter().map(|taken| taken.verdict).collect()
    }

    async fn take_anywhere(&self, takes: &[Take]) -> Vec<Taken> {
        let Ok(taken) = self.redis.take(takes).await else {
            let here = self.take_here(takes).into_iter();
            return here.map(|verdict| Taken { verdict, ahead: 0 }).collect();
        };
        if taken.iter().all(|taken| taken.verdict.is_allowed) {
            // Should Redis go, nobody begins with a fresh quota.
            let with_ahead = takes.iter().zip(&taken);
            let with_ahead = with_ahead.map(|(take, taken)| Take { units: take.units + taken.ahead, ..take.clone() });
            self.take_here(&with_ahead.collect::<Vec<_>>());
        }
        taken
    }

    /// The same, as far as this replica knows.
    fn take_here(&self, takes: &[Take]) -> Vec<Verdict> {
        let now = self.now();
        let usages: Vec<_> = takes.iter().map(|take| self.own.get_with(take.key.clone(), Arc::default)).collect();
        let mut held: Vec<_> = usages.iter().map(|usage| lock(usage)).collect();
        let mut after: Vec<Usage> = held.iter().map(|usage| **usage).collect();
        let verdicts = after.iter_mut().zip(takes).map(|(usage, take)| usage.take(take.quota, take.units, now));
        let verdicts: Vec<_> = verdicts.collect();
        if verdicts.iter().all(|verdict| verdict.is_allowed) {
            held.iter_mut().zip(after).for_each(|(held, after)| **held = after);
        }
        verdicts
    }

    /// Nanoseconds since the birth of this.
    fn now(&self) -> u64 {
        nanoseconds(self.born.elapsed())
    }

    /// Gives a quota back whole.
    pub async fn forgive(&self, key: &str) {
        self.own.invalidate(key);
        // Without Redis there is nothing to forget there.
        let _ = self.redis.delete(key).await;
    }
}

/// A quota's name, and what to take of it.
type Due = (&'static str, Take);

/// The class of those who are not logged in.
const ANONYMOUS: &str = "anonymous";
/// The class of those who turn out not to be who they say. It has as much as they had before.
const STRANGER: &str = "stranger";
/// The class of those who give passwords.
const LOGIN: &str = "login";
/// The class of those who open shops.
const REGISTER: &str = "register";

/// Whom a request is charged to.
fn dues(quotas: &Quotas, caller: &Caller, units: u32) -> Vec<Due> {
    let (Actor::User { id, role }, Some(tenant)) = (caller.actor, &caller.tenant) else {
        return of_address(ANONYMOUS, quotas.anonymous, caller.address, units);
    };
    // Everybody can become a customer: what they use up together is not the staff's.
    let (class, quota, together) = match role {
        _ if caller.scopes.is_some() => ("service", quotas.service, "staff"),
        Role::Customer => ("customer", quotas.customer, "customers"),
        Role::Merchant | Role::Admin => ("staff", quotas.staff, "staff"),
    };
    let take = |whose: &str, quota| Take { key: format!("{}:{whose}", tenant_key(tenant.id)), quota, units, ahead: 0 };
    vec![(class, take(&id.to_string(), quota)), ("tenant", take(together, quotas.tenant))]
}

/// How many networks' worth a site of IPv6 may use.
const SITE: u32 = 16;

/// Of an address of IPv6, its network is charged and, because one customer of a provider can have thousands of those, its site.
/// The braces keep their keys together in a cluster.
fn of_address(class: &'static str, quota: Quota, address: IpAddr, units: u32) -> Vec<Due> {
    let (network, site) = (network(address), site(address));
    let take =
        |whose: &str, quota| Take { key: format!("mercato:{{{site}}}:limit:{class}{whose}"), quota, units, ahead: 0 };
    let own = (class, take(&format!(":{network}"), quota));
    match network {
        IpAddr::V4(_) => vec![own],
        IpAddr::V6(_) => vec![own, (class, take("", quota.times(SITE)))],
    }
}

impl Lease {
    fn take(&mut self, units: u32) -> Verdict {
        self.units = self.units.saturating_sub(units);
        let remaining = self.remaining.saturating_add(self.units);
        Verdict { is_allowed: true, remaining, reset_after: self.reset_after, retry_after: Duration::ZERO }
    }
}

/// An address as far as limits tell them apart: of IPv6, the network of 64 bits that one customer of a provider has at least.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    masked(address, 64)
}

/// The most that one customer of a provider has, as a rule: of IPv6, 48 bits (RFC 6177).
#[must_use]
pub fn site(address: IpAddr) -> IpAddr {
    masked(address, 48)
}

fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What keys of a shop's quotas begin with. The braces keep them together in a cluster.
#[must_use]
pub fn tenant_key(tenant: Uuid) -> String {
    format!("mercato:{{{tenant}}}:limit")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
