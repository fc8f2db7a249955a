//! Guessing passwords: few times for each account and address, without letting anybody lock an account's owner out.
//!
//! An attempt is counted before the password is looked at, so that a thousand at once are no more than one after the
//! other, and forgiven when the password was right. An account that is guessed at from everywhere is still open to one
//! attempt from each address: its owner gets in, and a guesser needs an address for every guess.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::clients::redis::limits::Take;
use crate::domain::limits::Quota;
use crate::services::Services;
use crate::services::limits::{network, site};
use crate::telemetry::metrics::Outcome;

/// For an account, from one address: ten times, and once more every minute.
const FROM_ONE_ADDRESS: Quota = Quota::new(10, 600);

/// For an account, from everywhere: a hundred times, and once more every minute.
const FROM_EVERYWHERE: Quota = Quota::new(100, 6000);

/// Beyond that, from an address, or from a site of IPv6: once, and once more every ten minutes.
const BEYOND: Quota = Quota::new(1, 600);

/// Somebody gives a password.
pub struct Attempt {
    keys: [String; 3],
    /// Whether the password may be looked at.
    pub is_allowed: bool,
}

impl Attempt {
    /// Counts one for this account, which need not exist.
    pub async fn begin(services: &Services, account: &[&str], address: IpAddr) -> Self {
        // Of the account a hash, because it has an e-mail address. The braces keep its keys together in a cluster.
        let account = hex::encode(Sha256::digest(account.join("\n")));
        let (account, network) = (format!("mercato:{{{account}}}:password"), network(address));
        let keys = [format!("{account}:{network}"), account.clone(), format!("{account}:beyond:{}", site(address))];
        let take = |key: &String, quota| Take { key: key.clone(), quota, units: 1, ahead: 0 };
        let takes = [take(&keys[0], FROM_ONE_ADDRESS), take(&keys[1], FROM_EVERYWHERE)];
        let verdicts = services.limits.take(&takes).await;
        let is_allowed = match verdicts.as_slice() {
            [one, everywhere] if one.is_allowed && !everywhere.is_allowed => {
                let verdicts = services.limits.take(&[take(&keys[2], BEYOND)]).await;
                verdicts.iter().all(|verdict| verdict.is_allowed)
            }
            verdicts => verdicts.iter().all(|verdict| verdict.is_allowed),
        };
        Self { keys, is_allowed }
    }

    /// What came of it.
    #[must_use]
    pub const fn outcome(&self, is_right: bool) -> Outcome {
        match (is_right, self.is_allowed) {
            (true, _) => Outcome::Accepted,
            (false, true) => Outcome::Refused,
            (false, false) => Outcome::Throttled,
        }
    }

    /// The password was right.
    pub async fn succeeded(self, services: &Services) {
        for key in &self.keys {
            services.limits.forgive(key).await;
        }
    }
}
