//! Requests that cost their sender little and would cost the server much: each is refused, or is cheap after all.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::process::ServerProcess;
use crate::support::{Answer, As, Shop, TestDatabase, TestServer, try_answer};

/// What it is, and the body.
type Bomb = (&'static str, Vec<u8>);

/// Whatever takes longer hangs.
const HANGS: Duration = Duration::from_secs(2);

/// Whatever is longer, in bytes, is a bomb itself.
const LARGE: usize = 100_000;

/// How much more memory than before all bombs together may take, in kilobytes. They take half of it; one that goes off takes
/// gigabytes.
const MEMORY: u64 = 64 * 1024;

fn query(what: &'static str, text: impl AsRef<str>) -> Bomb {
    (what, json!({"query": text.as_ref()}).to_string().into_bytes())
}

fn variables(what: &'static str, text: &str, variables: impl AsRef<str>) -> Bomb {
    (what, format!(r#"{{"query": {}, "variables": {}}}"#, json!(text), variables.as_ref()).into_bytes())
}

/// The text so many times, with the number for `#`.
fn times(count: usize, text: &str) -> String {
    (0..count).map(|i| text.replace('#', &i.to_string())).collect()
}

/// The same with the next number for `@`.
fn numbered(count: usize, text: &str) -> String {
    (0..count).map(|i| text.replace('#', &i.to_string()).replace('@', &(i + 1).to_string())).collect()
}

/// The texts around each other, so many times.
fn nested(count: usize, open: &str, inner: &str, close: &str) -> String {
    [&open.repeat(count), inner, &close.repeat(count)].concat()
}

const SEARCH: &str = "query($x: String) { products(filter: {search: $x}) { totalCount } }";
const CREATE: &str = "mutation($x: ProductCreateInput!) { productCreate(input: $x) { userErrors { code } } }";
const BUY: &str = "mutation($x: OrderCreateInput!) { orderCreate(input: $x) { userErrors { code } } }";

/// What is too deep, too much or never ends.
fn shapes() -> Vec<Bomb> {
    let spread = |levels: usize, ways: usize| {
        let level = format!("fragment F# on Query {{ {} }} ", "...F@ ".repeat(ways));
        format!("{{ ...F0 }} {} fragment F{levels} on Query {{ __typename }}", numbered(levels, &level))
    };
    vec![
        query(
            "fields 60 deep",
            nested(1, "{ products { nodes {", &nested(28, "inventory { product {", "id", "} }"), "} } }"),
        ),
        query(
            "fields 2,000 deep",
            nested(1, "{ products { nodes {", &nested(2000, "inventory { product {", "id", "} }"), "} } }"),
        ),
        query("inline fragments 60 deep", nested(60, "{ ... on Query ", "{ __typename }", "}")),
        query("101 aliases", format!("{{ products {{ {} }} }}", times(101, "a#: totalCount "))),
        query("4,000 aliases", format!("{{ {} }}", times(4000, "a#: __typename "))),
        query("51 directives", format!("{{ __typename {} }}", "@skip(if: false) ".repeat(51))),
        query("3,500 directives", format!("{{ __typename {} }}", "@skip(if: false) ".repeat(3500))),
        query("3,500 unknown directives", format!("{{ __typename {} }}", times(3500, "@a# "))),
        query("a fragment of itself", "{ ...A } fragment A on Query { ...A }"),
        query(
            "a circle of 100 fragments",
            format!("{{ ...F0 }} {} fragment F100 on Query {{ ...F0 }}", times(100, "fragment F# on Query { ...F1 } ")),
        ),
        query("a chain of 900 fragments", spread(900, 1)),
        query("2 to the 30", spread(30, 2)),
        query("10 to the 10", spread(10, 10)),
        query("200 to the 5", spread(5, 200)),
        query(
            "1,500 unused fragments",
            format!("{{ __typename }} {}", times(1500, "fragment F# on Query { __typename } ")),
        ),
        query("2,000 operations", times(2000, "query Q# { __typename } ")),
        query("1,000 operations of one name", "query Q { __typename } ".repeat(1000)),
        query("21 root fields", format!("{{ {} }}", "__typename ".repeat(21))),
        query("2,001 fields", format!("{{ products {{ {} }} }}", "totalCount ".repeat(2001))),
        query("20,000 wrong fields", format!("{{ products {{ {} }} }}", "x ".repeat(20_000))),
        query("overlapping lists", format!("{{ {} }}", times(20, "a: products(first: #) { totalCount } "))),
        query("overlapping fields", format!("{{ products {{ nodes {{ {} }} }} }}", "x: name x: sku ".repeat(50))),
        query(
            "overlapping introspection",
            format!(
                "{{ __schema {{ types {{ {} }} }} }}",
                "fields(includeDeprecated: true) { name } fields { name } ".repeat(450)
            ),
        ),
        query(
            "types of types",
            nested(1, "{ __schema { types {", &nested(4, "fields { type { ofType {", "name", "} } }"), "} } }"),
        ),
        query(
            "fields of types",
            nested(1, "{ __schema { types {", &nested(6, "fields { type {", "name", "} }"), "} } }"),
        ),
        query(
            "interfaces of types of interfaces",
            nested(1, "{ __type(name: \"Node\") {", &nested(7, "possibleTypes { interfaces {", "name", "} }"), "} }"),
        ),
        query(
            "the same by fragments",
            format!(
                "{{ __type(name: \"Node\") {{ ...F0 }} }} {} fragment F5 on __Type {{ name }}",
                numbered(5, "fragment F# on __Type { possibleTypes { interfaces { ...F@ } } } ")
            ),
        ),
        ("a batch of 10,000", format!("[{}{{}}]", r#"{"query":"{__typename}"},"#.repeat(10_000)).into_bytes()),
        ("an array 100,000 deep", "[".repeat(100_000).into_bytes()),
        ("an object 100,000 deep", r#"{"a":"#.repeat(100_000).into_bytes()),
    ]
}

/// What is too large, or no number.
fn numbers() -> Vec<Bomb> {
    let first = |value: &str| format!("{{ products(first: {value}) {{ nodes {{ id }} }} }}");
    let by_variable = "query($x: Int) { products(first: $x) { nodes { id } } }";
    let mut bombs = vec![];
    for value in ["1000000000", "-1", "101", "\"10\"", "1.5", "2147483648", "true", "[1]"] {
        bombs.push(query("first", first(value)));
        bombs.push(variables("first by a variable", by_variable, format!("{{\"x\": {value}}}")));
    }
    let product = |price: &str| format!(r#"{{"x": {{"name": "x", "sku": "x", "price": {price}}}}}"#);
    let literal = |price: &str| {
        format!(
            "mutation {{ productCreate(input: {{name: \"x\", sku: \"x\", price: {price}}}) {{ userErrors {{ code }} }} }}"
        )
    };
    for price in ["1e1000000000", "1e400", "-1e400", &"9".repeat(60_000)] {
        bombs.push(variables("a price as a number", CREATE, product(price)));
        bombs.push(query("a price as a literal", literal(price)));
    }
    let tiny = format!("0.{}1", "0".repeat(60_000));
    for price in ["1e1000000000", "1e-1000000000", "1e400", &"9".repeat(60_000), &tiny] {
        let price = json!(price).to_string();
        bombs.push(variables("a price as text", CREATE, product(&price)));
        bombs.push(query("a price as a text in the document", literal(&price)));
    }
    bombs
}

/// What is too long, or no text.
fn texts() -> Vec<Bomb> {
    let first = |value: &str| format!("{{ products(first: {value}) {{ nodes {{ id }} }} }}");
    let by_variable = "query($x: Int) { products(first: $x) { nodes { id } } }";
    vec![
        query("a number of 60,000 digits", first(&"9".repeat(60_000))),
        variables("a number of 900,000 digits", by_variable, format!("{{\"x\": {}}}", "9".repeat(900_000))),
        variables(
            "100,000 empty lines of an order",
            BUY,
            format!(r#"{{"x": {{"items": [{}{{}}]}}}}"#, "{},".repeat(100_000)),
        ),
        variables(
            "100,000 pictures",
            CREATE,
            format!(
                r#"{{"x": {{"name": "x", "sku": "x", "price": 1, "imageUrls": [{}""]}}}}"#,
                r#""","#.repeat(100_000)
            ),
        ),
        variables("7,000 lines of an order", BUY, order_of(7000)),
        query("a literal list of 30,000", first(&format!("[{}]", "1,".repeat(30_000)))),
        query("a literal object of 6,000", first(&format!("{{{}}}", times(6000, "a#: 1 ")))),
        variables("variables 120 deep", by_variable, format!("{{\"x\": {}}}", nested(120, "[", "1", "]"))),
        variables("variables 100,000 deep", by_variable, format!("{{\"x\": {}}}", nested(100_000, "[", "1", "]"))),
        variables(
            "a long text 15,000 times",
            &format!(
                "query($x: String) {{ products(filter: {{category: [{}]}}) {{ totalCount }} }}",
                "$x,".repeat(15_000)
            ),
            json!({"x": "x".repeat(900_000)}).to_string(),
        ),
        variables(
            "a long text 15,000 times, skipped",
            &format!("query($x: String) {{ __typename @skip(if: [{}]) }}", "$x,".repeat(15_000)),
            json!({"x": "x".repeat(900_000)}).to_string(),
        ),
        variables(
            "an order 5,000 times",
            &format!(
                "mutation($x: OrderCreateInput!) {{ orderCreate({}) {{ order {{ id }} }} }}",
                "input: $x, ".repeat(5000)
            ),
            order_of(3000),
        ),
        variables(
            "a list 7,500 times, skipped",
            &format!("query($x: [String!]) {{ viewer @skip({}) {{ id }} }}", "if: $x, ".repeat(7500)),
            json!({"x": vec!["x"; 9000]}).to_string(),
        ),
        query("literals 60 deep", first(&nested(60, "[", "1", "]"))),
        query("literals 30,000 deep", first(&nested(30_000, "[", "1", "]"))),
        query("1 MB of spaces", format!("{{ __typename {} }}", " ".repeat(1_000_000))),
        query("1 MB of commas", format!("{{ __typename {} }}", ",".repeat(1_000_000))),
        query("1 MB of a comment", format!("{{ __typename }} #{}", "x".repeat(1_000_000))),
        query("a field's name of 60,000", format!("{{ {} }}", "x".repeat(60_000))),
        query("a field's name of 1 MB", format!("{{ {} }}", "x".repeat(1_000_000))),
        query(
            "500 fields' names of 100",
            format!("{{ products {{ {} }} }}", times(500, &format!("{}# ", "x".repeat(100)))),
        ),
        query("a text without an end", format!("{{ a(b: \"{}", "x".repeat(60_000))),
        query("quotes", "\"".repeat(60_000)),
        query("braces", "{".repeat(60_000)),
        query("closing braces", "}".repeat(60_000)),
        query("dots", ".".repeat(60_000)),
        query("dollars", "$".repeat(60_000)),
        query("a byte-order mark and more of them", "\u{feff}".repeat(20_000)),
        ("malformed UTF-8", [br#"{"query": "{ __typename }"#.as_slice(), &vec![0xff; 100_000], b"\"}"].concat()),
        ("lone surrogates", format!(r#"{{"query": "{}"}}"#, r"\ud800".repeat(10_000)).into_bytes()),
        ("2 MB", vec![b' '; 2_000_000]),
    ]
}

/// The variable of an order of so many lines.
fn order_of(lines: usize) -> String {
    let address = json!({"street": "x", "city": "x", "zip": "x", "country": "GB"});
    let line = json!({"productId": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "quantity": 1});
    let (name, email, items) = ("x", "x@example.com", vec![line; lines]);
    json!({"x": {"customerName": name, "customerEmail": email, "shippingAddress": address, "items": items}}).to_string()
}

/// What looks dear and is cheap, or is refused by those who know more of it.
fn duds() -> Vec<Bomb> {
    let huge = json!("x".repeat(900_000));
    let operation = json!({"query": "query A { __typename }", "operationName": huge}).to_string();
    let extension = json!({"query": "{ __typename }", "extensions": {"x": huge}}).to_string();
    let hash = json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "a".repeat(900_000)}}}).to_string();
    let block = r#"\"\"\""#;
    vec![
        query("60 KB of spaces", format!("{{ __typename {} }}", " ".repeat(60_000))),
        query("60 KB of commas", format!("{{ __typename {} }}", ",".repeat(60_000))),
        query("60 KB of a comment", format!("{{ __typename }} #{}", "x".repeat(60_000))),
        query("30,000 comments", format!("{{ __typename }} {}", "#\n".repeat(30_000))),
        query("an alias of 60,000", format!("{{ {}: __typename }}", "x".repeat(60_000))),
        query("an operation's name of 60,000", format!("query {} {{ __typename }}", "x".repeat(60_000))),
        query("3,000 unused variables", format!("query({}) {{ __typename }}", times(3000, "$v#: [Int!] "))),
        query("1,990 times the same field", format!("{{ products {{ {} }} }}", "totalCount ".repeat(1990))),
        query(
            "a search of 60,000 escapes",
            format!("{{ products(filter: {{search: \"{}\"}}) {{ totalCount }} }}", r"\u0041".repeat(10_000)),
        ),
        query(
            "a search in a block",
            format!(
                "{{ products(filter: {{search: \"\"\"{}\"\"\"}}) {{ totalCount }} }}",
                format!("\\{block}").repeat(5000)
            ),
        ),
        variables("a search of 900,000 letters", SEARCH, json!({"x": huge}).to_string()),
        variables("a search of 300,000 words", SEARCH, json!({"x": "a b ".repeat(150_000)}).to_string()),
        variables("a search of operators", SEARCH, json!({"x": "((&|!:*<->".repeat(20_000)}).to_string()),
        variables("a search of quotes", SEARCH, json!({"x": "\"' - or ".repeat(40_000)}).to_string()),
        variables(
            "50,000 values that nobody asked for",
            "{ __typename }",
            format!("{{{}\"x\": 1}}", times(50_000, "\"v#\": 1,")),
        ),
        variables("50,000 times the same value", SEARCH, format!("{{{}\"x\": \"a\"}}", "\"x\": \"b\",".repeat(50_000))),
        variables("one unused value 120 deep", "{ __typename }", format!("{{\"x\": {}}}", nested(120, "[", "1", "]"))),
        ("an operation of 900,000 letters", operation.into_bytes()),
        ("an extension of 900,000 letters", extension.into_bytes()),
        ("a hash of 900,000 letters", hash.into_bytes()),
        query("what GraphiQL asks", INTROSPECTION),
    ]
}

const INTROSPECTION: &str = "{ __schema { queryType { name } types { ...T } directives { name args { ...V } } } }
    fragment T on __Type { kind name description fields(includeDeprecated: true) { name args { ...V } type { ...R } }
        inputFields { ...V } interfaces { ...R } enumValues { name } possibleTypes { ...R } }
    fragment V on __InputValue { name type { ...R } defaultValue }
    fragment R on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";

async fn try_post(server: &TestServer, who: &As, body: Vec<u8>) -> (Option<Answer>, Duration) {
    let request = server.request(Method::POST, "/graphql", who).header("content-type", "application/json").body(body);
    let started = Instant::now();
    let answer = try_answer(request.timeout(HANGS * 5)).await;
    (answer.ok(), started.elapsed())
}

async fn post(server: &TestServer, who: &As, body: Vec<u8>) -> (Answer, Duration) {
    let (answer, time) = try_post(server, who, body).await;
    (answer.expect("an answer"), time)
}

/// Sends these, and notes how long each took and what was wrong with its answer.
async fn explode(
    server: &TestServer,
    shop: &Shop,
    bombs: Vec<Bomb>,
    must_fail: bool,
    wrongs: &mut Vec<String>,
) -> Vec<(Duration, &'static str)> {
    let mut took = vec![];
    for (what, body) in bombs {
        let (answer, time) = try_post(server, &shop.admin, body).await;
        took.push((time, what));
        let Some(answer) = answer else {
            wrongs.push(format!("{what}: no answer after {time:?}"));
            continue;
        };
        let is_fine = match answer.outcome() {
            "VALIDATION_ERROR" => matches!(answer.status, 200 | 400),
            "PAYLOAD_TOO_LARGE" => answer.status == 413,
            // A hash that nobody has registered has a code of its own.
            "OK" | "PERSISTED_QUERY_NOT_FOUND" => !must_fail,
            _ => false,
        };
        if !is_fine || time > HANGS || answer.body.to_string().len() > LARGE {
            wrongs.push(format!("{what}: {time:?}, {} {:.300}", answer.status, answer.body.to_string()));
        }
    }
    took.sort();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_soon_and_in_little_memory() {
    let process = ServerProcess::start(TestDatabase::create().await).await;
    let server = &process.server;
    let shop = server.shop("bombs").await;
    shop.fill(server, 200).await;
    let page = json!({"query": "{ products(first: 100) { nodes { name price { amount } inventory { quantity } } } }"});
    post(server, &shop.admin, page.to_string().into_bytes()).await;
    let before = process.memory_peak() / 1024;
    let mut wrongs = vec![];
    let refused = explode(server, &shop, [shapes(), numbers(), texts()].concat(), true, &mut wrongs).await;
    let answered = explode(server, &shop, duds(), false, &mut wrongs).await;
    let grown = process.memory_peak() / 1024 - before;
    for (name, took) in [("refused", refused), ("not always refused", answered)] {
        let slowest: Vec<_> = took.iter().rev().take(5).collect();
        println!("{} {name}; the slowest: {slowest:?}", took.len());
    }
    println!("memory: {before} KB before, {grown} KB more at most");
    assert!(wrongs.is_empty(), "{}:\n{}", wrongs.len(), wrongs.join("\n"));
    assert!(grown < MEMORY, "{grown} KB more");
    let (answer, _) = post(server, &shop.admin, page.to_string().into_bytes()).await;
    assert_eq!(answer.body["data"]["products"]["nodes"].as_array().map(Vec::len), Some(100), "{:#}", answer.body);
}

/// What hangs from the rows of each list, as deep as there is anything.
const LISTS: [(&str, &str); 6] = [
    ("products", "inventory { product { inventory { product { inventory { product { inventory { quantity product { name } } } } } } } }"),
    ("inventory", "product { inventory { product { inventory { product { inventory { product { inventory { quantity } } } } } } } }"),
    (
        "orders",
        "customer { email } statusHistory { to } items { product { inventory { product { inventory { product { name } } } } } }
         payment { order { items { product { inventory { product { name } } } } payment { order { items { name } } } } }",
    ),
    ("payments", "order { items { product { inventory { product { name } } } } payment { order { items { product { name } } } } } refunds { id }"),
    ("users", "id email role"),
    ("auditLogs", "id changes"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_dearest_queries_that_are_allowed_are_answered() {
    let process = ServerProcess::start(TestDatabase::create().await).await;
    let server = &process.server;
    let shop = server.shop("dear").await;
    shop.fill(server, 300).await;
    for (list, below) in LISTS {
        let once = format!("{{ {list}(first: 100) {{ totalCount nodes {{ {below} }} }} }}");
        let size = below
            .matches(|c: char| c.is_alphabetic())
            .count()
            .min(below.split_whitespace().filter(|word| *word != "{" && *word != "}").count());
        // As often as the limits of selections and of costs let pass.
        let often = |n: usize| format!("{{ {list}(first: 100) {{ nodes {{ {} }} }} }}", format!("{below} ").repeat(n));
        let root = format!("a#: {list}(first: 100, offset: #) {{ totalCount nodes {{ {below} }} }} ");
        let roots = |n: usize| format!("{{ {} }}", times(n, &root));
        let halves = |most: usize| std::iter::successors(Some(most), |n| Some(n / 2)).take_while(|n| *n > 0);
        let mut told = vec![];
        let attempts: [(&str, Vec<String>); 3] = [
            ("once", vec![once]),
            ("again and again", halves(1990 / size).map(often).collect()),
            ("by several roots", halves(20).map(roots).collect()),
        ];
        for (what, texts) in attempts {
            let mut is_answered = false;
            for text in texts {
                let (answer, time) = post(server, &shop.admin, json!({"query": text}).to_string().into_bytes()).await;
                let cost = &answer.body["extensions"]["cost"]["requested"];
                told.push(format!("{what}, cost {cost}: {} {} ms", answer.outcome(), time.as_millis()));
                is_answered = answer.outcome() == "OK";
                if is_answered {
                    break;
                }
                assert!(cost.as_u64() > Some(5000), "{list} {what}: {:.500}", answer.body.to_string());
            }
            assert!(is_answered, "{list} {what}");
        }
        println!("{list}: {}; peak memory {} MB", told.join(", "), process.memory_peak() / 1_048_576);
    }
    for list in ["type { fields {", "args { type {"] {
        let names = "name ".repeat(1980);
        let text = format!("{{ __schema {{ types {{ fields {{ {list} {names} }} }} }} }} }} }}");
        let (answer, time) = post(server, &As::Nobody, json!({"query": text}).to_string().into_bytes()).await;
        assert_eq!((answer.status, answer.body.get("errors")), (200, None), "{list}");
        println!(
            "introspection, {list}: {} ms; peak memory {} MB",
            time.as_millis(),
            process.memory_peak() / 1_048_576
        );
    }
    let data: Value = server.data(&shop.admin, "{ viewer { email } }", json!({})).await;
    assert_eq!(data["viewer"]["email"], "admin@example.com");
}

/// What an answer costs does not tell how long its texts are, and aliases repeat them.
#[tokio::test(flavor = "multi_thread")]
async fn long_texts_under_many_aliases_take_no_memory() {
    let process = ServerProcess::start(TestDatabase::create().await).await;
    let server = &process.server;
    let shop = server.shop("wordy").await;
    shop.fill(server, 100).await;
    let longest = "update products set description = repeat('\u{1F5DD}', 10000),
        image_urls = array_fill('https://example.com/' || repeat('x', 2000), array[20])";
    server.database.as_superuser().await.batch_execute(longest).await.expect("long texts");
    let text = |n: usize, field: &str| {
        format!("{{ products(first: 100) {{ nodes {{ {} }} }} }}", times(n, &format!("a#: {field} ")))
    };
    let pages = |n: usize| format!("{{ {} }}", times(n, "a#: products(first: 100) { nodes { id } } "));
    let once = server.data(&shop.shopper, &text(1, "description"), json!({})).await;
    assert_eq!(once["products"]["nodes"].as_array().map(Vec::len), Some(100), "a page of the longest is answered");
    let before = process.memory_peak();
    for query in [text(98, "description"), text(98, "imageUrls"), pages(20)] {
        let (refused, time) = post(server, &shop.admin, json!({ "query": query }).to_string().into_bytes()).await;
        let message = refused.body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("long texts"), "{:.300}", refused.body.to_string());
        println!(
            "{:.60}: {} ms, {} more MB",
            query,
            time.as_millis(),
            process.memory_peak().saturating_sub(before) >> 20
        );
    }
    let more = process.memory_peak().saturating_sub(before);
    assert!(more < 128 << 20, "{more} bytes more");
}
