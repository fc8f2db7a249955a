use async_graphql::parser::parse_query;
use serde_json::json;

use super::*;

#[test]
fn brackets_are_counted_wherever_the_parser_would_follow_them() {
    for (open, close) in [("[", "]"), ("{", "}"), ("(", ")"), ("[{(", ")}]")] {
        let nested = |levels: usize| open.repeat(levels / open.len()) + &close.repeat(levels / open.len());
        assert_eq!(check_nesting(&nested(63)), Ok(()));
        assert!(check_nesting(&nested(66)).is_err());
    }
    let deep = "[".repeat(65);
    for hidden in [
        format!("# {deep}\n"),
        format!("# {deep}"),
        format!("\" {deep} \\\" {deep} \\\\\""),
        format!("\"\"\" \" {deep} \\\"\"\" {deep} \"\"\""),
        format!("\"\" \"{deep}\""),
    ] {
        assert_eq!(check_nesting(&hidden), Ok(()), "{hidden}");
        assert!(check_nesting(&(hidden.clone() + "\n" + &deep)).is_err(), "{hidden}");
    }
    for visible in [format!("# \r{deep}"), format!("\"\" {deep}"), format!("\" \\\\\" {deep}"), "[ \"]\" ".repeat(65)] {
        assert!(check_nesting(&visible).is_err(), "{visible}");
    }
    for endless in ["\"\"\" \" [", "\"\"\"\"", "\"abc", "\"\\\""] {
        assert_eq!(check_nesting(endless), Err("has a string without an end"), "{endless}");
    }
}

#[test]
fn the_parser_survives_what_is_let_through() {
    for (open, close) in [("[", "]"), ("{a:", "}"), ("[{a:", "}]")] {
        let levels = 62 / open.replace("a:", "").len();
        let value = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let query = format!("{{ a(b: {value}) }}");
        assert_eq!(check_nesting(&query), Ok(()));
        assert!(parse_query(&query).is_ok());
    }
}

#[test]
fn fragments_count_as_often_as_they_are_spread() {
    let check = |query: &str| check_size(&parse_query(query).unwrap());
    let doubling = |levels: usize, last: &str| {
        let fragment = |i: usize| format!("fragment F{i} on Q {{ ...F{} ...F{} }} ", i + 1, i + 1);
        format!("{{ r {{ ...F0 }} }} {} {last}", (0..levels).map(fragment).collect::<String>())
    };
    assert_eq!(check(&doubling(8, "fragment F8 on Q { a }")), Ok(()));
    assert_eq!(check(&doubling(30, "fragment F30 on Q { a }")), Err(TOO_LARGE));
    assert_eq!(check(&doubling(30, "")), Err(TOO_LARGE));
    assert_eq!(check(&format!("{{ r {{ {} }} }}", "a ".repeat(1999))), Ok(()));
    assert_eq!(check(&format!("{{ r {{ {} }} }}", "a ".repeat(2000))), Err(TOO_LARGE));
    let operation = |i: usize| format!("query Q{i} {{ r {{ {} }} }} ", "a ".repeat(499));
    let operations = |n: usize| (0..n).map(operation).collect::<Vec<_>>().concat();
    assert_eq!((check(&operations(4)), check(&operations(5))), (Ok(()), Err(TOO_LARGE)));
}

#[test]
fn roots_aliases_and_directives_are_few() {
    let check = |query: String| check_size(&parse_query(query).unwrap());
    let many = |n: usize, what: &str| (0..n).map(|i| what.replace('#', &i.to_string())).collect::<Vec<_>>().concat();
    assert_eq!(check(format!("{{ {} }}", many(20, "a#: login "))), Ok(()));
    assert_eq!(check(format!("{{ {} }}", many(21, "a#: login "))), Err(TOO_MANY_ROOTS));
    assert_eq!(check(format!("{{ ...F }} fragment F on Q {{ {} }}", many(21, "a#: login "))), Err(TOO_MANY_ROOTS));
    assert_eq!(check(format!("{{ ... on Q {{ {} }} a }}", many(20, "a#: login "))), Err(TOO_MANY_ROOTS));
    assert_eq!(check(format!("{{ r {{ {} }} }}", many(100, "a#: b "))), Ok(()));
    assert_eq!(check(format!("{{ r {{ {} }} }}", many(101, "a#: b "))), Err(TOO_MANY_ALIASES));
    assert_eq!(check(format!("{{ r {} }}", many(50, "@skip(if: false) "))), Ok(()));
    assert_eq!(check(format!("{{ r {} }}", many(51, "@skip(if: false) "))), Err(TOO_MANY_DIRECTIVES));
    assert_eq!(check(format!("query {} {{ r }}", many(51, "@a "))), Err(TOO_MANY_DIRECTIVES));
}

