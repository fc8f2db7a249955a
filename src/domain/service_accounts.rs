//! Service accounts: what machines may do for a shop.

use crate::error::{Error, Result};

/// How long a key is good when nothing is said, in days.
pub const DEFAULT_DAYS: i32 = 90;

/// How long a key may be good, in days.
pub const MAX_DAYS: i32 = 365;

/// A part of what a merchant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Reading products, inactive ones too.
    ProductsRead,
    /// Creating and changing products.
    ProductsWrite,
    /// Reading the stock, and the products that it is of.
    InventoryRead,
    /// Changing the stock.
    InventoryWrite,
    /// Reading orders, what was bought with them, and their payments.
    OrdersRead,
    /// Creating, moving and cancelling orders.
    OrdersWrite,
    /// Asking for payments, and giving money back. Their orders are for [`Self::OrdersRead`].
    PaymentsWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::ProductsRead,
        Self::ProductsWrite,
        Self::InventoryRead,
        Self::InventoryWrite,
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::PaymentsWrite,
    ];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProductsRead => "PRODUCTS_READ",
            Self::ProductsWrite => "PRODUCTS_WRITE",
            Self::InventoryRead => "INVENTORY_READ",
            Self::InventoryWrite => "INVENTORY_WRITE",
            Self::OrdersRead => "ORDERS_READ",
            Self::OrdersWrite => "ORDERS_WRITE",
            Self::PaymentsWrite => "PAYMENTS_WRITE",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// What a root field of the schema takes. None is for people only.
    #[must_use]
    pub fn of_field(field: &str) -> Option<Self> {
        Some(match field {
            "product" | "products" => Self::ProductsRead,
            "productCreate" | "productUpdate" => Self::ProductsWrite,
            "inventory" => Self::InventoryRead,
            "inventoryAdjust" => Self::InventoryWrite,
            "order" | "orders" | "payments" => Self::OrdersRead,
            "orderCreate" | "orderStatusUpdate" | "orderCancel" => Self::OrdersWrite,
            "paymentIntentCreate" | "refundCreate" => Self::PaymentsWrite,
            _ => return None,
        })
    }
}

/// The scopes of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// All that are among them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Refuses what is not among them.
    pub fn check(self, scope: Option<Scope>) -> Result<()> {
        if scope.is_some_and(|scope| self.has(scope)) {
            return Ok(());
        }
        Err(Error::Forbidden("this needs a scope that the service account does not have, or a person"))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_told_apart() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            let only = Scopes::from_iter([scope]);
            assert_eq!(only.iter().collect::<Vec<_>>(), [scope]);
            assert!(only.check(Some(scope)).is_ok() && only.check(None).is_err());
        }
        assert_eq!(Scopes::from_iter(Scope::ALL).iter().count(), 7);
        assert!(Scopes::default().check(Some(Scope::ProductsRead)).is_err());
    }
}
