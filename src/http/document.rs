//! Documents: which of them can be parsed safely, and what they say of the operation that is about to run.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{Directive, ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned, ServerError, Value, Variables, value};
use async_graphql_value::Value as Literal;

/// How deep brackets may nest. `GraphiQL`'s introspection takes about fifteen levels.
const MAX_NESTING: usize = 64;

/// Says what is wrong with a text that the parser had better not see.
///
/// The parser calls itself for every bracket and does not count: two kilobytes of them would overflow the stack, and end
/// the process. So brackets are counted here first, where strings and comments are told apart exactly as it does.
pub fn check_nesting(text: &str) -> Result<(), &'static str> {
    let mut depth = 0_usize;
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match byte {
            b'#' => tail.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(&[], |end| &tail[end..]),
            b'"' => after_string(tail)?,
            _ => tail,
        };
        match byte {
            b'(' | b'[' | b'{' if depth == MAX_NESTING => return Err("nests more than 64 brackets"),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// What follows a string whose opening quote was just passed.
fn after_string(text: &[u8]) -> Result<&[u8], &'static str> {
    let (mut rest, end): (_, &[u8]) = match text.strip_prefix(b"\"\"") {
        Some(block) => (block, b"\"\"\""),
        None => (text, b"\""),
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(end) {
            return Ok(after);
        }
        let escaped = rest.strip_prefix(b"\\").is_some_and(|after| end.len() == 1 || after.starts_with(end));
        let length = if escaped { 1 + end.len() } else { 1 };
        rest = rest.get(length..).unwrap_or_default();
    }
    // The parser would take three quotes without an end for an empty string and the start of another one.
    Err("has a string without an end")
}

/// How many selections an operation may have once its fragments are written out.
const MAX_SELECTIONS: usize = 2_000;

/// Says what is wrong with a document that is far larger than its text.
///
/// A fragment that spreads another one twice, thirty times over, is a kilobyte of text and a billion fields. The library
/// follows every one of them while it validates, so they are counted here first, each fragment once.
pub fn check_size(document: &ExecutableDocument) -> Result<(), &'static str> {
    let mut expansion = Expansion { document, known: HashMap::new() };
    // Those that no operation spreads are followed as well.
    for name in document.fragments.keys() {
        expansion.fragment(name, 0)?;
    }
    let mut whole = Size::default();
    for (_, operation) in document.operations.iter() {
        let size = expansion.set(&operation.node.selection_set.node, 0)?;
        if size.roots > MAX_ROOT_FIELDS {
            return Err(TOO_MANY_ROOTS);
        }
        whole.selections += size.selections;
        whole.aliases += size.aliases;
        whole.directives += size.directives + check_directives(&operation.node.directives)?;
    }
    match whole {
        Size { selections, .. } if selections > MAX_SELECTIONS => Err(TOO_LARGE),
        Size { aliases, .. } if aliases > MAX_ALIASES => Err(TOO_MANY_ALIASES),
        Size { directives, .. } if directives > MAX_DIRECTIVES => Err(TOO_MANY_DIRECTIVES),
        _ => Ok(()),
    }
}

/// How many fields of `Query` or `Mutation` an operation may ask for: each can be a use case, and an alias repeats it.
const MAX_ROOT_FIELDS: usize = 20;

/// How many aliases, and how many directives, a document may have.
const MAX_ALIASES: usize = 100;
const MAX_DIRECTIVES: usize = 50;

/// How often one argument may name the same variable: each time, validation copies its value.
const MAX_USES: usize = 10;

const TWICE: &str = "gives the same argument twice";
const TOO_REPETITIVE: &str = "names a variable more than 10 times in one argument";
const TOO_LARGE: &str = "selects more than 2000 fields";
const TOO_MANY_ROOTS: &str = "asks for more than 20 root fields; send several requests";
const TOO_MANY_ALIASES: &str = "has more than 100 aliases";
const TOO_MANY_DIRECTIVES: &str = "has more than 50 directives";

/// Fields of the introspection that answer lists of what has such fields itself: every level multiplies.
const TYPE_LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// How many of them may stand within each other. Tools need one; graphql-js draws the line here as well.
const MAX_TYPE_LISTS: usize = 2;

const TOO_INTROSPECTIVE: &str = "asks for types of types of types";
const TOO_DEEP: &str = "has fragments that spread themselves, or nest too deep";

/// Writes out fragments without writing them.
struct Expansion<'a> {
    document: &'a ExecutableDocument,
    known: HashMap<&'a str, Size>,
}

/// What a selection set or a fragment amounts to.
#[derive(Clone, Copy, Default)]
struct Size {
    /// How many selections there are, on all levels. A spread is one as well, or else spreads of nothing would be free.
    selections: usize,
    /// How many levels of selections there are.
    levels: usize,
    /// How many fields stand on the highest level, those of fragments among them.
    roots: usize,
    aliases: usize,
    directives: usize,
    /// How many of [`TYPE_LISTS`] stand within each other.
    type_lists: usize,
}

