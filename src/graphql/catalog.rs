//! Questions about what a shop shows to everybody alike, whose answers are kept: see [`services::catalog`](crate::services::catalog).

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection, SelectionSet};
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::actor::Caller;
use crate::graphql::Engine;
use crate::graphql::answer::{Answer, Data};
use crate::graphql::operation::Operation;
use crate::services::catalog::Question;

/// The fields of `Query` that read the catalog: many products, and one.
const LIST: &str = "products";
const ONE: &str = "product";

/// What may be selected below them. Not the stock: it is not for everybody, and changes with every order.
const FIELDS: [&str; 23] = [
    "__typename",
    "amount",
    "category",
    "createdAt",
    "currencyCode",
    "cursor",
    "description",
    "edges",
    "endCursor",
    "hasNextPage",
    "hasPreviousPage",
    "id",
    "imageUrls",
    "isActive",
    "name",
    "node",
    "nodes",
    "pageInfo",
    "price",
    "sku",
    "startCursor",
    "totalCount",
    "updatedAt",
];

/// What a visitor asks of a shop's catalog.
pub struct Inquiry {
    tenant: Uuid,
    question: Question,
    is_list: bool,
}

impl Inquiry {
    /// What is asked, if it is about nothing but the catalog and every visitor would be answered the same.
    pub fn of(caller: &Caller, operation: &Operation) -> Option<Self> {
        let tenant = caller.tenant.as_ref().filter(|_| is_visitor(caller))?.id;
        let definition = operation.definition().filter(|definition| definition.ty == OperationType::Query)?;
        let roots = roots(&operation.document.parsed, &definition.selection_set.node)?;
        let is_list = roots.contains(&LIST);
        if !is_list && !roots.contains(&ONE) {
            return None;
        }
        Some(Self { tenant, question: question(operation)?, is_list })
    }
}

/// Whether somebody sees no more than anybody else. Staff and their machines see more, and always what is there now.
fn is_visitor(caller: &Caller) -> bool {
    !caller.is_staff() && caller.scopes.is_none() && !caller.owes_second_factor
}

/// The hash of all that decides on the answer, beside the catalog: also which program gives it, because replicas of two may
/// run side by side.
fn question(operation: &Operation) -> Option<Question> {
    let mut hash = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
    hash.update(operation.document.hash);
    hash.update(operation.name.as_deref().unwrap_or_default());
    // No name holds what ends it here.
    hash.update([0]);
    serde_json::to_writer(&mut hash, &operation.variables).ok()?;
    Some(hash.finalize().into())
}

/// The fields of `Query` that are asked for; none if there are others than of the catalog, or there is more below them.
fn roots<'a>(document: &'a ExecutableDocument, set: &'a SelectionSet) -> Option<Vec<&'a str>> {
    let mut names = Vec::new();
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                let name = field.node.name.node.as_str();
                let is_known = [LIST, ONE, "__typename"].contains(&name);
                if !is_known || !is_catalog(document, &field.node.selection_set.node) {
                    return None;
                }
                names.push(name);
            }
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node)?;
                names.extend(roots(document, &fragment.node.selection_set.node)?);
            }
            Selection::InlineFragment(fragment) => {
                names.extend(roots(document, &fragment.node.selection_set.node)?);
            }
        }
    }
    Some(names)
}

/// Whether nothing but [`FIELDS`] is selected, on all levels.
fn is_catalog(document: &ExecutableDocument, set: &SelectionSet) -> bool {
    set.items.iter().all(|selection| match &selection.node {
        Selection::Field(field) => {
            FIELDS.contains(&field.node.name.node.as_str()) && is_catalog(document, &field.node.selection_set.node)
        }
        Selection::FragmentSpread(spread) => {
            let fragment = document.fragments.get(&spread.node.fragment_name.node);
            fragment.is_some_and(|fragment| is_catalog(document, &fragment.node.selection_set.node))
        }
        Selection::InlineFragment(fragment) => is_catalog(document, &fragment.node.selection_set.node),
    })
}

