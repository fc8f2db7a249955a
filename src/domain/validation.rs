//! Checks that several inputs share. Each message says what would be right.

#![expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls each check with references to value and context")]

use garde::Validate;

use crate::domain::passwords::is_common;
use crate::error::{Error, FieldError, Result};

/// Checks an input and names every field that is wrong, as the client wrote it.
pub fn check<T: Validate<Context = ()>>(input: &T) -> Result<()> {
    input.validate().map_err(|report| {
        let fields =
            report.iter().map(|(path, error)| FieldError::new(&as_clients_write(&path.to_string()), error.to_string()));
        Error::Validation(fields.collect())
    })
}

/// Checks an input beside a value of it that was read on its own, and names every field that is wrong in either.
pub fn check_beside<T: Validate<Context = ()>, V>(value: Result<V>, input: &T) -> Result<()> {
    match (value, check(input)) {
        (Err(Error::Validation(mut wrong)), Err(Error::Validation(others))) => {
            wrong.extend(others);
            Err(Error::Validation(wrong))
        }
        (value, checked) => value.and(checked),
    }
}

/// A path as clients write it: `shippingAddress.zip`, `items.0.quantity`. garde writes Rust's field names and brackets.
fn as_clients_write(path: &str) -> String {
    let path = path.replace('[', ".").replace(']', "");
    let mut words = path.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |path, word| {
        let (initial, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        path + &initial.to_uppercase() + rest
    })
}

/// Checks a single text that comes without an input object.
pub fn check_text<const MIN: usize, const MAX: usize>(field: &str, value: String) -> Result<String> {
    match is_text::<MIN, MAX>(&value, &()) {
        Ok(()) => Ok(value),
        Err(error) => Err(Error::field(field, error.to_string())),
    }
}

/// A text of MIN to MAX characters without control characters (line breaks and tabs are fine).
pub(crate) fn is_text<const MIN: usize, const MAX: usize>(value: &str, (): &()) -> garde::Result {
    let length = value.chars().count();
    if length > MAX || value.trim().chars().count() < MIN {
        return Err(garde::Error::new(if MIN == 0 {
            format!("must be at most {MAX} characters long")
        } else {
            format!("must be {MIN} to {MAX} characters long and not blank")
        }));
    }
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(garde::Error::new("must not contain control characters"));
    }
    Ok(())
}

/// An e-mail address of at most 254 characters (RFC 5321, section 4.5.3.1.3).
pub(crate) fn is_email(value: &str, (): &()) -> garde::Result {
    let plausible = value.len() <= 254 && garde::rules::email::parse_email(value).is_ok();
    if plausible { Ok(()) } else { Err(garde::Error::new("must be an e-mail address like ada@example.com")) }
}

/// A new password: 12 to 128 characters, because length is what makes passwords strong (NIST SP 800-63B, section
/// 5.1.1), and none of those that are guessed first, whatever their length.
pub(crate) fn is_password(value: &str, (): &()) -> garde::Result {
    if !(12..=128).contains(&value.chars().count()) {
        return Err(garde::Error::new("must be 12 to 128 characters long"));
    }
    if is_common(value) {
        return Err(garde::Error::new("is among the commonest passwords, or as easy to guess; choose another"));
    }
    Ok(())
}

/// A number of pieces, from MIN to a million.
pub(crate) fn is_quantity<const MIN: i32>(value: &i32, (): &()) -> garde::Result {
    if (MIN..=MAX_QUANTITY).contains(value) {
        Ok(())
    } else {
        Err(garde::Error::new(format!("must be a whole number from {MIN} to {MAX_QUANTITY}")))
    }
}

/// The most pieces of one product that a shop can hold or an order line can ask for.
pub const MAX_QUANTITY: i32 = 1_000_000;

/// An ISO 3166-1 alpha-2 country code; only its form is checked.
pub(crate) fn is_country_code(code: &str, (): &()) -> garde::Result {
    if code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(garde::Error::new("must be a two-letter ISO 3166-1 country code like US"))
    }
}

/// Where an image can be loaded from, over HTTPS only.
pub(crate) fn is_https_url(value: &str, (): &()) -> garde::Result {
    let https = value.len() <= 2048
        && value.starts_with("https://")
        && !value.chars().any(char::is_control)
        && garde::rules::url::apply(&value, ()).is_ok();
    if https { Ok(()) } else { Err(garde::Error::new("must be an https:// URL of at most 2048 characters")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_client() {
        for (path, expected) in [
            ("name", "name"),
            ("image_urls", "imageUrls"),
            ("shipping_address.zip", "shippingAddress.zip"),
            ("items[12].quantity", "items.12.quantity"),
            ("", ""),
        ] {
            assert_eq!(as_clients_write(path), expected);
        }
    }

    #[test]
    fn passwords_are_long_and_not_common() {
        let wrong = |password: &str| is_password(password, &()).err().map(|error| error.to_string());
        let long = "long ".repeat(26);
        let length = Some("must be 12 to 128 characters long".to_owned());
        let common = Some("is among the commonest passwords, or as easy to guess; choose another".to_owned());
        for (password, expected) in [
            ("correct horse battery", None),
            ("eleven char", length.clone()),
            (long.as_str(), length),
            ("Password1234", common.clone()),
            ("ababababababab", common),
        ] {
            assert_eq!(wrong(password), expected, "{password}");
        }
    }
}
