//! Telling requests with an `Idempotency-Key` apart, and keeping what they were answered from prying eyes.

use aws_lc_rs::hmac::{self, Key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};
use crate::services::vault::Vault;

/// Makes keyed hashes of requests, because requests hold passwords and a plain hash of them could be guessed; and seals
/// answers, because answers hold secrets that must not lie in a table.
#[derive(Clone)]
pub struct Answers {
    prints: Key,
    vault: Vault,
}

impl Answers {
    /// Works with keys of this vault. With another first key, what was sent before looks different.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { prints: vault.derived("mercato idempotency fingerprint 1"), vault }
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

    /// An answer as it may be stored, readable only together with its request's fingerprint (in base64).
    pub fn seal(&self, fingerprint: &str, answer: String) -> Result<String> {
        Ok(STANDARD.encode(self.vault.seal(fingerprint.as_bytes(), answer.into_bytes())?))
    }

    /// The answer that was sealed for this fingerprint.
    pub fn open(&self, fingerprint: &str, sealed: &str) -> Result<String> {
        let sealed = STANDARD.decode(sealed).map_err(Error::internal)?;
        String::from_utf8(self.vault.open(fingerprint.as_bytes(), &sealed)?).map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::vault::{KEY_BYTES, encode_key};

    fn answers(key: u8) -> Answers {
        Answers::new(Vault::new(&[encode_key([key; KEY_BYTES]).into()]).unwrap())
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_eq!(answers(1).fingerprint(&[b"ab", b"c"]), answers(1).fingerprint(&[b"ab", b"c"]));
        assert_ne!(answers(1).fingerprint(&[b"ab", b"c"]), answers(1).fingerprint(&[b"a", b"bc"]));
        assert_ne!(answers(1).fingerprint(&[b"ab"]), answers(2).fingerprint(&[b"ab"]));
    }

    #[test]
    fn an_answer_opens_for_its_request_only() {
        let sealed = answers(1).seal("print", "answer".into()).unwrap();
        assert!(!sealed.contains("answer"));
        assert_eq!(answers(1).open("print", &sealed).unwrap(), "answer");
        assert!(answers(1).open("other", &sealed).is_err());
        for broken in ["", "AAAA", "!", &sealed[4..]] {
            assert!(answers(1).open("print", broken).is_err());
        }
    }
}
