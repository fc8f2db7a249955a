//! What is asked: an operation of a document, with the values of its variables.

use std::sync::Arc;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Request, Variables};

/// The SHA-256 of a document's text.
pub type Hash = [u8; 32];

/// A document that was parsed, and found safe to work with.
#[derive(Clone, Debug)]
pub struct Document {
    /// What tells it from all others.
    pub hash: Hash,
    /// What it says.
    pub parsed: ExecutableDocument,
}

/// An operation to be run.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where it is defined.
    pub document: Arc<Document>,
    /// Which of the document's operations it is, where there are several.
    pub name: Option<String>,
    /// The values of its variables.
    pub variables: Variables,
}

impl Operation {
    /// Its definition; none when the document has no such operation, and then it is refused when it is run.
    #[must_use]
    pub fn definition(&self) -> Option<&OperationDefinition> {
        selected(&self.document.parsed, self.name.as_deref())
    }

    /// Whether it reads or changes something.
    #[must_use]
    pub fn kind(&self) -> Option<OperationType> {
        self.definition().map(|definition| definition.ty)
    }

    /// The request that runs it.
    #[must_use]
    pub fn into_request(self) -> Request {
        let mut request = Request::new("").variables(self.variables);
        request.operation_name = self.name;
        request.set_parsed_query(Arc::unwrap_or_clone(self.document).parsed);
        request
    }
}

/// The operation that will run, as `GetOperation` of the GraphQL specification picks it; none when that is ambiguous.
pub(super) fn selected<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) => {
            operations.values().next().filter(|_| operations.len() == 1)
        }
    };
    operation.map(|operation| &operation.node)
}

/// Hands on the fields of a set, and those of the fragments that it spreads. Tells whether all of these are there. They must
/// have been checked not to spread themselves.
pub(super) fn each_field<'a>(
    document: &'a ExecutableDocument,
    set: &'a SelectionSet,
    visit: &mut dyn FnMut(&'a Field),
) -> bool {
    set.items.iter().fold(true, |is_whole, selection| {
        let below = match &selection.node {
            Selection::Field(field) => {
                visit(&field.node);
                return is_whole;
            }
            Selection::InlineFragment(fragment) => Some(&fragment.node.selection_set.node),
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node);
                fragment.map(|fragment| &fragment.node.selection_set.node)
            }
        };
        below.is_some_and(|set| each_field(document, set, visit)) && is_whole
    })
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn the_name_picks_the_operation() {
        let kind = |text: &str, name: Option<&str>| {
            let document = Document { hash: Hash::default(), parsed: parse_query(text).unwrap() };
            let name = name.map(str::to_owned);
            Operation { document: Arc::new(document), name, variables: Variables::default() }.kind()
        };
        assert_eq!(kind("{ a }", None), Some(OperationType::Query));
        assert_eq!(kind("{ a }", Some("A")), None);
        assert_eq!(kind("mutation A { a }", None), Some(OperationType::Mutation));
        let both = "query A { a } mutation B { b }";
        assert_eq!(kind(both, Some("A")), Some(OperationType::Query));
        assert_eq!(kind(both, Some("B")), Some(OperationType::Mutation));
        assert_eq!(kind(both, Some("C")), None);
        assert_eq!(kind(both, None), None);
    }
}
