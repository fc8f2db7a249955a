//! Stripe's webhook signatures: `t=<time>,v1=<HMAC-SHA256 of "time.body">` (<https://docs.stripe.com/webhooks#verify-manually>).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use chrono::{DateTime, Utc};
use hex::FromHex;
use secrecy::{ExposeSecret, SecretString};

/// How far the time of a signature may lie from ours, in seconds, either way: Stripe's own libraries allow as much.
const TOLERANCE_SECONDS: u64 = 300;

/// The most signatures that a header may have. Stripe sends one for each secret of its own.
const MAX_SIGNATURES: usize = 10;

/// What signs webhooks: more than one while a new secret replaces an old one.
#[derive(Clone, Debug)]
pub struct WebhookSecrets(Vec<SecretString>);

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is not of the form that Stripe gives it.
    #[error("the signature is malformed")]
    Malformed,
    /// It was made too long ago, or will be.
    #[error("the signature was not made within five minutes of now")]
    NotNow,
    /// It was not made of this body with one of our secrets.
    #[error("the signature does not match")]
    Forged,
}

impl WebhookSecrets {
    /// Secrets, of which the first signs and any verifies.
    #[must_use]
    pub const fn new(secrets: Vec<SecretString>) -> Self {
        Self(secrets)
    }

    /// Checks that the header signs this body now. Every comparison takes the same time, whatever it finds.
    pub fn verify(&self, header: &str, body: &[u8], now: DateTime<Utc>) -> Result<(), SignatureError> {
        let mut time = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            match part.trim().split_once('=') {
                Some(("t", _)) if time.is_some() => return Err(SignatureError::Malformed),
                Some(("t", value)) => time = Some(value.parse::<i64>().map_err(|_| SignatureError::Malformed)?),
                Some(("v1", _)) if signatures.len() == MAX_SIGNATURES => return Err(SignatureError::Malformed),
                Some(("v1", value)) => signatures.extend(<[u8; 32]>::from_hex(value)),
                // Other schemes, like v0, are Stripe's own affair.
                Some(_) => {}
                None => return Err(SignatureError::Malformed),
            }
        }
        let time = time.filter(|_| !signatures.is_empty()).ok_or(SignatureError::Malformed)?;
        if now.timestamp().abs_diff(time) > TOLERANCE_SECONDS {
            return Err(SignatureError::NotNow);
        }
        let signed = signed(time, body);
        // Once for each secret: hashing the body is what costs, and what a stranger could make us do.
        let tags = self.0.iter().map(|secret| hmac::sign(&key(secret), &signed));
        let holds = |tag: hmac::Tag| signatures.iter().any(|sent| verify_slices_are_equal(tag.as_ref(), sent).is_ok());
        if tags.map(holds).fold(false, |held, holds| held | holds) { Ok(()) } else { Err(SignatureError::Forged) }
    }

    /// The header that signs this body at this moment: what Stripe would send.
    #[must_use]
    pub fn sign(&self, body: &[u8], now: DateTime<Utc>) -> String {
        let time = now.timestamp();
        let tags = self.0.first().map(|secret| hmac::sign(&key(secret), &signed(time, body)));
        format!("t={time},v1={}", tags.map(hex::encode).unwrap_or_default())
    }
}

fn key(secret: &SecretString) -> Key {
    Key::new(HMAC_SHA256, secret.expose_secret().as_bytes())
}

fn signed(time: i64, body: &[u8]) -> Vec<u8> {
    [time.to_string().as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id": "evt_1"}"#;

    fn secrets(names: &[&str]) -> WebhookSecrets {
        WebhookSecrets::new(names.iter().map(|name| (*name).into()).collect())
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn what_was_signed_is_verified_within_five_minutes_either_way() {
        let (one, both) = (secrets(&["one"]), secrets(&["two", "one"]));
        let header = one.sign(BODY, at(0));
        for off in [-300, 0, 300] {
            assert_eq!(both.verify(&header, BODY, at(off)), Ok(()));
        }
        for off in [-301, 301] {
            assert_eq!(both.verify(&header, BODY, at(off)), Err(SignatureError::NotNow));
        }
        assert_eq!(secrets(&["two"]).verify(&header, BODY, at(0)), Err(SignatureError::Forged));
        assert_eq!(one.verify(&header, b"{}", at(0)), Err(SignatureError::Forged));
        assert_eq!(secrets(&[]).verify(&header, BODY, at(0)), Err(SignatureError::Forged));
    }

    /// From the algorithm as Stripe describes it, computed with `openssl dgst -sha256 -hmac whsec_test`.
    #[test]
    fn the_signature_is_stripes() {
        let header = secrets(&["whsec_test"]).sign(b"{}", DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        assert_eq!(header, "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91");
    }

    #[test]
    fn several_signatures_may_be_sent_and_one_must_hold() {
        let one = secrets(&["one"]);
        let header = one.sign(BODY, at(0));
        let (time, v1) = header.split_once(',').unwrap();
        let forged = format!("v1={}", "00".repeat(32));
        assert_eq!(one.verify(&format!("{time},{forged},{v1},v0=ff"), BODY, at(0)), Ok(()));
        assert_eq!(one.verify(&format!("{time},{forged}"), BODY, at(0)), Err(SignatureError::Forged));
    }

    #[test]
    fn anything_else_is_malformed() {
        let one = secrets(&["one"]);
        let header = one.sign(BODY, at(0));
        let (time, v1) = header.split_once(',').unwrap();
        let v0 = v1.replace("v1=", "v0=");
        for malformed in [
            "",
            "garbage",
            time,
            v1,
            &format!("{time},{time},{v1}"),
            &format!("t=now,{v1}"),
            &format!("{time},v1=xyz"),
            &format!("{time},v1="),
            &format!("{time},v1=0011"),
            &format!("{time}{}", format!(",{v1}").repeat(11)),
            &format!("{time},{v0}"),
        ] {
            assert_eq!(one.verify(malformed, BODY, at(0)), Err(SignatureError::Malformed), "{malformed}");
        }
    }
}