impl<'a> Expansion<'a> {
    fn set(&mut self, set: &'a SelectionSet, depth: usize) -> Result<Size, &'static str> {
        let mut size = Size::default();
        for selection in &set.items {
            let mut type_lists = 0;
            let (below, roots, own) = match &selection.node {
                Selection::Field(field) => {
                    check_arguments(&field.node.arguments)?;
                    size.aliases += usize::from(field.node.alias.is_some());
                    type_lists = usize::from(TYPE_LISTS.contains(&field.node.name.node.as_str()));
                    (self.set(&field.node.selection_set.node, depth + 1)?, 1, check_directives(&field.node.directives)?)
                }
                Selection::InlineFragment(fragment) => {
                    let below = self.set(&fragment.node.selection_set.node, depth + 1)?;
                    (below, below.roots, check_directives(&fragment.node.directives)?)
                }
                Selection::FragmentSpread(spread) => {
                    let below = self.fragment(&spread.node.fragment_name.node, depth + 1)?;
                    (below, below.roots, check_directives(&spread.node.directives)?)
                }
            };
            size.roots += roots;
            size.aliases += below.aliases;
            size.directives += own + below.directives;
            size.selections += 1 + below.selections;
            size.levels = size.levels.max(1 + below.levels);
            size.type_lists = size.type_lists.max(type_lists + below.type_lists);
            if size.type_lists > MAX_TYPE_LISTS {
                return Err(TOO_INTROSPECTIVE);
            }
            if size.selections > MAX_SELECTIONS {
                return Err(TOO_LARGE);
            }
        }
        Ok(size)
    }

    fn fragment(&mut self, name: &'a str, depth: usize) -> Result<Size, &'static str> {
        let size = match (self.known.get(name), self.document.fragments.get(name)) {
            (Some(&known), _) => known,
            _ if depth > MAX_NESTING => return Err(TOO_DEEP),
            (None, Some(fragment)) => {
                check_directives(&fragment.node.directives)?;
                self.set(&fragment.node.selection_set.node, depth)?
            }
            // Validation has words for this.
            (None, None) => Size::default(),
        };
        if depth + size.levels > MAX_NESTING {
            return Err(TOO_DEEP);
        }
        self.known.insert(name, size);
        Ok(size)
    }
}

/// How many directives there are, if their arguments multiply nothing.
fn check_directives(directives: &[Positioned<Directive>]) -> Result<usize, &'static str> {
    for directive in directives {
        check_arguments(&directive.node.arguments)?;
    }
    Ok(directives.len())
}

/// Refuses what makes validation copy the values of variables again and again: it does so wherever an argument names one, and
/// before it looks whether the same argument came already.
fn check_arguments(arguments: &[(Positioned<Name>, Positioned<Literal>)]) -> Result<(), &'static str> {
    let mut names = HashSet::new();
    for (name, value) in arguments {
        if !names.insert(&name.node) {
            return Err(TWICE);
        }
        let mut uses = HashMap::<Name, usize>::new();
        value.node.clone().into_const_with(|variable| {
            let uses = uses.entry(variable).or_default();
            *uses += 1;
            if *uses > MAX_USES { Err(TOO_REPETITIVE) } else { Ok(Value::Null) }
        })?;
    }
    Ok(())
}

/// Whether a document asks for the schema anywhere: names that begin so are nobody else's.
pub fn asks_for_the_schema(document: &ExecutableDocument) -> bool {
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    operations.chain(fragments).any(selects_the_schema)
}

fn selects_the_schema(set: &SelectionSet) -> bool {
    set.items.iter().any(|selection| match &selection.node {
        Selection::Field(field) => {
            matches!(field.node.name.node.as_str(), "__schema" | "__type")
                || selects_the_schema(&field.node.selection_set.node)
        }
        Selection::InlineFragment(fragment) => selects_the_schema(&fragment.node.selection_set.node),
        // Fragments are looked at themselves.
        Selection::FragmentSpread(_) => false,
    })
}

/// How many values an operation's variables may hold, on all levels. A basket of a hundred lines has three hundred.
const MAX_VALUES: usize = 10_000;

/// Says what is wrong with variables that would keep validation busy for long.
pub fn check_variables(variables: &Variables) -> Result<(), &'static str> {
    let mut left = MAX_VALUES;
    let mut below: Vec<&Value> = variables.values().collect();
    while let Some(value) = below.pop() {
        left = left.checked_sub(1).ok_or("hold more than 10000 values")?;
        match value {
            Value::List(values) => below.extend(values),
            Value::Object(fields) => below.extend(fields.values()),
            _ => {}
        }
    }
    Ok(())
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
    let mut error = ServerError::new(message, Some(missing.pos));
    let field = value!({"field": name.as_str(), "message": "is required"});
    error.extensions.get_or_insert_default().set("details", value!({"fields": [field]}));
    Some(error)
}

#[cfg(test)]
mod tests;
