//! Telling requests with an `Idempotency-Key` apart, and keeping what they were answered from prying eyes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};

/// The length of a nonce, which stands in front of what it sealed.
const NONCE: usize = 12;

/// Makes keyed hashes of requests, because requests hold passwords and a plain hash of them could be guessed; and seals
/// answers, because answers hold secrets that must not lie in a table.
#[derive(Clone)]
pub struct Answers {
    prints: Key,
    seal: [u8; 32],
}

impl Answers {
    /// Works with keys that are derived from this secret. With another secret, what was sent before looks different.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let root = Key::new(HMAC_SHA256, secret);
        let prints = hmac::sign(&root, b"mercato idempotency fingerprint 1");
        let sealing = hmac::sign(&root, b"mercato idempotency answer 1");
        let mut seal = [0; 32];
        seal.copy_from_slice(sealing.as_ref());
        Self { prints: Key::new(HMAC_SHA256, prints.as_ref()), seal }
    }

    /// The hash of a request's parts, in base64.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.prints);
        for part in parts {
            // The length in front keeps parts apart.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        STANDARD.encode(context.sign())
    }

    /// An answer as it may be stored, readable only together with its request's fingerprint (AES-256-GCM, in base64).
    pub fn seal(&self, fingerprint: &str, answer: String) -> Result<String> {
        let failed = |_| Error::internal(anyhow::anyhow!("an answer cannot be sealed"));
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(failed)?;
        let mut sealed = answer.into_bytes();
        let nonce = key.seal_in_place_append_tag(Aad::from(fingerprint.as_bytes()), &mut sealed).map_err(failed)?;
        Ok(STANDARD.encode([nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// The answer that was sealed for this fingerprint.
    pub fn open(&self, fingerprint: &str, sealed: &str) -> Result<String> {
        let broken = || Error::internal(anyhow::anyhow!("a stored answer cannot be opened"));
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(|_| broken())?;
        let sealed = STANDARD.decode(sealed).map_err(|_| broken())?;
        let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut rest = rest.to_vec();
        let answer = key.open_in_place(nonce, Aad::from(fingerprint.as_bytes()), &mut rest).map_err(|_| broken())?;
        String::from_utf8(answer.to_vec()).map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        let answers = Answers::new(b"secret");
        assert_eq!(answers.fingerprint(&[b"ab", b"c"]), answers.fingerprint(&[b"ab", b"c"]));
        assert_ne!(answers.fingerprint(&[b"ab", b"c"]), answers.fingerprint(&[b"a", b"bc"]));
        assert_ne!(answers.fingerprint(&[b"ab"]), Answers::new(b"another").fingerprint(&[b"ab"]));
    }

    #[test]
    fn an_answer_opens_for_its_request_only() {
        let answers = Answers::new(b"secret");
        let sealed = answers.seal("print", "answer".into()).unwrap();
        assert!(!sealed.contains("answer"));
        assert_eq!(answers.open("print", &sealed).unwrap(), "answer");
        assert_ne!(answers.seal("print", "answer".into()).unwrap(), sealed);
        assert!(answers.open("other", &sealed).is_err());
        assert!(Answers::new(b"another").open("print", &sealed).is_err());
        for broken in ["", "AAAA", "!", &sealed[4..]] {
            assert!(answers.open("print", broken).is_err());
        }
    }
}
