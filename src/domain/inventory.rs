//! Stock: how a shop changes what it has.

use garde::Validate;

use crate::domain::validation::{MAX_QUANTITY, is_quantity, is_text};
use crate::error::{Error, Result};

/// How many pieces there shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// So many more, or fewer.
    Delta(i32),
    /// Exactly so many, as counted.
    Quantity(i32),
}

impl Adjustment {
    /// The quantity after the adjustment, or an error that names the field: stock is never negative.
    pub fn apply(self, current: i32) -> Result<i32> {
        match self {
            Self::Quantity(quantity) => Ok(quantity),
            Self::Delta(delta) => {
                current.checked_add(delta).filter(|after| (0..=MAX_QUANTITY).contains(after)).ok_or_else(|| {
                    let expected = format!(
                        "would leave {} pieces; must leave 0 to {MAX_QUANTITY}",
                        i64::from(current) + i64::from(delta)
                    );
                    Error::field("delta", expected)
                })
            }
        }
    }
}

/// A change of a product's stock.
#[derive(Clone, Debug, Validate)]
pub struct StockChange {
    /// So many more or fewer pieces.
    #[garde(skip)]
    pub delta: Option<i32>,
    /// Exactly so many pieces.
    #[garde(inner(custom(is_quantity::<0>)))]
    pub quantity: Option<i32>,
    /// At or below which stock is called low.
    #[garde(inner(custom(is_quantity::<0>)))]
    pub threshold: Option<i32>,
    /// Why, for the ledger.
    #[garde(inner(custom(is_text::<1, 500>)))]
    pub reason: Option<String>,
}

impl StockChange {
    /// The adjustment, if there is one; an error unless exactly one of delta, quantity, or else a threshold is given.
    pub fn adjustment(&self) -> Result<Option<Adjustment>> {
        match (self.delta, self.quantity, self.threshold) {
            (Some(0), None, _) => Err(Error::field("delta", "must not be 0")),
            (Some(delta), None, _) => Ok(Some(Adjustment::Delta(delta))),
            (None, Some(quantity), _) => Ok(Some(Adjustment::Quantity(quantity))),
            (None, None, Some(_)) => Ok(None),
            (Some(_), Some(_), _) => Err(Error::field("delta", "give either delta or quantity, not both")),
            (None, None, None) => Err(Error::field("delta", "give one of delta, quantity and threshold")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stock_stays_in_range(current in 0..=MAX_QUANTITY, delta in any::<i32>()) {
            match Adjustment::Delta(delta).apply(current) {
                Ok(after) => {
                    prop_assert!((0..=MAX_QUANTITY).contains(&after));
                    prop_assert_eq!(i64::from(after), i64::from(current) + i64::from(delta));
                }
                Err(error) => prop_assert_eq!(error.problems()[0].field.clone(), Some(vec!["delta".to_owned()])),
            }
        }
    }
}
