//! The values of arguments, checked against the schema before anything runs.
//!
//! The library does that too, but tells of one mistake in a sentence that no program can read. And some it finds only when it
//! runs the field, where it has forgotten which value it reads: an ID that is none, a number beyond 32 bits, what should be an
//! object, and whatever stands beside a variable that was left out. Here all that is wrong is named, as in REST.

use std::borrow::Cow;
use std::collections::HashMap;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, InputValueDefinition, OperationType, Type, TypeDefinition, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Name, Positioned, ScalarType, Value};

use crate::domain::money::Amount;
use crate::error::{Error, FieldError, Result};
use crate::graphql::operation::{Operation, each_field, given};
use crate::graphql::scalars::{CurrencyCode, Decimal, Id};
use crate::graphql::{MAX_MISTAKES, Schema};

/// What the arguments of a schema's fields must be.
pub struct Arguments(Types);

/// All types by their names.
type Types = HashMap<Name, TypeDefinition>;

impl Arguments {
    /// Reads what a schema says of itself.
    ///
    /// # Errors
    ///
    /// When it is not written as the specification has it.
    pub fn of(schema: &Schema) -> Result<Self> {
        let document = parse_schema(schema.sdl()).map_err(Error::internal)?;
        let types = document.definitions.into_iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) => Some((definition.node.name.node.clone(), definition.node)),
            TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
        });
        Ok(Self(types.collect()))
    }

    /// Refuses an operation that gives arguments which cannot be read. What else may be wrong with it, the library tells.
    pub(super) fn check(&self, operation: &Operation) -> Result<()> {
        let Some(definition) = operation.definition() else { return Ok(()) };
        let root = match definition.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        };
        let Some(TypeKind::Object(root)) = self.0.get(root).map(|root| &root.kind) else { return Ok(()) };
        let mut check = Check { types: &self.0, path: Vec::new(), wrong: Vec::new() };
        // No other fields have arguments.
        each_field(&operation.document.parsed, &definition.selection_set.node, &mut |field| {
            let known = root.fields.iter().find(|known| known.node.name.node == field.name.node);
            for argument in known.into_iter().flat_map(|known| &known.node.arguments) {
                if let Some(literal) = field.get_argument(&argument.node.name.node) {
                    let value = given(definition, &operation.variables, &literal.node);
                    check.part(&argument.node, value.as_deref());
                }
            }
        });
        if check.wrong.is_empty() { Ok(()) } else { Err(Error::Validation(check.wrong)) }
    }
}

/// A walk through values, beside their types.
struct Check<'a> {
    types: &'a Types,
    /// The way from an argument to the value that is looked at.
    path: Vec<Cow<'a, str>>,
    wrong: Vec<FieldError>,
}

impl<'a> Check<'a> {
    fn note(&mut self, message: impl Into<String>) {
        if self.wrong.len() < MAX_MISTAKES {
            // The argument itself is not worth mentioning where it is but the frame of an object.
            let path = self.path.get(1..).filter(|below| !below.is_empty()).unwrap_or(&self.path);
            let path = path.iter().map(|step| step.clone().into_owned()).collect();
            self.wrong.push(FieldError { path, message: message.into() });
        }
    }

    fn at(&mut self, step: impl Into<Cow<'a, str>>, look: impl FnOnce(&mut Self)) {
        self.path.push(step.into());
        look(self);
        self.path.pop();
    }

    /// An argument, or a field of an object.
    fn part(&mut self, definition: &'a InputValueDefinition, value: Option<&Value>) {
        let of = &definition.ty.node;
        self.at(definition.name.node.as_str(), |check| match value {
            Some(value) => check.value(of, value),
            None if of.nullable || definition.default_value.is_some() => {}
            None => check.note(REQUIRED),
        });
    }

    fn value(&mut self, of: &'a Type, value: &Value) {
        match (&of.base, value) {
            (_, Value::Null) if of.nullable => {}
            (_, Value::Null) => self.note(REQUIRED),
            (BaseType::List(of), Value::List(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.at(index.to_string(), |check| check.value(of, value));
                }
            }
            // As the specification has it, a list of one.
            (BaseType::List(of), value) => self.value(of, value),
            (BaseType::Named(name), value) => self.named(name, value),
        }
    }

