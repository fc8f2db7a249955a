//! What an operation costs, told from its document and variables before it runs.
//!
//! Every object that is asked for counts one, and twenty plain fields of an object one more. A page counts as many objects as it may hold:
//! `products(first: 50) { nodes { price { amount } } }` costs 101. A mutation counts ten more, and the least that anything
//! costs is one.

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Request, Value, Variables};

use crate::domain::limits::Charge;
use crate::domain::page::{DEFAULT_PAGE, MAX_PAGE};
use crate::error::{Error, Result, whole_seconds};
use crate::graphql::selected;

/// The most that an operation may cost.
const MAX_COST: u32 = 5_000;

/// How many plain fields cost as much as an object.
const PLAIN_FIELDS: u32 = 20;

/// What counting a list costs: it is a query of its own, under every alias.
const COUNT: u32 = 20;

/// What a mutation costs beside the objects that it answers with.
const MUTATION: u32 = 10;

/// What this operation of the document costs. Fragments must have been checked not to spread themselves.
fn of(document: &ExecutableDocument, operation: &OperationDefinition, variables: &Variables) -> u32 {
    let pricing = Pricing { document, operation, variables };
    let fields = pricing.set(&operation.selection_set.node, 0);
    let changes =
        if operation.ty == OperationType::Mutation { pricing.roots(&operation.selection_set.node) } else { 0 };
    fields.saturating_add(changes.saturating_mul(MUTATION)).max(1)
}

/// What a request costs. Why one that cannot be run cannot be, is said when it is tried.
pub fn of_request(request: &mut Request) -> u32 {
    let name = request.operation_name.clone();
    let variables = std::mem::take(&mut request.variables);
    let cost = request.parsed_query().ok().and_then(|document| {
        let operation = selected(document, name.as_deref())?;
        Some(of(document, operation, &variables))
    });
    request.variables = variables;
    cost.unwrap_or(1)
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
        let plain = self.sum(set, &|field| u32::from(field.selection_set.node.items.is_empty())) / PLAIN_FIELDS;
        let below = self.set(set, self.page(field)).saturating_add(1 + plain);
        match field.name.node.as_str() {
            "nodes" | "edges" => below.saturating_mul(page.max(1)),
            _ => below,
        }
    }

    /// How many fields there are on this level, those of fragments among them.
    fn roots(&self, set: &SelectionSet) -> u32 {
        self.sum(set, &|_| 1)
    }

    fn sum(&self, set: &SelectionSet, of: &dyn Fn(&Field) -> u32) -> u32 {
        let costs = set.items.iter().map(|selection| match &selection.node {
            Selection::Field(field) => of(&field.node),
            Selection::InlineFragment(fragment) => self.sum(&fragment.node.selection_set.node, of),
            Selection::FragmentSpread(spread) => {
                let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                fragment.map_or(0, |fragment| self.sum(&fragment.node.selection_set.node, of))
            }
        });
        costs.fold(0, u32::saturating_add)
    }

    /// How many rows a field's page may hold, as far as its arguments tell.
    fn page(&self, field: &Field) -> u32 {
        let asked = |name: &str| {
            let (_, value) = field.arguments.iter().find(|(argument, _)| argument.node == name)?;
            let value = value.node.clone().into_const_with(|variable| self.variable(&variable).ok_or(()));
            match value {
                Ok(Value::Number(number)) => number.as_i64(),
                _ => None,
            }
        };
        let rows = asked("first").or_else(|| asked("last")).unwrap_or(DEFAULT_PAGE.into());
        // What is out of range is refused by name, when it runs.
        u32::try_from(rows.clamp(0, MAX_PAGE.into())).unwrap_or_default()
    }

    fn variable(&self, name: &str) -> Option<Value> {
        let given = self.variables.get(name).cloned();
        let definitions = self.operation.variable_definitions.iter();
        let default = || {
            let definition = definitions.into_iter().find(|definition| definition.node.name.node == name)?;
            Some(definition.node.default_value.as_ref()?.node.clone())
        };
        given.or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    fn cost_with(query: &str, variables: serde_json::Value) -> u32 {
        let document = parse_query(query).unwrap();
        of(&document, selected(&document, None).unwrap(), &Variables::from_json(variables))
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
