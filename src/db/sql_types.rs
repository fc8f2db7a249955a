//! How value types of the domain are stored.

use bigdecimal::{BigDecimal, ToPrimitive};
use diesel::deserialize::{self, FromSql, Queryable};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Numeric, Text};

use crate::domain::actor::Role;
use crate::domain::audit::AuditAction;
use crate::domain::money::Amount;
use crate::domain::orders::OrderStatus;
use crate::domain::payments::{PaymentProblem, PaymentStatus, RefundReason, RefundStatus};

impl ToSql<Numeric, Pg> for Amount {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <BigDecimal as ToSql<Numeric, Pg>>::to_sql(&decimal(*self), &mut out.reborrow())
    }
}

impl FromSql<Numeric, Pg> for Amount {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let decimal = <BigDecimal as FromSql<Numeric, Pg>>::from_sql(value)?;
        let cents = (decimal * BigDecimal::from(100)).to_i64();
        Ok(cents.and_then(Self::from_cents).ok_or("an amount out of range")?)
    }
}

impl Queryable<Numeric, Pg> for Amount {
    type Row = Self;

    fn build(row: Self) -> deserialize::Result<Self> {
        Ok(row)
    }
}

/// States are text with a CHECK: `=` of PostgreSQL's enums is not leakproof, so their indexes go unused under RLS.
macro_rules! stored_by_name {
    ($type:ty) => {
        impl FromSql<Text, Pg> for $type {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
                let name = std::str::from_utf8(value.as_bytes())?;
                Ok(Self::parse(name).ok_or_else(|| format!("unknown name {name}"))?)
            }
        }

        impl Queryable<Text, Pg> for $type {
            type Row = Self;

            fn build(row: Self) -> deserialize::Result<Self> {
                Ok(row)
            }
        }
    };
}

stored_by_name!(Role);
stored_by_name!(AuditAction);
stored_by_name!(OrderStatus);
stored_by_name!(PaymentStatus);
stored_by_name!(PaymentProblem);
stored_by_name!(RefundStatus);
stored_by_name!(RefundReason);

/// The amount as diesel's builder takes it.
pub(super) fn decimal(amount: Amount) -> BigDecimal {
    BigDecimal::new(amount.cents().into(), 2)
}
