//! Shops: what identifies one, and what a new one needs.

use garde::Validate;
use uuid::Uuid;

use crate::domain::validation::{is_email, is_password, is_text};

/// What every request needs to know of its shop. None of it ever changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The shop's id, which is in every row of its data.
    pub id: Uuid,
    /// The shop's name in host names and headers.
    pub subdomain: String,
    /// ISO 4217 code of the one currency that the shop sells in.
    pub currency: String,
}

/// What registering a shop takes.
#[derive(Clone, Validate)]
pub struct NewTenant {
    /// What the shop is called.
    #[garde(custom(is_text::<1, 200>))]
    pub name: String,
    /// The shop's name in host names and headers.
    #[garde(custom(is_subdomain))]
    pub subdomain: String,
    /// The first admin's e-mail address.
    #[garde(custom(is_email))]
    pub admin_email: String,
    /// The first admin's password.
    #[garde(custom(is_password))]
    pub admin_password: String,
    /// ISO 4217 code of the currency that the shop sells in.
    #[garde(custom(is_currency))]
    pub currency: String,
}

/// Names that are, or may become, hosts of the service itself or that a shop could deceive with.
const RESERVED_SUBDOMAINS: [&str; 34] = [
    "abuse",
    "account",
    "accounts",
    "admin",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "blog",
    "cdn",
    "dashboard",
    "dev",
    "docs",
    "ftp",
    "graphql",
    "help",
    "internal",
    "localhost",
    "login",
    "mail",
    "mercato",
    "metrics",
    "ns",
    "root",
    "secure",
    "security",
    "smtp",
    "staging",
    "static",
    "status",
    "support",
    "test",
    "www",
];

/// Whether no shop can ever have this name.
#[must_use]
pub fn is_reserved(subdomain: &str) -> bool {
    RESERVED_SUBDOMAINS.contains(&subdomain)
}

/// A DNS label (RFC 1035, section 2.3.1) of 3 to 63 characters that is not reserved.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn is_subdomain(value: &str, (): &()) -> garde::Result {
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let well_formed = (3..=63).contains(&value.len())
        && value.bytes().all(label)
        && !value.starts_with('-')
        && !value.ends_with('-')
        && !value.starts_with("xn--");
    if !well_formed {
        let expected = "must be 3 to 63 lower-case letters, digits and inner hyphens";
        return Err(garde::Error::new(expected));
    }
    if is_reserved(value) {
        return Err(garde::Error::new("is reserved; choose another"));
    }
    Ok(())
}

/// An active currency of ISO 4217 that money is counted in with at most two decimals.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn is_currency(code: &str, (): &()) -> garde::Result {
    if CURRENCIES.contains(&code) {
        Ok(())
    } else {
        Err(garde::Error::new("must be an ISO 4217 code of a currency with at most two decimals, like USD"))
    }
}

/// The currencies of ISO 4217 in circulation, as of its amendment 180 (January 2026), without those of three decimals:
/// amounts have two. VED is left out: it is another code for VES.
pub const CURRENCIES: [&str; 147] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BIF", "BMD", "BND", "BOB",
    "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP", "CNY", "COP", "CRC", "CUP", "CVE", "CZK",
    "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF",
    "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "ISK", "JMD", "JPY", "KES", "KGS", "KHR",
    "KMF", "KPW", "KRW", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT",
    "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN",
    "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD",
    "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD",
    "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VES", "VND", "VUV", "WST", "XAF", "XCD", "XCG", "XOF", "XPF", "YER",
    "ZAR", "ZMW", "ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains_are_dns_labels_that_nobody_else_needs() {
        for good in ["demo", "a1b", "my-shop", &"a".repeat(63)] {
            assert!(is_subdomain(good, &()).is_ok(), "{good}");
        }
        for bad in
            ["", "ab", "-abc", "abc-", "Demo", "a.b.c", "ab_c", "xn--abc", "www", "admin", "schön", &"a".repeat(64)]
        {
            assert!(is_subdomain(bad, &()).is_err(), "{bad}");
        }
    }

    #[test]
    fn currencies_are_those_of_today() {
        let taken = |code: &&str| is_currency(code, &()).is_ok();
        for [withdrawn, instead] in [
            ["ANG", "XCG"],
            ["BGN", "EUR"],
            ["BYR", "BYN"],
            ["CUC", "CUP"],
            ["HRK", "EUR"],
            ["MRO", "MRU"],
            ["SLL", "SLE"],
            ["STD", "STN"],
            ["VEF", "VES"],
            ["ZWL", "ZWG"],
        ] {
            assert!(!taken(&withdrawn) && taken(&instead), "{withdrawn} is {instead} now");
        }
        // Three or four decimals, and what nobody pays with: gold, drawing rights, funds, nothing at all.
        let others = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", "CLF", "UYW", "XAU", "XDR", "USN", "XAD", "XXX"];
        assert_eq!(others.iter().find(|code| taken(code)), None);
    }

    #[test]
    fn lists_are_sorted_and_without_repeats() {
        assert!(CURRENCIES.is_sorted_by(|a, b| a < b));
        assert!(RESERVED_SUBDOMAINS.is_sorted_by(|a, b| a < b));
    }
}
