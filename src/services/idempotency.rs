//! Telling requests with an `Idempotency-Key` apart.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};

/// Makes keyed hashes of requests, because requests hold passwords and a plain hash of them could be guessed.
#[derive(Clone)]
pub struct Fingerprints(Key);

impl Fingerprints {
    /// Hashes with a key that is derived from this secret. With another secret, what was sent before looks different.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let derived = hmac::sign(&Key::new(HMAC_SHA256, secret), b"mercato idempotency fingerprint 1");
        Self(Key::new(HMAC_SHA256, derived.as_ref()))
    }

    /// The hash of these parts, in hexadecimal digits.
    #[must_use]
    pub fn of(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            // The length in front keeps parts apart.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        let fingerprints = Fingerprints::new(b"secret");
        assert_eq!(fingerprints.of(&[b"ab", b"c"]), fingerprints.of(&[b"ab", b"c"]));
        assert_ne!(fingerprints.of(&[b"ab", b"c"]), fingerprints.of(&[b"a", b"bc"]));
        assert_ne!(fingerprints.of(&[b"ab"]), Fingerprints::new(b"another").of(&[b"ab"]));
    }
}