impl Engine {
    /// Answers what is kept, or runs the operation and keeps its answer, unless that has errors.
    pub(super) async fn inquire(&self, inquiry: Inquiry, caller: Caller, operation: Operation) -> Answer {
        let catalog = &self.services.catalog;
        let Inquiry { tenant, question, is_list } = inquiry;
        let Some(place) = catalog.place(tenant, question).await else {
            return self.run(Arc::clone(&self.services), caller, operation).await.into();
        };
        let kept = catalog.find(&place, is_list).await;
        self.services.metrics.catalog_asked(kept.is_some());
        if let Some(answer) = kept {
            return Answer { data: Data::Kept(answer), ..Answer::default() };
        }
        let response = self.run(Arc::clone(&self.services), caller, operation).await;
        let written = to_raw_value(&response.data).ok().filter(|_| response.errors.is_empty());
        let Some(written) = written else {
            return response.into();
        };
        let written = Arc::from(written);
        catalog.keep(place, &written, is_list).await;
        Answer { data: Data::Kept(written), ..Answer::from(response) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use async_graphql::Variables;
    use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
    use async_graphql::parser::{parse_query, parse_schema};
    use serde_json::json;

    use super::*;
    use crate::graphql::Document;

    fn asks(text: &str) -> Option<bool> {
        let document = parse_query(text).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        let roots = roots(&document, &operation.node.selection_set.node)?;
        (roots.contains(&LIST) || roots.contains(&ONE)).then(|| roots.contains(&LIST))
    }

    #[test]
    fn the_catalog_is_what_everybody_may_see_of_products() {
        assert_eq!(asks("{ product(identifier: {sku: \"A\"}) { id price { amount } } }"), Some(false));
        assert_eq!(asks("{ a: product { id } products { totalCount edges { node { name } } } }"), Some(true));
        assert_eq!(
            asks(
                "{ __typename ...A } fragment A on Query { ... { products { ...B } } } fragment B on P { nodes { id } }"
            ),
            Some(true)
        );
        for other in [
            "{ __typename }",
            "{ viewer { id } }",
            "{ products { nodes { id } } viewer { id } }",
            "{ products { nodes { id inventory { quantity } } } }",
            "{ products { ...A } } fragment A on P { nodes { ... { name: inventory { id } } } }",
            "{ ...A } fragment A on Query { product { id } order { id } }",
            "{ node { id } }",
            "{ products { ...Missing } }",
            "{ products { nodes { id } } __schema { types { name } } }",
        ] {
            assert_eq!(asks(other), None, "{other}");
        }
    }

    /// Whoever adds a field says whether it is kept, by naming it above or here.
    #[test]
    fn every_field_of_the_catalog_is_kept_or_not() {
        const NOT_KEPT: [&str; 1] = ["inventory"];
        const TYPES: [&str; 5] = ["Money", "PageInfo", "Product", "ProductConnection", "ProductEdge"];
        let schema = parse_schema(crate::graphql::sdl()).unwrap();
        let mut fields = BTreeSet::from(["__typename".to_owned()]);
        for definition in &schema.definitions {
            if let TypeSystemDefinition::Type(definition) = definition
                && TYPES.contains(&definition.node.name.node.as_str())
                && let TypeKind::Object(object) = &definition.node.kind
            {
                fields.extend(object.fields.iter().map(|field| field.node.name.node.to_string()));
            }
        }
        for name in NOT_KEPT {
            assert!(fields.remove(name), "{name}");
        }
        assert_eq!(fields.iter().map(String::as_str).collect::<Vec<_>>(), FIELDS);
    }

    #[test]
    fn all_that_decides_on_the_answer_is_part_of_the_question() {
        let ask = |text: &str, name: Option<&str>, variables| {
            let document = Document { hash: Sha256::digest(text).into(), parsed: parse_query(text).unwrap() };
            let (name, variables) = (name.map(str::to_owned), Variables::from_json(variables));
            question(&Operation { document: Arc::new(document), name, variables }).unwrap()
        };
        let text = "query A { product { id } } query B { product { sku } }";
        let questions = [
            ask("{ product { id } }", None, json!({})),
            ask("{ product { sku } }", None, json!({})),
            ask("{ product { id } }", None, json!({"id": 1})),
            ask("{ product { id } }", None, json!({"id": "1"})),
            ask(text, Some("A"), json!({})),
            ask(text, Some("B"), json!({})),
        ];
        assert_eq!(questions.iter().collect::<BTreeSet<_>>().len(), questions.len());
        assert_eq!(questions[0], ask("{ product { id } }", None, json!({})));
    }
}
