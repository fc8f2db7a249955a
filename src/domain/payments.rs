//! What payments and refunds can be, and what a payment provider's word means for an order.

use chrono::{DateTime, Utc};

use crate::domain::money::Amount;
use crate::domain::named::named;
use crate::domain::orders::OrderStatus;

named! {
    /// Where a payment stands.
    PaymentStatus {
        /// Asked for, not made yet.
        Pending = "PENDING",
        /// Made: it pays its order.
        Paid = "PAID",
        /// The last attempt failed; the customer may try again.
        Failed = "FAILED",
        /// All of it was given back.
        Refunded = "REFUNDED",
    }
}

named! {
    /// Where a refund stands.
    RefundStatus {
        /// To be made, or under way.
        Pending = "PENDING",
        /// Made.
        Succeeded = "SUCCEEDED",
        /// Refused by the payment provider or by the customer's bank.
        Failed = "FAILED",
    }
}

named! {
    /// Why money is given back.
    RefundReason {
        /// The shop's staff asked for it.
        Requested = "REQUESTED",
        /// The order was cancelled, or had been before the money came.
        OrderCancelled = "ORDER_CANCELLED",
        /// Another amount came than the order costs.
        AmountMismatch = "AMOUNT_MISMATCH",
        /// The money came in another currency than the shop's.
        CurrencyMismatch = "CURRENCY_MISMATCH",
        /// The order was paid a second time.
        Duplicate = "DUPLICATE",
    }
}

named! {
    /// Why captured money does not pay the order. It is given back.
    PaymentProblem {
        /// The order had been cancelled, or had expired, before the money came.
        OrderCancelled = "ORDER_CANCELLED",
        /// Another amount came than the order costs.
        AmountMismatch = "AMOUNT_MISMATCH",
        /// The money came in another currency than the shop's.
        CurrencyMismatch = "CURRENCY_MISMATCH",
    }
}

impl From<PaymentProblem> for RefundReason {
    fn from(problem: PaymentProblem) -> Self {
        match problem {
            PaymentProblem::OrderCancelled => Self::OrderCancelled,
            PaymentProblem::AmountMismatch => Self::AmountMismatch,
            PaymentProblem::CurrencyMismatch => Self::CurrencyMismatch,
        }
    }
}

/// Money that the provider took. What it does not tell is what the intent was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// In the currency's smallest unit.
    pub amount: Option<i64>,
    /// ISO 4217 code, in capitals.
    pub currency: Option<String>,
}

/// What the payment provider says has happened to an intent, by webhook or when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The money was taken.
    Captured(Captured),
    /// An attempt to pay failed; there may be others.
    Failed,
    /// The intent was cancelled: it can never be paid.
    Cancelled,
    /// So much of the captured money has been given back in all, in the currency's smallest unit.
    Refunded {
        /// What had been captured: refunds may be heard of first.
        captured: Captured,
        /// The sum of all refunds.
        total: i64,
    },
    /// One refund went further.
    RefundChanged {
        /// The provider's id of the refund.
        refund: String,
        /// Where it stands.
        status: RefundStatus,
    },
}

/// What is known of a payment when the provider's word comes in.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Where the order stands.
    pub order: OrderStatus,
    /// What the order costs.
    pub amount: Amount,
    /// The currency that it costs it in.
    pub currency: &'a str,
    /// When the money was taken, if it was.
    pub captured_at: Option<DateTime<Utc>>,
}

/// What captured money means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was known already.
    Known,
    /// It pays: an order that waits for it becomes PAID, one that staff moved on by hand stays where it is.
    Pays,
    /// It does not pay and is given back: so much of it in the shop's currency, as far as it is.
    GivenBack(PaymentProblem, Amount),
}

impl Standing<'_> {
    /// Judges captured money. The same money is judged once, and nothing but exactly the order's total ever pays it.
    #[must_use]
    pub fn judge(&self, captured: &Captured) -> Verdict {
        if self.captured_at.is_some() {
            return Verdict::Known;
        }
        if captured.currency.as_deref().is_some_and(|currency| currency != self.currency) {
            return Verdict::GivenBack(PaymentProblem::CurrencyMismatch, Amount::default());
        }
        let amount = match captured.amount {
            Some(minor) => Amount::from_minor(minor, self.currency),
            None => Some(self.amount),
        };
        match (amount, self.order) {
            (Some(amount), OrderStatus::Cancelled) => Verdict::GivenBack(PaymentProblem::OrderCancelled, amount),
            (Some(amount), _) if amount == self.amount => Verdict::Pays,
            // What no amount can hold is recorded as nothing, and given back as a whole all the same.
            (amount, _) => Verdict::GivenBack(PaymentProblem::AmountMismatch, amount.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn standing(order: OrderStatus, cents: i64) -> Standing<'static> {
        let amount = Amount::from_cents(cents).unwrap_or_default();
        Standing { order, amount, currency: "USD", captured_at: None }
    }

    proptest! {
        #[test]
        fn only_the_exact_total_pays_and_never_a_cancelled_order(
            order in select(&OrderStatus::ALL[..]),
            total in 0..10_000_i64,
            came in prop_oneof![0..10_000_i64, any::<i64>()],
            currency in select(vec!["USD", "EUR"]),
        ) {
            let captured = Captured { amount: Some(came), currency: Some(currency.to_owned()) };
            let pays = standing(order, total).judge(&captured) == Verdict::Pays;
            prop_assert_eq!(pays, order != OrderStatus::Cancelled && came == total && currency == "USD");
        }

        #[test]
        fn money_is_judged_once(order in select(&OrderStatus::ALL[..]), came in any::<i64>()) {
            let standing = Standing { captured_at: Some(DateTime::UNIX_EPOCH), ..standing(order, 100) };
            let captured = Captured { amount: Some(came), currency: None };
            prop_assert_eq!(standing.judge(&captured), Verdict::Known);
        }
    }

    #[test]
    fn what_is_not_said_is_what_was_asked_for() {
        let pending = standing(OrderStatus::Pending, 1999);
        assert_eq!(pending.judge(&Captured::default()), Verdict::Pays);
        let back = standing(OrderStatus::Cancelled, 1999).judge(&Captured::default());
        assert_eq!(back, Verdict::GivenBack(PaymentProblem::OrderCancelled, pending.amount));
    }

    #[test]
    fn names_round_trip() {
        for status in PaymentStatus::ALL {
            assert_eq!(PaymentStatus::parse(status.as_str()), Some(*status));
        }
        assert_eq!(RefundReason::parse("requested"), None);
    }
}
