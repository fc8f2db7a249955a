//! The state machine of an order, and what a new one is made of.

use std::fmt;

use garde::Validate;
use uuid::Uuid;

use crate::domain::validation::{is_country_code, is_email, is_quantity, is_text};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderStatus {
    /// Placed, stock reserved, not paid yet.
    Pending,
    /// Paid.
    Paid,
    /// Packed.
    Fulfilled,
    /// On its way.
    Shipped,
    /// Arrived. The end.
    Completed,
    /// Called off, stock returned. The end.
    Cancelled,
}

impl OrderStatus {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Paid, Self::Fulfilled, Self::Shipped, Self::Completed, Self::Cancelled];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Paid => "PAID",
            Self::Fulfilled => "FULFILLED",
            Self::Shipped => "SHIPPED",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Where an order may go from here. Nothing else is ever possible.
    #[must_use]
    pub const fn allowed(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Paid, Self::Cancelled],
            Self::Paid => &[Self::Fulfilled, Self::Cancelled],
            Self::Fulfilled => &[Self::Shipped, Self::Cancelled],
            Self::Shipped => &[Self::Completed],
            Self::Completed | Self::Cancelled => &[],
        }
    }

    /// Whether an order may go there from here.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.allowed().contains(&next)
    }

    /// Whether the customer may still call the order off without the shop's help.
    #[must_use]
    pub const fn customer_may_cancel(self) -> bool {
        matches!(self, Self::Pending | Self::Paid)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a customer wants to buy, and where it goes.
#[derive(Clone, Debug, Validate)]
pub struct NewOrder {
    /// Whose order it is, when staff place it for a customer.
    #[garde(skip)]
    pub customer_id: Option<Uuid>,
    /// Who receives it.
    #[garde(custom(is_text::<1, 200>))]
    pub customer_name: String,
    /// Where to write about it.
    #[garde(custom(is_email))]
    pub customer_email: String,
    /// Where it goes.
    #[garde(dive)]
    pub shipping_address: Address,
    /// What is bought: 1 to 100 lines.
    #[garde(custom(is_basket), dive)]
    pub items: Vec<NewOrderItem>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn is_basket(items: &[NewOrderItem], (): &()) -> garde::Result {
    if (1..=100).contains(&items.len()) { Ok(()) } else { Err(garde::Error::new("must have 1 to 100 lines")) }
}

/// A postal address. Only its size is checked: addresses differ too much between countries for more.
#[derive(Clone, Debug, PartialEq, Eq, Validate, serde::Serialize, serde::Deserialize)]
pub struct Address {
    /// Street and number.
    #[garde(custom(is_text::<1, 200>))]
    pub street: String,
    /// City or town.
    #[garde(custom(is_text::<1, 100>))]
    pub city: String,
    /// State, province or region.
    #[garde(custom(is_text::<0, 100>))]
    pub state: String,
    /// Postal code.
    #[garde(custom(is_text::<0, 20>))]
    pub zip: String,
    /// ISO 3166-1 alpha-2 country code.
    #[garde(custom(is_country_code))]
    pub country: String,
}

/// One line of a new order.
#[derive(Clone, Debug, Validate)]
pub struct NewOrderItem {
    /// What is bought.
    #[garde(skip)]
    pub product_id: Uuid,
    /// How many.
    #[garde(custom(is_quantity::<1>))]
    pub quantity: i32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn names_round_trip() {
        for status in OrderStatus::ALL {
            assert_eq!(OrderStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(OrderStatus::parse("pending"), None);
    }

    #[test]
    fn the_edges_are_exactly_those_of_the_requirements() {
        let edges: Vec<String> = OrderStatus::ALL
            .into_iter()
            .flat_map(|from| from.allowed().iter().map(move |to| format!("{from}>{to}")))
            .collect();
        let wanted = "PENDING>PAID PENDING>CANCELLED PAID>FULFILLED PAID>CANCELLED FULFILLED>SHIPPED \
                      FULFILLED>CANCELLED SHIPPED>COMPLETED";
        assert_eq!(edges.join(" "), wanted);
    }

    proptest! {
        #[test]
        fn every_walk_ends_and_never_returns(choices in prop::collection::vec(any::<prop::sample::Index>(), 10)) {
            let mut seen = vec![OrderStatus::Pending];
            for choice in choices {
                let here = seen[seen.len() - 1];
                if here.allowed().is_empty() { break; }
                seen.push(*choice.get(here.allowed()));
            }
            let end = seen[seen.len() - 1];
            prop_assert!(matches!(end, OrderStatus::Completed | OrderStatus::Cancelled));
            for (i, a) in seen.iter().enumerate() {
                prop_assert!(!seen[i + 1..].contains(a));
            }
        }

        #[test]
        fn customers_cancel_only_what_may_be_cancelled(status in select(&OrderStatus::ALL[..])) {
            prop_assert!(!status.customer_may_cancel() || status.may_become(OrderStatus::Cancelled));
        }
    }
}
