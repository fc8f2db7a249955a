//! Amounts of money, exact to the hundredth.

use std::fmt;

/// An amount in hundredths of the shop's currency unit, from 0.00 to 99,999,999.99 (`NUMERIC(10,2)`).
///
/// Integers and not decimals, because sums and products of prices are then exact, cheap and checked for overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// The largest amount that `NUMERIC(10,2)` holds.
    pub const MAX: Self = Self(9_999_999_999);
    /// What a value must look like, for error messages.
    pub const EXPECTED: &str = "must be an amount from 0 to 99999999.99 with at most two decimals";

    /// An amount of that many hundredths, unless it is negative or too large.
    #[must_use]
    pub fn from_cents(cents: i64) -> Option<Self> {
        (0..=Self::MAX.0).contains(&cents).then_some(Self(cents))
    }

    /// The amount in hundredths.
    #[must_use]
    pub const fn cents(self) -> i64 {
        self.0
    }

    /// Reads `12`, `12.3` or `12.34`. Signs, exponents and further decimals are refused: nothing is rounded.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(units) || !digits(decimals) || units.len() > 18 || decimals.len() > 2 {
            return None;
        }
        let hundredths: i64 = decimals.parse().ok()?;
        let scale = if decimals.len() == 1 { 10 } else { 1 };
        let cents = units.parse::<i64>().ok()?.checked_mul(100)?;
        Self::from_cents(cents.checked_add(hundredths * scale)?)
    }

    /// The sum, unless it is too large.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::from_cents)
    }

    /// That many times the amount, unless it is negative or too large.
    #[must_use]
    pub fn checked_mul(self, quantity: i64) -> Option<Self> {
        self.0.checked_mul(quantity).and_then(Self::from_cents)
    }
}

/// How many digits of a currency stand behind the point where Stripe counts it
/// (<https://docs.stripe.com/currencies#zero-decimal>). UGX has none in use, yet Stripe counts it in hundredths.
const fn minor_digits(currency: &[u8]) -> u32 {
    match currency {
        b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"JPY" | b"KMF" | b"KRW" | b"MGA" | b"PYG" | b"RWF" | b"VND" | b"VUV"
        | b"XAF" | b"XOF" | b"XPF" => 0,
        b"BHD" | b"JOD" | b"KWD" | b"OMR" | b"TND" => 3,
        _ => 2,
    }
}

/// Amounts as payment providers count them: in the currency's smallest unit.
impl Amount {
    /// The amount in the smallest unit of this currency (ISO 4217, in capitals), unless it has a fraction of one.
    #[must_use]
    pub const fn to_minor(self, currency: &str) -> Option<i64> {
        match minor_digits(currency.as_bytes()) {
            0 if self.0 % 100 == 0 => Some(self.0 / 100),
            0 => None,
            3 => Some(self.0 * 10),
            _ => Some(self.0),
        }
    }

    /// The amount of so many of the smallest units of this currency, unless it has a fraction of a hundredth or is out
    /// of range.
    #[must_use]
    pub fn from_minor(minor: i64, currency: &str) -> Option<Self> {
        match minor_digits(currency.as_bytes()) {
            0 => minor.checked_mul(100).and_then(Self::from_cents),
            3 if minor % 10 == 0 => Self::from_cents(minor / 10),
            3 => None,
            _ => Self::from_cents(minor),
        }
    }

    /// What is left, unless it is less than nothing.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::from_cents)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips(cents in 0..=Amount::MAX.0) {
            let amount = Amount(cents);
            prop_assert_eq!(Amount::parse(&amount.to_string()), Some(amount));
        }

        #[test]
        fn anything_else_is_refused_without_panic(text in "\\PC{0,40}") {
            if let Some(amount) = Amount::parse(&text) {
                prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
                prop_assert!(amount <= Amount::MAX);
            }
        }

        #[test]
        fn minor_units_round_trip_or_are_refused(cents in 0..=Amount::MAX.0, currency in currency()) {
            let amount = Amount(cents);
            match amount.to_minor(currency) {
                Some(minor) => prop_assert_eq!(Amount::from_minor(minor, currency), Some(amount)),
                None => prop_assert!(minor_digits(currency.as_bytes()) == 0 && cents % 100 != 0),
            }
        }

        #[test]
        fn whatever_a_provider_counts_is_exact_or_refused(minor in any::<i64>(), currency in currency()) {
            if let Some(amount) = Amount::from_minor(minor, currency) {
                prop_assert_eq!(amount.to_minor(currency), Some(minor));
            }
        }

        #[test]
        fn differences_are_exact_or_refused(a in 0..=Amount::MAX.0, b in 0..=Amount::MAX.0) {
            prop_assert_eq!(Amount(a).checked_sub(Amount(b)).map(|x| x.0), (a >= b).then(|| a - b));
        }

        #[test]
        fn sums_and_products_are_exact_or_refused(a in 0..=Amount::MAX.0, b in 0..=Amount::MAX.0, n in any::<i64>()) {
            let exact = i128::from(a) + i128::from(b);
            prop_assert_eq!(Amount(a).checked_add(Amount(b)).map(|x| i128::from(x.0)), in_range(exact));
            let exact = i128::from(a) * i128::from(n);
            prop_assert_eq!(Amount(a).checked_mul(n).map(|x| i128::from(x.0)), in_range(exact));
        }
    }

    fn currency() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["USD", "JPY", "KWD", "UGX", "EUR"])
    }

    #[test]
    fn currencies_have_none_two_or_three_digits() {
        let minor = |cents, currency| Amount(cents).to_minor(currency);
        assert_eq!([minor(1999, "USD"), minor(1900, "JPY"), minor(1999, "KWD")], [Some(1999), Some(19), Some(19990)]);
        assert_eq!([minor(1999, "JPY"), minor(500, "UGX")], [None, Some(500)]);
    }

    fn in_range(exact: i128) -> Option<i128> {
        (0..=i128::from(Amount::MAX.0)).contains(&exact).then_some(exact)
    }

    #[test]
    fn nothing_is_rounded() {
        for bad in ["", ".", "1.", ".5", "1.234", "-1", "+1", "1e3", "0x1", "1,5", "100000000", "99999999.991", "١"] {
            assert_eq!(Amount::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Amount::parse("19.9"), Some(Amount(1990)));
        assert_eq!(Amount::parse("99999999.99"), Some(Amount::MAX));
    }
}
