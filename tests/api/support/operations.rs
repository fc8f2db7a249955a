//! Everything that can be asked of the server, read from its own descriptions (GraphQL introspection and OpenAPI), so
//! that what is added later is tested without anybody thinking of it.

use std::collections::BTreeMap;

use async_graphql::Request;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, As, TestServer, answer};

/// A root field of the schema or a route of the REST layer.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `orderCreate` or `POST /orders`.
    pub name: String,
    /// Whether it can change anything.
    pub changes: bool,
    /// Every scalar that a caller can put in.
    pub inputs: Vec<Input>,
    call: Call,
}

#[derive(Clone, Debug)]
enum Call {
    /// A document whose variables are the field's arguments, in short and with all that can be selected.
    GraphQl { outline: String, whole: String },
    /// A path with `{parameters}`.
    Rest { method: Method, path: String },
}

/// A scalar among an operation's arguments.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where in the arguments; `0` stands for any element of a list.
    pub path: Vec<String>,
    /// `ID`, `Int`, `String`, `Boolean`, `Decimal`, an enum's name, …
    pub kind: String,
    /// Whether it can be left out, or null.
    pub optional: bool,
}

impl Input {
    /// The name that an error should mention.
    pub fn name(&self) -> &str {
        let mut names = self.path.iter().rev().filter(|part| part.parse::<usize>().is_err());
        names.next().expect("a name")
    }

    /// Whether it is a part of a URL, where everything is text.
    pub fn is_in_url(&self) -> bool {
        matches!(self.path[0].as_str(), "url" | "query")
    }
}

impl Operation {
    /// Every operation there is, fields first.
    pub async fn all() -> Vec<Self> {
        let mut all = Schema::load().await.operations();
        all.extend(routes());
        all
    }

    /// Whether it is a root field of the schema.
    pub const fn is_graphql(&self) -> bool {
        matches!(self.call, Call::GraphQl { .. })
    }

    /// Asks for all that there is to see.
    pub async fn call(&self, server: &TestServer, who: &As, arguments: &Value) -> Answer {
        match &self.call {
            Call::GraphQl { whole, .. } => server.graphql(who, whole, arguments.clone()).await,
            Call::Rest { method, path } => rest(server, who, method, path, arguments).await,
        }
    }

    /// Asks only whether it may be done.
    pub async fn try_call(&self, server: &TestServer, who: &As, arguments: &Value) -> Answer {
        match &self.call {
            Call::GraphQl { outline, .. } => server.graphql(who, outline, arguments.clone()).await,
            Call::Rest { .. } => self.call(server, who, arguments).await,
        }
    }
}

async fn rest(server: &TestServer, who: &As, method: &Method, path: &str, arguments: &Value) -> Answer {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = |part: &str| -> Vec<(String, String)> {
        let values = arguments[part].as_object().into_iter().flatten();
        values.map(|(name, value)| (name.clone(), text(value))).collect()
    };
    let path = pairs("url")
        .into_iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), &percent_encoded(&value)));
    let query: Vec<_> = pairs("query")
        .iter()
        .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
        .collect();
    let separator = if query.is_empty() { "" } else { "?" };
    let request = server.request(method.clone(), &format!("/api/v1{path}{separator}{}", query.join("&")), who);
    match arguments.get("body") {
        Some(body) => answer(request.json(body)).await,
        None => answer(request).await,
    }
}

/// Every byte that is not a letter or digit as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Puts a value at this place of the arguments, making the objects on the way.
pub fn put(arguments: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *arguments = value;
        return;
    };
    if let Ok(index) = first.parse::<usize>() {
        if !arguments.is_array() {
            *arguments = json!([null]);
        }
        put(&mut arguments[index], rest, value);
    } else {
        if !arguments.is_object() {
            *arguments = json!({});
        }
        put(&mut arguments[first.as_str()], rest, value);
    }
}

/// What the schema says of itself.
pub struct Schema {
    types: BTreeMap<String, Value>,
}

