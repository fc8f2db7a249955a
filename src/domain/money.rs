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
        fn sums_and_products_are_exact_or_refused(a in 0..=Amount::MAX.0, b in 0..=Amount::MAX.0, n in any::<i64>()) {
            let exact = i128::from(a) + i128::from(b);
            prop_assert_eq!(Amount(a).checked_add(Amount(b)).map(|x| i128::from(x.0)), in_range(exact));
            let exact = i128::from(a) * i128::from(n);
            prop_assert_eq!(Amount(a).checked_mul(n).map(|x| i128::from(x.0)), in_range(exact));
        }
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
