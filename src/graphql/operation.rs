//! What is asked: an operation of a document, with the values of its variables.

use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Request, Value, Variables};
use async_graphql_value::Value as Literal;

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

/// The value of a variable, or its default; none when it is left out.
fn variable<'a>(operation: &'a OperationDefinition, variables: &'a Variables, name: &str) -> Option<&'a Value> {
    let default = || {
        let mut definitions = operation.variable_definitions.iter();
        let definition = definitions.find(|definition| definition.node.name.node == name)?;
        definition.node.default_value.as_ref().map(|value| &value.node)
    };
    variables.get(name).or_else(default)
}

/// What an argument is given, with the values of variables; none when it is a variable that is left out.
pub(super) fn given<'a>(
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    value: &'a Literal,
) -> Option<Cow<'a, Value>> {
    let below = |value| given(operation, variables, value).map(Cow::into_owned);
    Some(match value {
        Literal::Variable(name) => return variable(operation, variables, name).map(Cow::Borrowed),
        Literal::List(values) => Cow::Owned(values.iter().map(|value| below(value).unwrap_or_default()).collect()),
        Literal::Object(fields) => {
            let fields = fields.iter().filter_map(|(name, value)| Some((name.clone(), below(value)?)));
            Cow::Owned(Value::Object(fields.collect()))
        }
        plain => Cow::Owned(plain.clone().into_const()?),
    })
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
