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
        "Int" => vec![
            json!("7"),
            json!(1.5),
            json!(true),
            json!({}),
            json!(2_147_483_648_i64),
            json!(-2_147_483_649_i64),
            json!(1e300),
        ],
        "Boolean" => vec![json!("true"), json!(1), json!({})],
        "Decimal" => vec![json!(true), json!({}), json!([1]), json!(-1), json!(0.001), json!(1e300)],
        _ => vec![json!(7), json!(true), json!({}), json!([[]])],
    };
    let mut values = match input.kind.as_str() {
        "ID" => texts(&[
            "x",
            "",
            "\0",
            "0192f0c1-2b7e-7d3a-9c55",
            "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42\0",
            "'; drop table users; --",
        ]),
        "Decimal" => {
            texts(&["x", "", "1,5", "-1", "0.001", "100000000", "NaN", "Infinity", "1\u{0}", "１", "0x10", "1_000"])
        }
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
fn hostile() -> [String; 4] {
    [
        "\u{202e}evil\u{202c} 𝒳😀👩‍👩‍👧 e\u{301}\u{301}\u{301} \u{feff}\u{fffd}".to_owned(),
        "'; drop table users; -- %00% \\ \" ()|&!:* ${jndi:ldap://x} <script> ../../etc/passwd".to_owned(),
        "a\r\nSet-Cookie: x=y\u{7f}\u{1b}[31m".to_owned(),
        "x".repeat(20_000),
    ]
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

/// What is wrong with an answer that must not be a failure of ours, in any of its parts.
fn failure(answer: &Answer, place: &str) -> Option<String> {
    let text = answer.body.to_string();
    let is_ours = answer.status >= 500 || text.contains("\"INTERNAL\"") || text.contains("SERVICE_UNAVAILABLE");
    is_ours.then(|| format!("{place}: {} {text}", answer.status))
}

/// What is wrong with an answer that must be a refusal and name the input.
fn no_refusal(answer: &Answer, place: &str, name: &str) -> Option<String> {
    let text = answer.body.to_string();
    // Logging in need not tell what was wrong.
    let is_login = ["login", "refresh", "Refresh", "mfa"].iter().any(|it| place.contains(it));
    let is_login = is_login && matches!(answer.outcome(), "UNAUTHENTICATED" | "VALIDATION_ERROR" | "RATE_LIMITED");
    // The library reads ids and the size of numbers after its validation, when it knows the root field only.
    let is_late = text.contains("Failed to parse \\\"I") || text.contains("Expected input type \\\"ID");
    let is_refusal = answer.outcome() == "VALIDATION_ERROR" && matches!(answer.status, 200 | 400);
    let is_fine = is_login || is_refusal && (text.contains(name) || is_late);
    failure(answer, place).or_else(|| (!is_fine).then(|| format!("{place}: {} {text}", answer.status)))
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_refused_by_name() {
    let target = Target::open().await;
    let before = target.server.database.contents(None).await;
    let (mut tried, mut wrongs) = (0, vec![]);
    for operation in Operation::all().await {
        for input in &operation.inputs {
            let absent = if input.optional || input.path[0] == "url" { vec![] } else { vec![Value::Null] };
            for value in wrong(input).into_iter().chain(absent) {
                if input.path[0] == "url" && value == "" {
                    continue; // Another route.
                }
                let place = format!("{} {} = {value:.60}", operation.name, input.path.join("."));
                let answer = target.put(&operation, &input.path, value).await;
                wrongs.extend(no_refusal(&answer, &place, input.name()));
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "{tried}");
    assert!(wrongs.is_empty(), "{} of {tried}:\n{}", wrongs.len(), wrongs.join("\n"));
    assert_eq!(target.server.database.contents(None).await.len(), before.len(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_and_parameters_are_refused_by_name() {
    let target = Target::open().await;
    let mut wrongs = vec![];
    for operation in Operation::all().await {
        let parent = |input: &Input| input.path[..input.path.len() - 1].to_vec();
        let is_object = |input: &&Input| input.path.len() > 1 && input.path.last().is_some_and(|last| last != "0");
        let mut objects: Vec<_> = operation.inputs.iter().filter(is_object).map(parent).collect();
        if !operation.is_graphql() {
            objects.push(vec!["query".to_owned()]);
        }
        objects.retain(|path| path[0] != "url");
        objects.sort();
        objects.dedup();
        for object in objects {
            let path = [object, vec!["noSuchThing".to_owned()]].concat();
            let answer = target.put(&operation, &path, json!(1)).await;
            wrongs.extend(no_refusal(&answer, &format!("{} {}", operation.name, path.join(".")), "noSuchThing"));
        }
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_break_nothing() {
    let target = Target::open().await;
    let mut failures = vec![];
    for operation in Operation::all().await {
        // Hashing is the only thing that passwords are for, and is slow.
        let texts = operation.inputs.iter().filter(|input| input.kind == "String" && !input.name().contains("assword"));
        for input in texts {
            for text in hostile() {
                let place = format!("{} {} = {text:.40}", operation.name, input.path.join("."));
                let answer = target.put(&operation, &input.path, json!(text)).await;
                failures.extend(failure(&answer, &place));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(target.server.database.violations(target.shop.id).await, Vec::<String>::new());
}