#[test]
fn an_argument_does_not_multiply_a_variable() {
    let check = |query: String| check_size(&parse_query(query).unwrap());
    let list = |uses: usize| format!("[{}{}]", "$x, ".repeat(uses), "$y, ".repeat(10));
    for query in [
        "{ a(b: #, c: $x) }",
        "{ a { b(c: {d: [#]}) } }",
        "{ a } fragment F on Q { a(b: #) }",
        "{ a @skip(if: #) }",
        "{ ... @skip(if: #) { a } }",
        "{ ...F @skip(if: #) } fragment F on Q { a }",
        "query @skip(if: #) { a }",
        "{ ...F } fragment F on Q @skip(if: #) { a }",
    ] {
        assert_eq!(check(query.replace('#', &list(10))), Ok(()), "{query}");
        assert_eq!(check(query.replace('#', &list(11))), Err(TOO_REPETITIVE), "{query}");
    }
    for query in ["{ a(b: 1, c: 1, b: 2) }", "{ a { b @skip(if: $x, if: $x) } }", "query @a(b: 1, b: 1) { c }"] {
        assert_eq!(check(query.to_owned()), Err(TWICE), "{query}");
    }
}

#[test]
fn introspection_does_not_multiply() {
    let check = |query: &str| check_size(&parse_query(query).unwrap());
    assert_eq!(check("{ __schema { types { fields { args { type { inputFields { name } } } } } } }"), Ok(()));
    let lists = "possibleTypes { interfaces { possibleTypes { name } } }";
    assert_eq!(check(&format!("{{ __type(name: \"Node\") {{ {lists} }} }}")), Err(TOO_INTROSPECTIVE));
    let fragments =
        "fragment A on __Type { a: fields { type { ...B } } } fragment B on __Type { ofType { fields { name } } }";
    assert_eq!(check(&format!("{{ __type(name: \"T\") {{ ...A }} }} {fragments}")), Ok(()));
    assert_eq!(
        check(&format!("{{ __type(name: \"T\") {{ interfaces {{ ...A }} }} }} {fragments}")),
        Err(TOO_INTROSPECTIVE)
    );
    assert_eq!(
        check(&format!("{{ a }} fragment C on __Type {{ interfaces {{ ...A }} }} {fragments}")),
        Err(TOO_INTROSPECTIVE)
    );
}

#[test]
fn fragments_do_not_spread_themselves() {
    let check = |query: &str| check_size(&parse_query(query).unwrap());
    assert_eq!(check("{ ...A } fragment A on Q { a { ...B } } fragment B on Q { ...A ...A }"), Err(TOO_DEEP));
    assert_eq!(check("{ a } fragment A on Q { ... { ...A ...A } }"), Err(TOO_DEEP));
    let chain = (0..2000).map(|i| format!("fragment F{i} on Q {{ ...F{} }} ", i + 1)).collect::<Vec<_>>().concat();
    assert_eq!(check(&format!("{{ ...F0 }} {chain}")), Err(TOO_DEEP));
    assert_eq!(check(&format!("{{ a }} {chain}")), Err(TOO_DEEP));
}

#[test]
fn the_schema_is_asked_for_wherever_its_fields_stand() {
    let asks = |query: &str| asks_for_the_schema(&parse_query(query).unwrap());
    for query in [
        "{ __schema { types { name } } }",
        "{ harmless: __type(name: \"Query\") { name } }",
        "{ ... { ... on Query { __schema { types { name } } } } }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { __type(name: \"Query\") { name } }",
        "query A { a } query B { __schema { types { name } } }",
        "{ a @skip(if: true) { __schema { types { name } } } }",
    ] {
        assert!(asks(query), "{query}");
    }
    assert!(!asks("{ __typename schema: a { __typename type } ...A } fragment A on Q { __typename }"));
}

#[test]
fn values_are_counted_on_all_levels() {
    let check = |variables| check_variables(&Variables::from_json(variables));
    assert_eq!(check(json!({"a": vec![1; 9_999]})), Ok(()));
    assert!(check(json!({"a": vec![1; 10_000]})).is_err());
    assert!(check(json!({"a": vec![json!({"b": [1, 2]}); 3_000]})).is_err());
}

#[test]
fn a_variable_that_may_not_be_null_needs_a_value() {
    let check = |query: &str, variables| {
        let document = parse_query(query).unwrap();
        let variables = Variables::from_json(variables);
        let operation = &document.operations.iter().next().unwrap().1.node;
        missing_variable(operation, &variables).map(|error| error.message)
    };
    let expected = Some("Variable \"$n\" of required type \"[Int!]!\" was not provided.".to_owned());
    assert_eq!(check("query ($n: [Int!]!) { a(n: $n) }", json!({})), expected);
    assert_eq!(check("query ($n: [Int!]! = []) { a(n: $n) }", json!({"n": null})), expected);
    assert_eq!(check("query ($n: [Int!]! = []) { a(n: $n) }", json!({})), None);
    assert_eq!(check("query ($n: Int!) { a(n: $n) }", json!({"n": 0})), None);
    assert_eq!(check("query ($n: Int) { a(n: $n) }", json!({"n": null})), None);
}
