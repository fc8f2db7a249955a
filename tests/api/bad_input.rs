//! Garbage in every input of every operation, found in the server's own descriptions: always refused by name or taken
//! as it is, never a failure of ours.

use serde_json::{Value, json};

use crate::support::operations::{Input, Operation, put};
use crate::support::samples::Goods;
use crate::support::{Answer, Shop, TestServer};

/// Values that an input of this kind never takes.
fn wrong(input: &Input) -> Vec<Value> {
    let texts = |values: &[&str]| values.iter().map(|value| json!(value)).collect::<Vec<_>>();
    let other_types = match input.kind.as_str() {
        "ID" | "Enum" => vec![json!(7), json!(true), json!({}), json!([{}])],
        "Int" => vec![json!("7"), json!(1.5), json!(true), json!({}), json!(2_147_483_648_i64), json!(-2_147_483_649_i64), json!(1e300)],
        "Boolean" => vec![json!("true"), json!(1), json!({})],
        "Decimal" => vec![json!(true), json!({}), json!([1]), json!(-1), json!(0.001), json!(1e300)],
        _ => vec![json!(7), json!(true), json!({}), json!([[]])],
    };
    let mut values = match input.kind.as_str() {
        "ID" => texts(&["x", "", "\0", "0192f0c1-2b7e-7d3a-9c55", "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42\0", "'; drop table users; --"]),
        "Decimal" => texts(&["x", "", "1,5", "-1", "0.001", "100000000", "NaN", "Infinity", "1\u{0}", "１", "0x10", "1_000"]),
        "Int" if input.is_in_url() => texts(&["x", "", "1.5", "99999999999999999999", "-1", "0x10", "\0"]),
        "Boolean" if input.is_in_url() => texts(&["yes", "", "1", "TRUE", "\0"]),
        "String" | "CurrencyCode" => texts(&["\0", "a\u{0}b"]),
        "Int" | "Boolean" => vec![],
        _ => texts(&["NOPE", "", "pending", "\0"]),
    };
    // Everything in a URL is text.
    if !input.is_in_url() {
        values.extend(other_types);
    }
    if matches!(input.name(), "after" | "before") {
        values.extend(texts(&["x", "", "AAAA", "%00", "\u{202e}", "////", &"A".repeat(5000)]));
    }
    values
}

/// Texts that may be fine or not; whatever they are, nothing breaks on them.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\u{202e}evil\u{202c}", "𝒳😀👩‍👩‍👧", "e\u{301}\u{301}\u{301}", "'; drop table users; --", "%00%", "\\", "\"", "\u{7f}\u{1b}[31m",
        "a\r\nSet-Cookie: x=y", "<script>", "${jndi:ldap://x}", "()|&!:*", "\u{feff}", "\u{fffd}", "../../etc/passwd", "-1", "null",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("x".repeat(20_000));
    texts
}

struct Target {
    server: TestServer,
    shop: Shop,
    goods: Goods,
}

impl Target {
    async fn open() -> Self {
        let server = TestServer::start().await;
        let shop = server.shop("target").await;
        let goods = Goods::new(&server, &shop).await;
        Self { server, shop, goods }
    }

    /// Calls an operation with the sample arguments but for one place.
    async fn put(&self, operation: &Operation, path: &[String], value: Value) -> Answer {
        let mut arguments = self.goods.arguments(&operation.name, &self.shop).expect("arguments");
        if path.first().is_some_and(|first| first == "identifier") {
            // Of this one, only one part may be given.
            arguments["identifier"] = json!({});
        }
        put(&mut arguments, path, value);
        operation.call(&self.server, &self.shop.admin, &arguments).await
    }
}

/// The answer is not a failure of ours, in any of its parts.
fn assert_survived(answer: &Answer, place: &str) {
    let text = answer.body.to_string();
    let is_ours = answer.status >= 500 || text.contains("\"INTERNAL\"") || text.contains("SERVICE_UNAVAILABLE");
    assert!(!is_ours, "{place}: {} {text}", answer.status);
}

/// The answer is a refusal that names the input.
fn assert_refused(answer: &Answer, place: &str, name: &str) {
    assert_survived(answer, place);
    let is_login = place.contains("login") && answer.outcome() == "UNAUTHENTICATED";
    let is_refusal = answer.outcome() == "VALIDATION_ERROR" && matches!(answer.status, 200 | 400);
    assert!(is_refusal || is_login, "{place}: {} {:#}", answer.status, answer.body);
    assert!(answer.body.to_string().contains(name) || is_login, "{place} is not named: {:#}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_refused_by_name() {
    let target = Target::open().await;
    let before = target.server.database.contents(None).await;
    let mut tried = 0;
    for operation in Operation::all().await {
        for input in &operation.inputs {
            let absent = if input.optional || input.path[0] == "url" { vec![] } else { vec![Value::Null] };
            for value in wrong(input).into_iter().chain(absent) {
                let place = format!("{} {} = {value}", operation.name, input.path.join("."));
                if input.path[0] == "url" && value == "" {
                    continue; // Another route.
                }
                let answer = target.put(&operation, &input.path, value).await;
                assert_refused(&answer, &place, input.name());
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "{tried}");
    assert_eq!(target.server.database.contents(None).await.len(), before.len(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_and_parameters_are_refused_by_name() {
    let target = Target::open().await;
    for operation in Operation::all().await {
        let mut objects: Vec<_> = operation.inputs.iter().map(|input| input.path[..input.path.len() - 1].to_vec()).collect();
        if !operation.is_graphql() {
            objects.push(vec!["query".to_owned()]);
        }
        objects.sort();
        objects.dedup();
        for object in objects.iter().filter(|path| path.last().is_some_and(|last| last != "url" && last.parse::<usize>().is_err() || path.len() > 1)) {
            if object.is_empty() || object[0] == "url" {
                continue;
            }
            let mut path = object.clone();
            path.push("noSuchThing".into());
            let answer = target.put(&operation, &path, json!(1)).await;
            assert_refused(&answer, &format!("{} {}", operation.name, path.join(".")), "noSuchThing");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_break_nothing() {
    let target = Target::open().await;
    for operation in Operation::all().await {
        // Hashing is the only thing that passwords are for, and is slow.
        let texts = operation.inputs.iter().filter(|input| input.kind == "String" && !input.name().contains("assword"));
        for input in texts {
            for text in hostile() {
                let place = format!("{} {} = {text:.40}", operation.name, input.path.join("."));
                let answer = target.put(&operation, &input.path, json!(text)).await;
                assert_survived(&answer, &place);
                assert!(answer.status < 500, "{place}");
            }
        }
    }
    assert_eq!(target.server.database.violations(target.shop.id).await, Vec::<String>::new());
}
