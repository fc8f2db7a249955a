//! Questions about what a shop shows to everybody alike, whose answers are kept: see [`services::catalog`](crate::services::catalog).

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationType, SelectionSet};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::actor::Caller;
use crate::graphql::Engine;
use crate::graphql::answer::{Answer, Data};
use crate::graphql::operation::{Operation, each_field};
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
        let is_list = asks_for_list(&operation.document.parsed, &definition.selection_set.node)?;
        Some(Self { tenant, question: question(operation)?, is_list })
    }
}

/// Whether somebody sees no more than anybody else. Staff and their machines see more, and always what is there now.
fn is_visitor(caller: &Caller) -> bool {
    !caller.is_staff() && caller.scopes.is_none() && !caller.owes_second_factor
}

/// The hash of all that decides on the answer, beside the catalog: also which program gives it (see `build.rs`), because
/// replicas of two may run side by side.
fn question(operation: &Operation) -> Option<Question> {
    let mut hash = Sha256::new_with_prefix(env!("MERCATO_SOURCES"));
    hash.update(operation.document.hash);
    hash.update(operation.name.as_deref().unwrap_or_default());
    // No name holds what ends it here.
    hash.update([0]);
    serde_json::to_writer(&mut hash, &operation.variables).ok()?;
    Some(hash.finalize().into())
}

/// Whether products are listed, if nothing is asked for but the catalog, and something of it.
fn asks_for_list(document: &ExecutableDocument, set: &SelectionSet) -> Option<bool> {
    let (mut has_list, mut has_one, mut is_catalog) = (false, false, true);
    let is_whole = each_field(document, set, &mut |field| {
        match field.name.node.as_str() {
            LIST => has_list = true,
            ONE => has_one = true,
            name => is_catalog &= name == "__typename",
        }
        is_catalog = is_catalog && is_shown(document, &field.selection_set.node);
    });
    (is_whole && is_catalog && (has_list || has_one)).then_some(has_list)
}

/// Whether nothing but [`FIELDS`] is selected, on all levels.
fn is_shown(document: &ExecutableDocument, set: &SelectionSet) -> bool {
    let mut are_known = true;
    let is_whole = each_field(document, set, &mut |field| {
        let is_known = FIELDS.contains(&field.name.node.as_str());
        are_known = are_known && is_known && is_shown(document, &field.selection_set.node);
    });
    is_whole && are_known
}

impl Engine {
    /// Answers what is kept, or runs the operation and keeps its answer, unless that has errors.
    pub(super) async fn inquire(&self, inquiry: Inquiry, caller: Caller, operation: Operation) -> Answer {
        let catalog = &self.services.catalog;
        let Inquiry { tenant, question, is_list } = inquiry;
        let metrics = &self.services.metrics;
        let Some(place) = catalog.place(tenant, question).await else {
            metrics.catalog_bypassed();
            return self.run(Arc::clone(&self.services), caller, operation).await.into();
        };
        if let Some(answer) = catalog.find(&place, is_list).await {
            metrics.catalog_hit();
            return Answer { data: Data::Kept(answer), ..Answer::default() };
        }
        metrics.catalog_missed();
        let response = self.run(Arc::clone(&self.services), caller, operation).await;
        if !response.errors.is_empty() {
            return response.into();
        }
        match catalog.keep(place, &response.data, is_list).await {
            Some(kept) => Answer { data: Data::Kept(kept), ..Answer::from(response) },
            None => response.into(),
        }
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
        asks_for_list(&document, &operation.node.selection_set.node)
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
