//! What a parsed document says of the operation that is about to run.

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition};
use async_graphql::{ServerError, Value, Variables};

/// The operation that will run, as `GetOperation` of the GraphQL specification picks it; none when that is ambiguous.
pub fn selected<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
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

/// What is wrong when a variable that may not be null has no value.
///
/// The library lets such a variable pass wherever the argument that takes it is optional, and then runs the operation
/// without the argument: a filter that the client forgot to fill in would be no filter at all.
pub fn missing_variable(operation: &OperationDefinition, variables: &Variables) -> Option<ServerError> {
    let is_missing = |name: &str, has_default: bool| match variables.get(name) {
        Some(value) => *value == Value::Null,
        None => !has_default,
    };
    let missing = operation.variable_definitions.iter().find(|definition| {
        let variable = &definition.node;
        !variable.var_type.node.nullable && is_missing(&variable.name.node, variable.default_value.is_some())
    })?;
    let (name, required) = (&missing.node.name.node, &missing.node.var_type.node);
    let message = format!("Variable \"${name}\" of required type \"{required}\" was not provided.");
    Some(ServerError::new(message, Some(missing.pos)))
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::parser::types::OperationType;
    use serde_json::json;

    use super::*;

    fn kind(query: &str, name: Option<&str>) -> Option<OperationType> {
        Some(selected(&parse_query(query).unwrap(), name)?.ty)
    }

    #[test]
    fn the_name_picks_the_operation() {
        assert_eq!(kind("{ a }", None), Some(OperationType::Query));
        assert_eq!(kind("{ a }", Some("A")), None);
        assert_eq!(kind("mutation A { a }", None), Some(OperationType::Mutation));
        let both = "query A { a } mutation B { b }";
        assert_eq!(kind(both, Some("A")), Some(OperationType::Query));
        assert_eq!(kind(both, Some("B")), Some(OperationType::Mutation));
        assert_eq!(kind(both, Some("C")), None);
        assert_eq!(kind(both, None), None);
    }

    #[test]
    fn a_variable_that_may_not_be_null_needs_a_value() {
        let check = |query: &str, variables| {
            let document = parse_query(query).unwrap();
            let variables = Variables::from_json(variables);
            missing_variable(selected(&document, None).unwrap(), &variables).map(|error| error.message)
        };
        let expected = Some("Variable \"$n\" of required type \"[Int!]!\" was not provided.".to_owned());
        assert_eq!(check("query ($n: [Int!]!) { a(n: $n) }", json!({})), expected);
        assert_eq!(
            check("query ($n: [Int!]! = []) { a(n: $n) }", json!({"n": null})),
            expected
        );
        assert_eq!(check("query ($n: [Int!]! = []) { a(n: $n) }", json!({})), None);
        assert_eq!(check("query ($n: Int!) { a(n: $n) }", json!({"n": 0})), None);
        assert_eq!(check("query ($n: Int) { a(n: $n) }", json!({"n": null})), None);
    }
}
