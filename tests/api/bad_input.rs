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

/// The fields that an answer names as wrong, wherever it does.
fn named(answer: &Answer) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let fields =
        |details: &Value| list(&details["fields"]).iter().map(|field| field["field"].clone()).collect::<Vec<_>>();
    let mut named = fields(&answer.body["error"]["details"]);
    named.extend(list(&answer.body["errors"]).iter().flat_map(|error| fields(&error["extensions"]["details"])));
    let named = named.iter().filter_map(Value::as_str).map(str::to_owned);
    let payloads = answer.body["data"].as_object().into_iter().flat_map(|data| data.values());
    let user_errors = payloads.flat_map(|payload| list(&payload["userErrors"]));
    let paths = user_errors.map(|error| {
        let path = list(&error["field"]);
        path.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".")
    });
    named.chain(paths).collect()
}

/// What an error calls the place of an input: by its path, without the argument or the part of the request that it is in.
fn place_in_errors(path: &[String]) -> String {
    match path {
        [_, below @ ..] if !below.is_empty() => below.join("."),
        whole => whole.join("."),
    }
}

/// What is wrong with an answer that must be a refusal and name the input.
fn no_refusal(answer: &Answer, place: &str, path: &[String]) -> Option<String> {
    // Logging in need not tell what was wrong.
    let is_login = ["login", "refresh", "Refresh", "mfa"].iter().any(|it| place.contains(it));
    let is_login = is_login && matches!(answer.outcome(), "UNAUTHENTICATED" | "VALIDATION_ERROR" | "RATE_LIMITED");
    let is_refusal = answer.outcome() == "VALIDATION_ERROR" && matches!(answer.status, 200 | 400);
    let place_in_errors = place_in_errors(path);
    // What is wrong with one of a list may be told of the list.
    let is_right =
        |named: &String| *named == place_in_errors || Some(named.as_str()) == place_in_errors.strip_suffix(".0");
    let is_fine = is_login || is_refusal && named(answer).iter().any(is_right);
    failure(answer, place).or_else(|| (!is_fine).then(|| format!("{place}: {} {}", answer.status, answer.body)))
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
                wrongs.extend(no_refusal(&answer, &place, &input.path));
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "{tried}");
    assert!(wrongs.is_empty(), "{} of {tried}:\n{}", wrongs.len(), wrongs.join("\n"));
    assert_eq!(target.server.database.contents(None).await.len(), before.len(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_and_unknown_fields_and_parameters_are_refused_by_name() {
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
            let place = format!("{} {}", operation.name, object.join("."));
            if operation.is_graphql() {
                let answer = target.put(&operation, &object, json!(7)).await;
                wrongs.extend(no_refusal(&answer, &place, &object));
            }
            let path = [object, vec!["noSuchThing".to_owned()]].concat();
            let answer = target.put(&operation, &path, json!(1)).await;
            wrongs.extend(no_refusal(&answer, &format!("{place}.noSuchThing"), &path));
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
