//! Scalars and money.

use async_graphql::{Context, InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value};
use uuid::Uuid;

use crate::domain::money::Amount;
use crate::error::{Error, Result};
use crate::graphql::context::RequestExt;

/// The built-in `ID`: always a UUID, the same as in REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub Uuid);

/// An identifier: a UUID, the same as in REST.
#[Scalar(name = "ID")]
impl ScalarType for Id {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Uuid::try_parse(text).map(Self).map_err(|_| InputValueError::custom(Self::EXPECTED)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

impl Id {
    /// What a value must look like, for error messages.
    pub const EXPECTED: &str = "must be a UUID like 0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42";
}

/// A decimal number as it came in; [`Decimal::amount`] checks it and can name the field.
#[derive(Clone, Debug)]
pub struct Decimal(String);

/// An exact decimal number, written as a string with two decimals: "19.99". A number is accepted as input too.
#[Scalar]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl Decimal {
    /// The amount, or an error that names the field.
    pub fn amount(&self, field: &str) -> Result<Amount> {
        Amount::parse(&self.0).ok_or_else(|| Error::field(field, Amount::EXPECTED))
    }
}

/// The code of a currency.
#[derive(Clone, Debug)]
pub struct CurrencyCode(String);

/// The ISO 4217 code of a currency, like "USD".
#[Scalar]
impl ScalarType for CurrencyCode {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl CurrencyCode {
    /// A code that the domain has checked, or is about to.
    pub const fn new(code: String) -> Self {
        Self(code)
    }

    /// The code as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// An amount of money in the shop's currency.
#[derive(Clone, Debug, SimpleObject)]
pub struct Money {
    /// How much, with two decimals.
    amount: Decimal,
    /// Of which currency.
    currency_code: CurrencyCode,
}

impl Money {
    /// An amount in the currency of the caller's shop.
    pub fn new(ctx: &Context<'_>, amount: Amount) -> Result<Self> {
        let currency = ctx.request().caller.tenant()?.currency.clone();
        Ok(Self { amount: Decimal(amount.to_string()), currency_code: CurrencyCode(currency) })
    }
}
