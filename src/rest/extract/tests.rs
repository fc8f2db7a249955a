//! What is refused, and in which words.

use axum::body::Body as RawBody;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Basket {
    name: String,
    note: Option<String>,
    #[serde(default, deserialize_with = "given")]
    gift_wrap: Option<bool>,
    status: Option<Status>,
    lines: Vec<Object<Line>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Uuid,
    quantity: i32,
}

impl PartialEq<Object<Line>> for Object<Line> {
    fn eq(&self, other: &Self) -> bool {
        (self.0.id, self.0.quantity) == (other.0.id, other.0.quantity)
    }
}

fn request(content_type: &str, body: impl Into<RawBody>) -> Request {
    Request::builder().method(Method::POST).header(CONTENT_TYPE, content_type).body(body.into()).unwrap()
}

async fn read(body: impl Into<RawBody>) -> Result<Basket, Failure> {
    Body::from_request(request("application/json", body), &()).await.map(|Body(basket)| basket)
}

/// The code, and the wrong field with its message; without a field, the message of the failure.
fn told(failure: &Failure) -> (Code, String) {
    let field = failure.details.as_ref().map(|details| &details["fields"][0]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told = field.map(|field| format!("{}: {}", text(&field["field"]), text(&field["message"])));
    (failure.code, told.unwrap_or_else(|| failure.message.clone()))
}

async fn refused(body: impl Into<RawBody>) -> String {
    let (code, told) = told(&read(body).await.unwrap_err());
    assert_eq!(code, Code::ValidationError);
    told
}

const ID: &str = "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42";

#[tokio::test]
async fn a_good_body_is_read() {
    let body = json!({"name": "Ada", "note": null, "lines": [{"id": ID, "quantity": 2}]});
    let basket = read(body.to_string()).await.unwrap();
    let lines = vec![Object(Line { id: ID.parse().unwrap(), quantity: 2 })];
    assert_eq!(basket, Basket { name: "Ada".into(), note: None, gift_wrap: None, status: None, lines });
}

#[tokio::test]
async fn a_wrong_value_is_named_with_its_whole_path() {
    let lines = |lines: Value| json!({"name": "Ada", "lines": lines}).to_string();
    for (body, wanted) in [
        (
            lines(json!([{"id": ID, "quantity": "2"}])),
            "lines.0.quantity: invalid type: string \"2\", expected a whole number",
        ),
        (
            lines(json!([{"id": ID, "quantity": 2.5}])),
            "lines.0.quantity: invalid type: floating point `2.5`, expected a whole number",
        ),
        (
            lines(json!([{"id": ID, "quantity": 1_u64 << 40}])),
            "lines.0.quantity: invalid value: integer `1099511627776`, expected a whole number",
        ),
        (lines(json!([{"id": ID, "quantity": 1}, {"id": ID}])), "lines.1.quantity: is required"),
        (
            lines(json!([{"id": ID, "quantity": 1, "foo": 1}])),
            "lines.0.foo: is not known here; expected `id` or `quantity`",
        ),
        (
            lines(json!([{"id": "1", "quantity": 1}])),
            "lines.0.id: must be a UUID like 0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42",
        ),
        (lines(json!([[ID, 1]])), "lines.0: invalid type: array, expected an object"),
        (lines(json!({})), "lines: invalid type: object, expected an array"),
        (lines(Value::Null), "lines: invalid type: null, expected an array"),
        (json!({"lines": []}).to_string(), "name: is required"),
        (
            json!({"name": "Ada", "lines": [], "giftWrap": null}).to_string(),
            "giftWrap: invalid type: null, expected a boolean",
        ),
        (json!({"name": "Ada", "lines": [], "status": 1}).to_string(), "status: is of a wrong type"),
        (r#"{"name": "Ada", "name": "Bob", "lines": []}"#.to_owned(), "name: is given more than once"),
    ] {
        assert_eq!(refused(body.clone()).await, wanted, "{body}");
    }
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_the_place() {
    for (body, wanted) in [
        ("", "the body is empty; send a JSON object"),
        ("{", "the body is not valid JSON: EOF while parsing an object at line 1 column 1"),
        ("{\n \"name\": }", "the body is not valid JSON: expected value at line 2 column 10"),
        (r#"{"name": "\ud800"}"#, "the body is not valid JSON: unexpected end of hex escape at line 1 column 17"),
        (r#"{"name": "Ada", "lines": []} {}"#, "the body is not valid JSON: trailing characters at line 1 column 30"),
        (r#"["Ada", null, []]"#, "the body is wrong: invalid type: array, expected an object"),
        ("null", "the body is wrong: invalid type: null, expected an object"),
        ("\"{}\"", "the body is wrong: invalid type: string \"{}\", expected an object"),
    ] {
        assert_eq!(refused(body).await, wanted, "{body}");
    }
    assert!(
        refused(&b"{\"name\": \"\xff\"}"[..])
            .await
            .starts_with("the body is not valid JSON: invalid unicode code point")
    );
    assert!(refused("[".repeat(100_000)).await.starts_with("the body is wrong"));
    let deep = format!("{{\"name\": {}", "[".repeat(100_000));
    assert!(refused(deep).await.starts_with("name: invalid type"));
}

#[tokio::test]
async fn only_json_in_utf8_is_read() {
    for (content_type, is_read) in [
        ("application/json", true),
        ("Application/JSON; charset=UTF-8", true),
        ("application/json;charset=\"utf-8\"", true),
        ("application/json; charset=latin1", false),
        ("application/x-www-form-urlencoded", false),
        ("text/plain", false),
        ("", false),
    ] {
        let read = Body::<Basket>::from_request(request(content_type, r#"{"name": "Ada", "lines": []}"#), &()).await;
        assert_eq!(
            read.map(|_| ()).map_err(|failure| failure.code),
            if is_read { Ok(()) } else { Err(Code::UnsupportedMediaType) }
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_as_such() {
    let read =
        service_fn(|request: Request| async { Ok::<_, Failure>(Body::<Basket>::from_request(request, &()).await) });
    let limited = DefaultBodyLimit::max(10).layer(read);
    let answer = limited.oneshot(request("application/json", " ".repeat(11))).await.unwrap();
    assert_eq!(answer.unwrap_err().code, Code::PayloadTooLarge);
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    page: Option<i64>,
    search: Option<String>,
    low_stock: Option<bool>,
    status: Option<Status>,
    customer: Option<Uuid>,
}

#[derive(Debug, Deserialize, PartialEq)]
enum Status {
    Paid,
    Shipped,
}

fn query(query: &str) -> Result<Filter, Failure> {
    parameters(&format!("/orders{query}").parse().unwrap())
}

#[test]
fn parameters_have_types() {
    let empty = Filter { page: None, search: None, low_stock: None, status: None, customer: None };
    assert_eq!(query(""), Ok(empty));
    let filter = query(&format!("?page=2&search=a%20b%2Bc&lowStock=false&status=Paid&customer={ID}")).unwrap();
    let wanted = Filter {
        page: Some(2),
        search: Some("a b+c".into()),
        low_stock: Some(false),
        status: Some(Status::Paid),
        customer: Some(ID.parse().unwrap()),
    };
    assert_eq!(filter, wanted);
    assert_eq!(query("?search=").unwrap().search.as_deref(), Some(""));
}

#[test]
fn wrong_parameters_are_refused_by_name() {
    for (text, wanted) in [
        ("?page=two", "page: must be a whole number of at most 18 digits"),
        ("?page=", "page: must be a whole number of at most 18 digits"),
        ("?page=99999999999999999999", "page: must be a whole number of at most 18 digits"),
        ("?page=1&page=2", "page: is given more than once"),
        ("?lowStock=1", "lowStock: must be true or false"),
        ("?status=PAID", "status: must be `Paid` or `Shipped`"),
        ("?customer=1", "customer: must be a UUID like 0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42"),
        ("?search=%FF", "search: must be in UTF-8"),
        ("?sreach=a", "sreach: is not known here; expected one of `page`, `search`, `lowStock`, `status`, `customer`"),
    ] {
        assert_eq!(told(&query(text).unwrap_err()), (Code::ValidationError, wanted.to_owned()), "{text}");
    }
}

#[test]
fn a_route_without_parameters_refuses_all() {
    let none = |uri: &str| parameters::<NoParameters>(&uri.parse().unwrap()).map(|NoParameters {}| ());
    assert_eq!(none("/"), Ok(()));
    assert_eq!(none("/?"), Ok(()));
    assert_eq!(told(&none("/?a=1").unwrap_err()).1, "a: is not known here; there are no fields");
}
