//! Quotas that all replicas share.
//!
//! One script looks at all quotas that a request counts for and takes from all of them or from none. It goes by the clock
//! of Redis, so that replicas whose clocks differ agree.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::{Redis, RedisGone};
use crate::domain::limits::{Quota, Verdict};

/// What is to be taken from one quota.
#[derive(Clone, Debug)]
pub struct Take {
    /// Whose quota it is.
    pub key: String,
    /// How much there is.
    pub quota: Quota,
    /// How much is needed.
    pub units: u32,
    /// How much more to take for requests that are about to come, if more than half of the quota is left after it.
    pub ahead: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What the quota says.
    pub verdict: Verdict,
    /// How much more was taken.
    pub ahead: u32,
}

/// The generic cell rate algorithm, as `domain/limits.rs` has it, in microseconds since a moment in 2023: a double has
/// room for fractions of one then.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = (time[1] - 1700000000) * 1000000 + time[2]
         local used, after, allowed = {}, {}, true
         for i = 1, #KEYS do
             local units, period, cost = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 2]), tonumber(ARGV[i * 4 - 1])
             used[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or 0) - now, 0)
             after[i] = used[i] + cost * period / units
             if after[i] > period then allowed = false end
         end
         local answer = {}
         for i = 1, #KEYS do
             local units, period, cost = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 2]), tonumber(ARGV[i * 4 - 1])
             local more, wait, fits = 0, 0, after[i] <= period
             if allowed then
                 used[i] = after[i]
                 local with_more = used[i] + tonumber(ARGV[i * 4]) * period / units
                 if with_more <= period / 2 then
                     more = tonumber(ARGV[i * 4])
                     used[i] = with_more
                 end
                 redis.call('SET', KEYS[i], string.format('%.3f', now + used[i]), 'PX', math.ceil(used[i] / 1000) + 1)
             elseif not fits and cost <= units then
                 wait = math.ceil(after[i] - period)
             end
             answer[i] = { fits and 1 or 0, math.floor(math.max(period - used[i], 0) * units / period),
                           math.ceil(used[i]), wait, more }
         end
         return answer",
    )
});

impl Redis {
    /// Takes from all of these quotas, or from none. Their keys must be of one place in a cluster.
    ///
    /// # Errors
    ///
    /// [`RedisGone`]: nobody knows what is left.
    pub async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, RedisGone> {
        let mut call = TAKE.prepare_invoke();
        for Take { key, quota, units, ahead } in takes {
            let period = u64::from(quota.seconds()) * 1_000_000;
            call.key(key).arg(quota.units()).arg(period).arg(*units).arg(*ahead);
        }
        let answers: Vec<(u8, u32, u64, u64, u32)> = self.script(&call).await?;
        let taken = |(fits, remaining, used, wait, ahead)| Taken {
            verdict: Verdict {
                is_allowed: fits == 1,
                remaining,
                reset_after: Duration::from_micros(used),
                retry_after: Duration::from_micros(wait),
            },
            ahead,
        };
        Ok(answers.into_iter().map(taken).collect())
    }
}
