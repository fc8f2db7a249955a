//! What tests expect of answers, in few words.

use std::time::{Duration, Instant};

use chrono::DateTime;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, As, Shop, TestServer};

/// Waits until something holds, and not for longer than this.
pub async fn until(what: &str, seconds: u64, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}, within {seconds} seconds");
        pause().await;
    }
}

/// Leaves the machine to those who are waited for, between two looks at what they have done.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

impl Answer {
    /// Status and code of a REST failure. Its envelope must have the agreed fields, and no others.
    pub fn failure(&self) -> (u16, &str) {
        let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&self.body), Some(vec!["error".into(), "success".into()]), "{:#}", self.body);
        assert_eq!(self.body["success"], false);
        let error = &self.body["error"];
        assert!(
            keys(error).is_some_and(|keys| keys.iter().all(|key| ["code", "details", "message"].contains(&&**key)))
        );
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.header("x-request-id").is_some());
        assert_eq!(self.header("www-authenticate").is_some(), self.status == 401);
        (self.status, error["code"].as_str().expect("a code"))
    }

    /// The fields that a REST validation error names, by name.
    pub fn wrong_fields(&self) -> Vec<&str> {
        assert_eq!(self.failure(), (400, "VALIDATION_ERROR"), "{:#}", self.body);
        let fields = self.body["error"]["details"]["fields"].as_array();
        let mut fields: Vec<_> = fields.into_iter().flatten().filter_map(|field| field["field"].as_str()).collect();
        fields.sort_unstable();
        fields
    }

    /// Code and path of each top-level GraphQL error, like `FORBIDDEN product.inventory`.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array();
        let told = errors.into_iter().flatten().map(|error| {
            let extensions = &error["extensions"];
            assert_eq!(extensions["requestId"].as_str(), self.header("x-request-id"), "{error:#}");
            let retryable = matches!(extensions["code"].as_str(), Some("SERVICE_UNAVAILABLE"));
            assert_eq!(extensions["retryable"], retryable, "{error:#}");
            let path = error["path"].as_array().into_iter().flatten();
            let path: Vec<_> = path.map(|step| step.to_string().replace('"', "")).collect();
            format!("{} {}", extensions["code"].as_str().expect("a code"), path.join("."))
        });
        told.collect()
    }

    /// The code of each top-level GraphQL error, wherever it happened.
    pub fn codes(&self) -> Vec<String> {
        self.errors().into_iter().filter_map(|error| error.split(' ').next().map(str::to_owned)).collect()
    }
}

/// Code and field of each of a payload's `userErrors`, by name: `VALIDATION_ERROR items.0.quantity`.
pub fn user_errors(payload: &Value) -> Vec<String> {
    let told = payload["userErrors"].as_array().expect("userErrors").iter().map(|error| {
        let path = error["field"].as_array().into_iter().flatten().filter_map(Value::as_str);
        format!("{} {}", error["code"].as_str().expect("a code"), path.collect::<Vec<_>>().join("."))
    });
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    told
}

/// The value with `"<id>"` for every id and `"<time>"` for every moment (in UTC), so that it can be compared whole.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::String(text) if Uuid::try_parse(text).is_ok() => json!("<id>"),
        Value::String(text) if is_moment(text) => json!("<time>"),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        other => other.clone(),
    }
}

/// Whether this is a moment as RFC 3339 writes it, in UTC.
fn is_moment(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok_and(|moment| moment.offset().local_minus_utc() == 0)
}

/// Callers who are refused, each with the code.
type Refused<'a> = Vec<(&'a As, &'static str)>;

impl Shop {
    /// Those who are not logged in.
    pub fn but_users(&self) -> Refused<'_> {
        vec![(&As::Nobody, "UNAUTHENTICATED"), (&self.shopper, "UNAUTHENTICATED")]
    }

    /// Those who do not run the shop.
    pub fn but_staff(&self) -> Refused<'_> {
        [self.but_users(), vec![(&self.customer, "FORBIDDEN")]].concat()
    }

    /// Those who do not own the shop.
    pub fn but_admins(&self) -> Refused<'_> {
        [self.but_staff(), vec![(&self.merchant, "FORBIDDEN")]].concat()
    }
}

impl TestServer {
    /// Sends an operation as each of these. All must be refused at its root field `field`, and get no data.
    pub async fn refuses(&self, callers: Refused<'_>, field: &str, query: &str, variables: &Value) {
        for (who, code) in callers {
            let answer = self.graphql(who, query, variables.clone()).await;
            assert_eq!(answer.errors(), [format!("{code} {field}")], "{who:?} {query}: {:#}", answer.body);
            assert_eq!(answer.body["data"], Value::Null, "{who:?} {query}");
        }
    }

    /// Sends a REST request as each of these, who must all be refused.
    pub async fn refuses_rest(&self, callers: Refused<'_>, method: Method, path: &str, body: Option<Value>) {
        for (who, code) in callers {
            let answer = self.rest(who, method.clone(), path, body.clone()).await;
            let status = if code == "FORBIDDEN" { 403 } else { 401 };
            assert_eq!(answer.failure(), (status, code), "{who:?} {method} {path}");
        }
    }
}
