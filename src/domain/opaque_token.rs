//! Tokens that say nothing to whoever reads them: where to look, and a secret of which only the hash is stored.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A token of the kind that begins with `rt_` (a refresh token) or `svc_` (a service account's key).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OpaqueToken {
    /// The shop.
    pub tenant: Uuid,
    /// The session or the account.
    pub id: Uuid,
    /// What nobody else knows.
    pub secret: [u8; 32],
}

impl OpaqueToken {
    /// What refresh tokens begin with.
    pub const REFRESH: &'static str = "rt_";

    /// What keys of service accounts begin with.
    pub const SERVICE: &'static str = "svc_";

    /// The token as it is sent, with what those of its kind begin with, so that scanners of leaked secrets know them.
    #[must_use]
    pub fn encode(self, prefix: &str) -> String {
        let bytes = [self.tenant.as_bytes().as_slice(), self.id.as_bytes(), &self.secret].concat();
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads what was sent as a token of that kind.
    #[must_use]
    pub fn decode(prefix: &str, text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix)?).ok()?;
        let (tenant, rest) = bytes.split_at_checked(16)?;
        let (id, secret) = rest.split_at_checked(16)?;
        let secret = secret.try_into().ok()?;
        Some(Self { tenant: Uuid::from_slice(tenant).ok()?, id: Uuid::from_slice(id).ok()?, secret })
    }

    /// What is stored. The secret has 256 random bits: a plain hash of it cannot be guessed.
    #[must_use]
    pub fn hash(self) -> String {
        hex::encode(Sha256::digest(self.secret))
    }
}

/// Without the secret.
impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpaqueToken").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written_and_never_shown() {
        let token = OpaqueToken { tenant: Uuid::from_u128(1), id: Uuid::from_u128(2), secret: [3; 32] };
        let text = token.encode(OpaqueToken::REFRESH);
        let decode = |text: &str| OpaqueToken::decode(OpaqueToken::REFRESH, text);
        assert_eq!(decode(&text), Some(token));
        let other_kind = token.encode(OpaqueToken::SERVICE);
        for broken in
            ["", "rt_", "rt_AAAA", &text[1..], &text[..text.len() - 2], &format!("{text}AA"), "rt_ä", &other_kind]
        {
            assert_eq!(decode(broken), None, "{broken}");
        }
        assert!(!format!("{token:?}").contains('3'));
    }
}
