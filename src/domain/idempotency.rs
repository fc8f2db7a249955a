//! The header `Idempotency-Key`: a request that is sent again is not done again
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// The longest key that is taken, in characters.
const MAX_LENGTH: usize = 255;

/// A client's key, and whether its request had been answered before.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    key: Arc<str>,
    replayed: Arc<AtomicBool>,
}

impl IdempotencyKey {
    /// Reads the header's value: 1 to 255 visible ASCII characters.
    pub fn parse(value: &str) -> Result<Self> {
        if !(1..=MAX_LENGTH).contains(&value.len()) || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("must be sent once, with 1 to {MAX_LENGTH} visible ASCII characters, like a UUID");
            return Err(Error::field("Idempotency-Key", message));
        }
        Ok(Self { key: value.into(), replayed: Arc::default() })
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Notes that the answer is one that was given before.
    pub fn set_replayed(&self) {
        self.replayed.store(true, Ordering::Relaxed);
    }

    /// Whether the answer is one that was given before.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.replayed.load(Ordering::Relaxed)
    }
}

/// What a key counts for, and which request it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The shop, or the nil UUID.
    pub tenant_id: uuid::Uuid,
    /// The user, or the nil UUID.
    pub actor_id: uuid::Uuid,
    /// The mutation.
    pub operation: String,
    /// The client's key.
    pub key: String,
    /// A keyed hash of the request.
    pub fingerprint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_visible_ascii() {
        let longest = "x".repeat(255);
        for good in ["a", "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "\"quoted\"", &longest] {
            assert_eq!(IdempotencyKey::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "ä", "a\tb", &format!("{longest}x")] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}
