//! What an operation costs, told from its document and variables before it runs.
//!
//! Every object that is asked for counts one, and twenty plain fields of an object one more. A page counts as many objects as
//! it may hold: `products(first: 50) { nodes { price { amount } } }` costs 101. A list that is no page counts three, and what a
//! page skips counts as well, because PostgreSQL has to pass by it. Asking for the schema has a price of its own. A mutation
//! counts ten more, and the least that anything costs is one.

use async_graphql::parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType, SelectionSet};
use async_graphql::{Name, Value, Variables};

use crate::domain::limits::Charge;
use crate::domain::page::{DEFAULT_PAGE, MAX_OFFSET, MAX_PAGE};
use crate::error::{Error, Result, whole_seconds};
use crate::graphql::operation::{Operation, each_field, given};

/// The most that an operation may cost.
const MAX_COST: u32 = 5_000;

/// How many plain fields cost as much as an object.
const PLAIN_FIELDS: u32 = 20;

/// Lists that are no pages, and as how many objects each of theirs counts: about as many as most have.
const LISTS: [&str; 3] = ["items", "refunds", "statusHistory"];
const LISTED: u32 = 3;

/// How many rows that a page skips cost as much as an object.
const SKIPPED: u32 = 250;

/// What asking for the schema costs, beside one for each field: it is all lists of lists.
const INTROSPECTION: u32 = 200;

/// What counting a list costs: it is a query of its own, under every alias.
const COUNT: u32 = 20;

/// What a mutation costs beside the objects that it answers with.
const MUTATION: u32 = 10;

/// What an operation costs. Why one that cannot be run cannot be, is said when it is tried.
pub fn of(operation: &Operation) -> u32 {
    let definition = operation.definition();
    definition.map_or(1, |definition| price(&operation.document.parsed, definition, &operation.variables))
}

/// What this operation of the document costs. Fragments must have been checked not to spread themselves.
fn price(document: &ExecutableDocument, operation: &OperationDefinition, variables: &Variables) -> u32 {
    let pricing = Pricing { document, operation, variables };
    let fields = pricing.set(&operation.selection_set.node, 0);
    let changes =
        if operation.ty == OperationType::Mutation { pricing.roots(&operation.selection_set.node) } else { 0 };
    fields.saturating_add(changes.saturating_mul(MUTATION)).max(1)
}

/// Refuses what costs more than any operation may.
pub fn check(cost: u32) -> Result<()> {
    if cost <= MAX_COST {
        return Ok(());
    }
    let message = format!("costs {cost}, and may cost {MAX_COST} at most; ask for smaller pages or fewer objects");
    Err(Error::field("query", message))
}

/// What `extensions.cost` says: what the operation cost and, where costs are limited, what is left.
pub fn told(cost: u32, charge: Option<Charge>) -> Value {
    let left = charge.map(|charge| {
        let reset_after = whole_seconds(charge.verdict.reset_after);
        [
            ("limit", charge.quota.units().into()),
            ("remaining", charge.verdict.remaining.into()),
            ("resetAfter", reset_after),
        ]
    });
    let told = [("requested", cost.into())].into_iter().chain(left.into_iter().flatten());
    Value::Object(told.map(|(name, number)| (Name::new(name), Value::Number(number.into()))).collect())
}

struct Pricing<'a> {
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
}