    fn named(&mut self, name: &'a Name, value: &Value) {
        match self.types.get(name).map(|of| (of, &of.kind)) {
            Some((of, TypeKind::InputObject(object))) => {
                let is_one_of = of.directives.iter().any(|directive| directive.node.name.node == "oneOf");
                self.object(&object.fields, is_one_of, value);
            }
            Some((_, TypeKind::Enum(choice))) => {
                let is_one = |name: &str| choice.values.iter().any(|known| known.node.value.node == name);
                match value {
                    Value::Enum(name) if is_one(name) => {}
                    Value::String(name) if is_one(name) => {}
                    _ => self.note(format!("must be a value of {name}")),
                }
            }
            _ => {
                if let Some(expected) = expected(name, value) {
                    self.note(expected);
                }
            }
        }
    }

    fn object(&mut self, fields: &'a [Positioned<InputValueDefinition>], is_one_of: bool, value: &Value) {
        let Value::Object(given) = value else { return self.note("must be an object") };
        for field in fields {
            self.part(&field.node, given.get(&field.node.name.node));
        }
        for name in given.keys().filter(|name| fields.iter().all(|field| field.node.name.node != **name)) {
            let name: String = name.chars().take(LONGEST_NAME).collect();
            self.at(name, |check| check.note("is not known here"));
        }
        if is_one_of && (given.len() != 1 || given.values().any(|value| *value == Value::Null)) {
            self.note("must have exactly one field, and that not null");
        }
    }
}

const REQUIRED: &str = "is required";

/// How much is repeated of a name that nobody knows.
const LONGEST_NAME: usize = 100;