const INTROSPECTION: &str = "{ __schema { types { kind name possibleTypes { name }
        fields { name description type { ...T } args { name type { ...T } defaultValue } }
        inputFields { name type { ...T } defaultValue } } } }
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

impl Schema {
    pub async fn load() -> Self {
        let response = mercato::graphql::schema().execute(Request::new(INTROSPECTION).only_introspection()).await;
        assert_eq!(response.errors, vec![]);
        let data = response.data.into_json().expect("JSON");
        let types = list(&data["__schema"]["types"]).iter().map(|t| (text(&t["name"]), t.clone()));
        Self { types: types.collect() }
    }

    /// The types that `node` can answer with, by name.
    pub fn nodes(&self) -> Vec<String> {
        let mut names: Vec<_> = list(&self.types["Node"]["possibleTypes"]).iter().map(|t| text(&t["name"])).collect();
        names.sort();
        names
    }

    /// The fields of objects that not everybody may see, as `Type.field`: their descriptions say so.
    pub fn guarded_fields(&self) -> Vec<String> {
        let objects = self.types.values().filter(|t| t["name"] != "Query" && t["name"] != "Mutation");
        let of = |t: &Value| -> Vec<String> {
            let fields = list(&t["fields"]).iter();
            let guarded = fields.filter(|field| field["description"].as_str().is_some_and(|d| d.contains("Requires")));
            guarded.map(|field| format!("{}.{}", text(&t["name"]), text(&field["name"]))).collect()
        };
        objects.flat_map(of).collect()
    }

    fn operations(&self) -> Vec<Operation> {
        let of = |kind: &'static str, root: &str| {
            let fields = list(&self.types[root]["fields"]).iter();
            fields.map(move |field| self.operation(kind, field)).collect::<Vec<_>>()
        };
        [of("query", "Query"), of("mutation", "Mutation")].concat()
    }

    fn operation(&self, kind: &str, field: &Value) -> Operation {
        let name = text(&field["name"]);
        let arguments = list(&field["args"]);
        let declared: Vec<_> =
            arguments.iter().map(|a| format!("${}: {}", text(&a["name"]), notation(&a["type"]))).collect();
        let passed: Vec<_> = arguments.iter().map(|a| format!("{0}: ${0}", text(&a["name"]))).collect();
        let parentheses =
            |inner: &[String]| if inner.is_empty() { String::new() } else { format!("({})", inner.join(", ")) };
        let document = |selection: &str| {
            format!("{kind}{} {{ {name}{} {selection} }}", parentheses(&declared), parentheses(&passed))
        };
        let output = named(&field["type"]);
        let is_payload = list(&self.types[&output]["fields"]).iter().any(|field| field["name"] == "userErrors");
        let outline = if is_payload { "{ userErrors { code } }" } else { "{ __typename }" };
        let mut inputs = Vec::new();
        for argument in arguments {
            self.inputs(argument, &[], &mut inputs);
        }
        Operation {
            changes: kind == "mutation",
            inputs,
            call: Call::GraphQl { outline: document(outline), whole: document(&self.selection(&output, 3)) },
            name,
        }
    }

    /// Everything that can be selected of a type, so many levels deep.
    fn selection(&self, type_name: &str, depth: usize) -> String {
        let described = &self.types[type_name];
        let fields = list(&described["fields"]).iter().filter_map(|field| {
            let inner = named(&field["type"]);
            let is_object = self.types[&inner]["fields"].is_array();
            match (is_object, depth) {
                (false, _) => Some(text(&field["name"])),
                (true, 0) => None,
                (true, _) => Some(format!("{} {}", text(&field["name"]), self.selection(&inner, depth - 1))),
            }
        });
        let possible = list(&described["possibleTypes"]).iter();
        let of_type = |t: &Value| format!("... on {0} {1}", text(&t["name"]), self.selection(&text(&t["name"]), 0));
        let parts: Vec<_> = ["__typename".to_owned()].into_iter().chain(fields).chain(possible.map(of_type)).collect();
        format!("{{ {} }}", parts.join(" "))
    }

    fn inputs(&self, value: &Value, above: &[String], found: &mut Vec<Input>) {
        let mut path = [above, &[text(&value["name"])]].concat();
        let optional = value["type"]["kind"] != "NON_NULL";
        if notation(&value["type"]).contains('[') {
            path.push("0".into());
        }
        let kind = named(&value["type"]);
        match self.types[&kind]["inputFields"].as_array() {
            Some(fields) => fields.iter().for_each(|field| self.inputs(field, &path, found)),
            None => found.push(Input { path, kind, optional }),
        }
    }
}

