//! The schema documents itself: whatever a client can see of it says what it is.

use async_graphql::Positioned;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    FieldDefinition, InputValueDefinition, TypeDefinition, TypeKind, TypeSystemDefinition,
};

type Description = Option<Positioned<String>>;

/// Names of the schema, as `Type.field.argument`, each with what it says of itself.
type Described = Vec<(String, Description)>;

#[test]
fn every_type_field_argument_and_value_is_described() {
    let schema = parse_schema(mercato::graphql::sdl()).expect("a schema");
    let types = schema.definitions.iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(&definition.node),
        // Those of the specification, which describes them.
        TypeSystemDefinition::Directive(_) | TypeSystemDefinition::Schema(_) => None,
    });
    let described: Described = types.flat_map(of_type).collect();
    assert!(described.len() > 300, "{}", described.len());
    let is_empty = |description: &Description| description.as_ref().is_none_or(|text| text.node.trim().is_empty());
    let silent: Vec<_> = described.into_iter().filter(|(_, text)| is_empty(text)).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "{} without a description:\n{}", silent.len(), silent.join("\n"));
}

fn of_type(definition: &TypeDefinition) -> Described {
    let name = definition.name.node.as_str();
    let parts = match &definition.kind {
        TypeKind::Object(object) => of_fields(name, &object.fields),
        TypeKind::Interface(interface) => of_fields(name, &interface.fields),
        TypeKind::InputObject(object) => of_inputs(name, &object.fields),
        TypeKind::Enum(choice) => {
            let values = choice.values.iter().map(|value| &value.node);
            values.map(|value| (format!("{name}.{}", value.value.node), value.description.clone())).collect()
        }
        TypeKind::Scalar | TypeKind::Union(_) => Described::new(),
    };
    [vec![(name.to_owned(), definition.description.clone())], parts].concat()
}

fn of_fields(of: &str, fields: &[Positioned<FieldDefinition>]) -> Described {
    let field = |field: &Positioned<FieldDefinition>| {
        let name = format!("{of}.{}", field.node.name.node);
        let arguments = of_inputs(&name, &field.node.arguments);
        [vec![(name, field.node.description.clone())], arguments].concat()
    };
    fields.iter().flat_map(field).collect()
}

fn of_inputs(of: &str, inputs: &[Positioned<InputValueDefinition>]) -> Described {
    let input = |input: &Positioned<InputValueDefinition>| {
        (format!("{of}.{}", input.node.name.node), input.node.description.clone())
    };
    inputs.iter().map(input).collect()
}