impl Pricing<'_> {
    /// What a set costs that stands in a field of so many rows a page.
    fn set(&self, set: &SelectionSet, page: u32) -> u32 {
        self.sum(set, &|field| self.field(field, page))
    }

    fn field(&self, field: &Field, page: u32) -> u32 {
        let set = &field.selection_set.node;
        if set.items.is_empty() {
            return if field.name.node == "totalCount" { COUNT } else { 0 };
        }
        if matches!(field.name.node.as_str(), "__schema" | "__type") {
            return self.fields(set).saturating_add(INTROSPECTION);
        }
        let plain = self.sum(set, &|field| u32::from(field.selection_set.node.items.is_empty())) / PLAIN_FIELDS;
        // What is out of range, here and below, is refused by name when it runs.
        let skipped = self.argument(field, "offset").unwrap_or_default().min(MAX_OFFSET.unsigned_abs()) / SKIPPED;
        let below = self.set(set, self.page(field)).saturating_add(1 + plain).saturating_add(skipped);
        match field.name.node.as_str() {
            "nodes" | "edges" => below.saturating_mul(page.max(1)),
            list if LISTS.contains(&list) => below.saturating_mul(LISTED),
            _ => below,
        }
    }

    /// How many fields there are on all levels.
    fn fields(&self, set: &SelectionSet) -> u32 {
        self.sum(set, &|field| self.fields(&field.selection_set.node).saturating_add(1))
    }

    /// How many fields there are on this level, those of fragments among them.
    fn roots(&self, set: &SelectionSet) -> u32 {
        self.sum(set, &|_| 1)
    }

    fn sum(&self, set: &SelectionSet, of: &dyn Fn(&Field) -> u32) -> u32 {
        let mut sum = 0_u32;
        // What is missing is refused when it runs.
        each_field(self.document, set, &mut |field| sum = sum.saturating_add(of(field)));
        sum
    }

    /// How many rows a field's page may hold, as far as its arguments tell.
    fn page(&self, field: &Field) -> u32 {
        let rows = self.argument(field, "first").or_else(|| self.argument(field, "last"));
        rows.map_or(DEFAULT_PAGE.unsigned_abs(), |rows| rows.min(MAX_PAGE.unsigned_abs()))
    }

    /// A number that is given as an argument; less than nothing counts as nothing.
    fn argument(&self, field: &Field, name: &str) -> Option<u32> {
        let (_, value) = field.arguments.iter().find(|(argument, _)| argument.node == name)?;
        match *given(self.operation, self.variables, &value.node)? {
            Value::Number(ref number) => Some(u32::try_from(number.as_i64()?.max(0)).unwrap_or(u32::MAX)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use async_graphql::parser::types::{BaseType, TypeKind, TypeSystemDefinition};
    use async_graphql::parser::{parse_query, parse_schema};
    use serde_json::json;

    use super::*;
    use crate::graphql::operation::selected;

    fn cost_with(query: &str, variables: serde_json::Value) -> u32 {
        let document = parse_query(query).unwrap();
        price(&document, selected(&document, None).unwrap(), &Variables::from_json(variables))
    }

    fn cost(query: &str) -> u32 {
        cost_with(query, json!({}))
    }

    #[test]
    fn objects_count() {
        assert_eq!(cost("{ __typename }"), 1);
        assert_eq!(cost("{ viewer { id email role } }"), 1);
        assert_eq!(cost("{ product { id price { amount } inventory { quantity } } }"), 3);
        assert_eq!(cost("{ a: viewer { id } b: viewer { id } }"), 2);
    }

    #[test]
    fn many_plain_fields_count_too() {
        let fields = |n: usize| {
            format!("{{ products(first: 10) {{ nodes {{ {} ...F }} }} }} fragment F on P {{ id }}", "name ".repeat(n))
        };
        assert_eq!((cost(&fields(18)), cost(&fields(19)), cost(&fields(1999))), (11, 21, 1011));
    }

    #[test]
    fn pages_count_as_many_rows_as_they_may_hold() {
        assert_eq!(cost("{ products { nodes { id } } }"), 21);
        assert_eq!(cost("{ products(first: 50) { nodes { id price { amount } } } }"), 101);
        assert_eq!(cost("{ products(last: 5) { edges { cursor node { id } } pageInfo { endCursor } } }"), 12);
        assert_eq!(cost("{ products(first: 0) { nodes { id } } }"), 2);
        assert_eq!(cost("{ products(first: 1000000000) { nodes { id } } }"), 101);
        assert_eq!(cost("{ products(first: 10) { totalCount } }"), 21);
        let nested = "{ users(first: 100) { nodes { orders(first: 100) { nodes { id } } } } }";
        assert_eq!(cost(nested), 1 + 100 * (1 + 1 + 100));
    }

    #[test]
    fn lists_that_are_no_pages_and_what_is_skipped_count() {
        assert_eq!(cost("{ order { items { sku priceAtTime { amount } } } }"), 1 + 3 * 2);
        assert_eq!(cost("{ products(first: 10, offset: 249) { nodes { id } } }"), 11);
        assert_eq!(cost("{ products(first: 10, offset: 1000000) { nodes { id } } }"), 4011);
        assert_eq!(cost_with("query($o: Int) { products(offset: $o) { totalCount } }", json!({"o": 2500})), 31);
        assert_eq!(cost("{ products(first: 10, offset: -5) { nodes { id } } }"), 11);
    }

    #[test]
    fn the_schema_has_its_price() {
        assert_eq!(cost("{ __schema { types { ...T } } } fragment T on __Type { name fields { name } }"), 204);
        assert_eq!(cost(&format!("{{ __type(name: \"Order\") {{ fields {{ {} }} }} }}", "name ".repeat(1000))), 1201);
    }

    /// Whoever adds a list to the schema says what it costs.
    #[test]
    fn every_list_of_objects_has_a_price() {
        let schema = parse_schema(crate::graphql::sdl()).unwrap();
        let types = schema.definitions.iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) => Some(&definition.node),
            _ => None,
        });
        let objects = types.filter_map(|of| match &of.kind {
            TypeKind::Object(object) => Some((of.name.node.as_str(), &object.fields)),
            _ => None,
        });
        let objects: HashMap<_, _> = objects.collect();
        let mut lists = BTreeSet::new();
        for field in objects.values().flat_map(|fields| fields.iter()) {
            let BaseType::List(inner) = &field.node.ty.node.base else { continue };
            if let BaseType::Named(name) = &inner.base
                && objects.contains_key(name.as_str())
            {
                lists.insert(field.node.name.node.as_str());
            }
        }
        // A caller's own mistakes are free.
        assert!(lists.remove("nodes") && lists.remove("edges") && lists.remove("userErrors"));
        assert_eq!(lists.into_iter().collect::<Vec<_>>(), LISTS);
    }

    #[test]
    fn variables_and_fragments_are_followed() {
        let query = "query($n: Int = 7) { products(first: $n) { ...P } } fragment P on C { ... { nodes { id } } }";
        assert_eq!((cost(query), cost_with(query, json!({"n": 30}))), (8, 31));
        assert_eq!(cost_with(query, json!({"n": null})), 21);
    }

    #[test]
    fn mutations_cost_more_and_nothing_overflows() {
        assert_eq!(cost("mutation { productCreate { product { id } } }"), 12);
        assert_eq!(cost("mutation { a: logout { loggedOut } ...F } fragment F on M { b: logout { loggedOut } }"), 22);
        let level = "p(first: 100) { nodes { ".repeat(12);
        assert_eq!(cost(&format!("{{ {level} id {} }}", "} }".repeat(12))), u32::MAX);
    }
}