/// The type as the schema language writes it: `[ID!]!`.
fn notation(of: &Value) -> String {
    match of["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", notation(&of["ofType"])),
        Some("LIST") => format!("[{}]", notation(&of["ofType"])),
        _ => text(&of["name"]),
    }
}

/// The type without `!` and `[]`.
fn named(of: &Value) -> String {
    notation(of).chars().filter(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Every route of the REST layer.
fn routes() -> Vec<Operation> {
    let document = mercato::rest::openapi_json().expect("a document");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let methods = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(move |(method, described)| (path, method.to_uppercase(), described))
    });
    // Stripe's route speaks Stripe's language; stripe_webhooks.rs tries it.
    let ours = methods.filter(|(path, ..)| *path != "/webhooks/stripe");
    ours.map(|(path, method, described)| route(&document, path, &method, described)).collect()
}

fn route(document: &Value, path: &str, method: &str, described: &Value) -> Operation {
    let mut inputs = Vec::new();
    for parameter in list(&described["parameters"]).iter().filter(|parameter| parameter["in"] != "header") {
        let place = if parameter["in"] == "path" { "url" } else { "query" };
        let required = parameter["required"] == true;
        body_inputs(
            document,
            &parameter["schema"],
            &[place.to_owned(), text(&parameter["name"])],
            required,
            &mut inputs,
        );
    }
    let body = &described["requestBody"]["content"]["application/json"]["schema"];
    if body.is_object() {
        body_inputs(document, body, &["body".to_owned()], true, &mut inputs);
    }
    Operation {
        name: format!("{method} {path}"),
        changes: method != "GET",
        inputs,
        call: Call::Rest { method: method.parse().expect("a method"), path: path.to_owned() },
    }
}

fn body_inputs(document: &Value, schema: &Value, path: &[String], required: bool, found: &mut Vec<Input>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(&reference[1..]).expect("a schema");
        let at = found.len();
        body_inputs(document, target, path, required, found);
        if target["enum"].is_array() || target["oneOf"].is_array() {
            let name = reference.rsplit('/').next().expect("a name");
            if name == "Amount" { "Decimal" } else { name }.clone_into(&mut found[at].kind);
        }
        return;
    }
    let choices = list(&schema["oneOf"]).iter().filter(|choice| choice["type"] != "null");
    if let [one] = choices.collect::<Vec<_>>()[..] {
        return body_inputs(document, one, path, required, found);
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            let required = list(&schema["required"]).contains(&json!(name));
            body_inputs(document, property, &[path, std::slice::from_ref(name)].concat(), required, found);
        }
    } else if schema["items"].is_object() {
        body_inputs(document, &schema["items"], &[path, &["0".to_owned()]].concat(), required, found);
    } else {
        let types = [list(&schema["type"]), std::slice::from_ref(&schema["type"])].concat();
        let is = |name: &str| types.contains(&json!(name));
        let kind = match schema["format"].as_str() {
            Some("uuid") => "ID",
            _ if schema["enum"].is_array() => "Enum",
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with(r"^\d")) => "Decimal",
            _ if is("integer") => "Int",
            _ if is("boolean") => "Boolean",
            _ => "String",
        };
        found.push(Input { path: path.to_vec(), kind: kind.to_owned(), optional: !required });
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
