//! Values that REST writes differently from GraphQL.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// An amount of money in a request: text, or a number for clients that have no decimals. The engine checks it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "must be an amount like \"19.99\"")]
pub enum Decimal {
    /// `"19.99"`
    Text(String),
    /// `19.99`
    Number(serde_json::Number),
}

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        let text =
            ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^\d{1,8}(\.\d{1,2})?$")).examples(["19.99"]);
        let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(99_999_999.99));
        let description = "An amount in the shop's currency, from 0 to 99999999.99, with at most two decimals. Better a \
                           string; a number is accepted too. Nothing is rounded.";
        OneOfBuilder::new().item(text).item(number).description(Some(description)).into()
    }
}

impl ToSchema for Decimal {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}

/// Reads GraphQL's `Money` as its amount, like `"19.99"`.
pub fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    struct Money {
        amount: String,
    }

    Money::deserialize(deserializer).map(|money| money.amount)
}