/// What a value of this scalar must be, unless it is.
fn expected(scalar: &str, value: &Value) -> Option<&'static str> {
    fn reads<T: ScalarType>(value: &Value) -> bool {
        T::parse(value.clone()).is_ok()
    }

    let (is_right, expected) = match scalar {
        "Boolean" => (reads::<bool>(value), "must be true or false"),
        "CurrencyCode" => (reads::<CurrencyCode>(value), "must be the ISO 4217 code of a currency, like \"USD\""),
        "Decimal" => (reads::<Decimal>(value), Amount::EXPECTED),
        "ID" => (reads::<Id>(value), Id::EXPECTED),
        "Int" => (reads::<i32>(value), "must be a whole number from -2147483648 to 2147483647"),
        "String" => (reads::<String>(value), "must be a string"),
        _ => return None,
    };
    (!is_right).then_some(expected)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use async_graphql::Variables;
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;
    use crate::graphql::{Document, Hash};

    static ARGUMENTS: LazyLock<Arguments> = LazyLock::new(|| Arguments::of(&crate::graphql::schema()).unwrap());

    /// What is wrong, as `field: why`.
    fn wrong(query: &str, variables: serde_json::Value) -> Vec<String> {
        let document = Arc::new(Document { hash: Hash::default(), parsed: parse_query(query).unwrap() });
        let operation = Operation { document, name: None, variables: Variables::from_json(variables) };
        match ARGUMENTS.check(&operation) {
            Ok(()) => Vec::new(),
            Err(Error::Validation(wrong)) => {
                wrong.iter().map(|wrong| format!("{}: {}", wrong.path.join("."), wrong.message)).collect()
            }
            Err(other) => vec![other.to_string()],
        }
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let query = "mutation($input: OrderCreateInput!) { orderCreate(input: $input) { order { id } } }";
        let address = json!({"street": "S", "city": 7, "country": "GB", "planet": "Earth"});
        let items =
            json!([{"productId": Id::EXPECTED, "quantity": 2_147_483_648_i64}, {"quantity": -2_147_483_648_i64}]);
        let input = json!({"customerName": null, "shippingAddress": address, "items": items});
        let expected = [
            "customerName: is required",
            "customerEmail: is required",
            "shippingAddress.city: must be a string",
            "shippingAddress.planet: is not known here",
            "items.0.productId: must be a UUID like 0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42",
            "items.0.quantity: must be a whole number from -2147483648 to 2147483647",
            "items.1.productId: is required",
        ];
        assert_eq!(wrong(query, json!({ "input": input })), expected);
        assert_eq!(wrong(query, json!({"input": 7})), ["input: must be an object"]);
        assert_eq!(wrong(query, json!({"input": null})), ["input: is required"]);
    }

    #[test]
    fn what_stands_beside_a_variable_that_is_left_out_is_checked_too() {
        let query = "query($s: OrderStatus, $n: Int = 5, $bad: Int = 5000000000) {
            a: orders(first: $n, filter: {status: $s, customerId: \"x\"}) { totalCount } ...F
        } fragment F on Query { ... { orders(last: $bad, filter: {status: $s}) { totalCount } } }";
        let found = wrong(query, json!({}));
        assert!(
            found[0].starts_with("customerId: ") && found[1].starts_with("last: ") && found.len() == 2,
            "{found:?}"
        );
        let found = wrong(query, json!({"n": "5", "bad": null, "s": "SENT"}));
        let status = "status: must be a value of OrderStatus";
        assert!(found[0].starts_with("first: ") && found[2].starts_with("customerId: "), "{found:?}");
        assert_eq!((&*found[1], &*found[3], found.len()), (status, status, 4));
    }

    #[test]
    fn what_is_right_passes() {
        for (query, variables) in [
            // Documents are the library's: it suggests what may have been meant.
            ("{ orders { totalCount } noSuchField(a: 1) { b } product(identifer: {}) { id } }", json!({})),
            ("{ orders(filter: {status: PAID}, first: 2147483647) { totalCount } }", json!({})),
            ("query($f: OrderFilter) { orders(filter: $f) { totalCount } }", json!({"f": {"status": "PAID"}})),
            ("query($f: OrderFilter) { orders(filter: $f) { totalCount } }", json!({"f": null})),
            (
                "query($p: Decimal) { products(filter: {minPrice: 1.5, maxPrice: $p}) { totalCount } }",
                json!({"p": "x"}),
            ),
            ("mutation { serviceAccountCreate(input: {name: \"A\", scopes: ORDERS_READ}) { key } }", json!({})),
            ("mutation { logout { loggedOut } tenantApiKeyRotate(input: {}) { apiKey } }", json!({})),
        ] {
            assert_eq!(wrong(query, variables), [""; 0], "{query}");
        }
    }

    #[test]
    fn an_identifier_is_one_of_several() {
        let query = "query($id: ID, $sku: String) { product(identifier: {id: $id, sku: $sku}) { id } }";
        let id = Id::EXPECTED.rsplit(' ').next();
        let expected = ["identifier: must have exactly one field, and that not null"];
        assert_eq!(wrong(query, json!({ "id": id })), [""; 0]);
        for wrongs in [json!({}), json!({"id": id, "sku": "A"}), json!({"sku": null}), json!({"id": id, "sku": null})] {
            assert_eq!(wrong(query, wrongs.clone()), expected, "{wrongs}");
        }
    }

    #[test]
    fn not_everything_is_repeated() {
        let query = "query($f: OrderFilter) { orders(filter: $f) { totalCount } }";
        let many: serde_json::Value = (0..1000).map(|i| (format!("{i}{}", "x".repeat(1000)), json!(1))).collect();
        let found = wrong(query, json!({ "f": many }));
        assert_eq!(found.len(), MAX_MISTAKES);
        assert!(found.iter().all(|wrong| wrong.len() < 150), "{found:?}");
    }

    /// Whoever gives arguments to another field has them checked as well.
    #[test]
    fn no_field_below_the_roots_has_arguments() {
        for (name, of) in ARGUMENTS.0.iter().filter(|(name, _)| !["Query", "Mutation"].contains(&name.as_str())) {
            if let TypeKind::Object(object) = &of.kind {
                assert!(object.fields.iter().all(|field| field.node.arguments.is_empty()), "{name}");
            }
        }
    }
}
