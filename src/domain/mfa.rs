//! Second factors: time-based codes (RFC 6238), and recovery codes for when the device that makes them is gone.

use std::fmt;

use sha2::{Digest, Sha256};
use totp_rs::{Algorithm, Builder, Totp, TotpError};

/// How long a secret is, in bytes: what RFC 4226, section 4, recommends.
pub const SECRET_BYTES: usize = 20;

/// How many recovery codes a user gets.
pub const RECOVERY_CODES: usize = 10;

/// How many random bytes a recovery code stands for: 80 bits, which nobody guesses, so that a plain hash will do.
pub const RECOVERY_BYTES: usize = 10;

/// Who shows up as the issuer in authenticator apps.
const ISSUER: &str = "Mercato";

/// What authenticator apps understand: SHA-1, six digits, thirty seconds, and clocks that differ by one step.
///
/// # Errors
///
/// When the secret or the account's name is of no use.
pub fn totp(secret: &[u8], account: &str) -> Result<Totp, TotpError> {
    // What stands between issuer and account.
    let account = account.replace(':', " ");
    let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_step_duration(30).with_skew(1);
    builder.with_secret(secret.to_vec()).with_issuer(Some(ISSUER)).with_account_name(account).build()
}

/// What somebody gives as a second factor.
#[derive(Clone, PartialEq, Eq)]
pub enum Given {
    /// Six digits from an app.
    Totp(String),
    /// The hash of what may be a recovery code.
    Recovery(String),
}

impl Given {
    /// Reads what people type: apps show spaces in codes, and recovery codes have hyphens.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let code: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(64).collect();
        if code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) {
            return Self::Totp(code);
        }
        Self::Recovery(recovery_hash(&code))
    }
}

/// Without what was given: it is as good as a second factor.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Totp(_) => "Totp(..)",
            Self::Recovery(_) => "Recovery(..)",
        })
    }
}

/// A recovery code as it is shown, once: `k3fa-9xq2-…`, in Crockford's base 32, which has no letters that look alike.
#[must_use]
pub fn recovery_code(bytes: [u8; RECOVERY_BYTES]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bits = bytes.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let digit = |i: u32| char::from(DIGITS[usize::try_from(bits >> (75 - 5 * i) & 31).unwrap_or_default()]);
    let digits: Vec<char> = (0..16).map(digit).collect();
    digits.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

/// What is stored of a recovery code, however it was typed.
#[must_use]
pub fn recovery_hash(code: &str) -> String {
    let letter = |c: char| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        c => c,
    };
    let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(letter).collect();
    hex::encode(Sha256::digest(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, cut to six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let totp = totp(b"12345678901234567890", "ada@example.com").unwrap();
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(totp.generate(time).to_string(), code);
        }
        assert_eq!(totp.check("287082", 59), Some(1));
        assert_eq!((totp.check("287082", 89), totp.check("287082", 90)), (Some(1), None));
        assert!(totp.to_url().unwrap().starts_with("otpauth://totp/Mercato:ada%40example.com?"));
    }

    #[test]
    fn what_people_type_is_read() {
        assert_eq!(Given::read(" 123 456 "), Given::Totp("123456".into()));
        for other in ["12345", "1234567", "12345a", "", "١٢٣٤٥٦", &"1".repeat(100_000)] {
            assert!(matches!(Given::read(other), Given::Recovery(_)), "{other:.20}");
        }
    }

    #[test]
    fn what_was_given_is_not_shown() {
        let given = [Given::read("123456"), Given::read("000g-40r4-0m30-e27z")];
        assert_eq!(format!("{given:?}"), "[Totp(..), Recovery(..)]");
    }

    #[test]
    fn recovery_codes_are_known_again() {
        let code = recovery_code([0, 1, 2, 3, 4, 5, 6, 7, 8, 255]);
        assert_eq!(code, "000g-40r4-0m30-e27z");
        for typed in ["000G-40R4-0M30-E27Z", "ooog40r4om3oe27z", " 000g 40r4 0m30 e27z"] {
            assert_eq!(Given::read(typed), Given::Recovery(recovery_hash(&code)), "{typed}");
        }
        assert_ne!(recovery_hash("000g-40r4-0m30-e27y"), recovery_hash(&code));
    }
}
