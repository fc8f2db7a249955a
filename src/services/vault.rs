//! Sealing what must not lie readable in a table: AES-256-GCM, with keys that only the server has.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};

/// How long a key is, in bytes.
pub const KEY_BYTES: usize = 32;

/// Seals and opens. Clones share the keys.
///
/// What is sealed is bound to a context (a user, a request): it opens with the same one only, so that nobody who can write
/// to a table gains anything by moving what is sealed from one row to another.
#[derive(Clone)]
pub struct Vault {
    /// The first one seals; what any of them has sealed opens.
    keys: Arc<[[u8; KEY_BYTES]]>,
}

impl Vault {
    /// Works with keys of 32 bytes in base64. There is at least one.
    ///
    /// # Errors
    ///
    /// When one is not of that kind.
    pub fn new(keys: &[SecretString]) -> anyhow::Result<Self> {
        let keys: Option<Vec<_>> = keys.iter().map(|key| decode_key(key.expose_secret())).collect();
        let keys = keys.filter(|keys| !keys.is_empty());
        let keys = keys.ok_or_else(|| anyhow::anyhow!("a key that seals data must be 32 bytes in base64"))?;
        Ok(Self { keys: keys.into() })
    }

    /// Another secret of the same strength, for this one purpose.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> hmac::Key {
        let root = hmac::Key::new(HMAC_SHA256, self.first());
        hmac::Key::new(HMAC_SHA256, hmac::sign(&root, purpose.as_bytes()).as_ref())
    }

    /// The text as it may be stored: a random nonce, the cipher text, and the tag.
    pub fn seal(&self, context: &[u8], mut text: Vec<u8>) -> Result<Vec<u8>> {
        let failed = |_| Error::internal(anyhow::anyhow!("this cannot be sealed"));
        let key = RandomizedNonceKey::new(&AES_256_GCM, self.first()).map_err(failed)?;
        let nonce = key.seal_in_place_append_tag(Aad::from(context), &mut text).map_err(failed)?;
        Ok([nonce.as_ref().as_slice(), &text].concat())
    }

    /// What was sealed in this context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let opened = self.keys.iter().find_map(|key| open(key, context, sealed));
        opened.ok_or_else(|| Error::internal(anyhow::anyhow!("this was not sealed here, or with a key that is gone")))
    }

    fn first(&self) -> &[u8] {
        self.keys.first().map_or(&[], |key| key)
    }
}

fn open(key: &[u8], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    let length = key.open_in_place(nonce, Aad::from(context), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// The key that this text stands for.
#[must_use]
pub fn decode_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

/// A key as settings have it.
#[must_use]
pub fn encode_key(key: [u8; KEY_BYTES]) -> String {
    STANDARD.encode(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(keys: &[u8]) -> Vault {
        let keys: Vec<_> = keys.iter().map(|&key| SecretString::from(encode_key([key; KEY_BYTES]))).collect();
        Vault::new(&keys).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_context_only() {
        let sealed = vault(&[1]).seal(b"ada", b"secret".to_vec()).unwrap();
        assert_ne!(vault(&[1]).seal(b"ada", b"secret".to_vec()).unwrap(), sealed);
        assert_eq!(vault(&[1]).open(b"ada", &sealed).unwrap(), b"secret");
        assert!(vault(&[1]).open(b"bob", &sealed).is_err());
        let mut edited = sealed.clone();
        edited[NONCE_LEN] ^= 1;
        for broken in [&[][..], &sealed[..NONCE_LEN], &sealed[1..], &edited] {
            assert!(vault(&[1]).open(b"ada", broken).is_err());
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let sealed = vault(&[1]).seal(b"", b"secret".to_vec()).unwrap();
        let both = vault(&[2, 1]);
        assert_eq!(both.open(b"", &sealed).unwrap(), b"secret");
        let again = both.seal(b"", b"secret".to_vec()).unwrap();
        assert!(vault(&[2]).open(b"", &again).is_ok() && vault(&[2]).open(b"", &sealed).is_err());
    }

    #[test]
    fn keys_have_32_bytes() {
        for wrong in ["", "secret", &encode_key([1; KEY_BYTES])[1..], &STANDARD.encode([1; 16])] {
            assert!(Vault::new(&[wrong.into()]).is_err(), "{wrong}");
        }
        assert!(Vault::new(&[]).is_err());
    }
}
