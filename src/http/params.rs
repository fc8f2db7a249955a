//! The parameters of a GraphQL-over-HTTP request: what a body or a query string must look like.

use async_graphql::{Extensions, Variables};
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::Code;
use crate::http::errors::Refusal;

/// The parameters, each of its right type and otherwise unchecked. Others are ignored, as the specification demands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Params {
    /// The source text of the document; none when only its hash was sent.
    pub query: Option<String>,
    /// Which of the document's operations to execute.
    pub operation_name: Option<String>,
    /// The values of the operation's variables.
    #[serde(default)]
    pub variables: Variables,
    /// What goes beyond the specification.
    #[serde(default)]
    pub extensions: Extensions,
}

impl Params {
    /// Reads the body of a POST.
    pub fn from_body(body: &[u8]) -> Result<Self, Refusal> {
        // An array would otherwise pass for an object whose fields are given in order.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(Refusal::malformed("batches are not supported: send one operation per request"));
        }
        Ok(parse::<Self>(body, "")?.normalized())
    }

    /// Reads the query string of a GET.
    pub fn from_query(uri: &Uri) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Encoded {
            query: Option<String>,
            operation_name: Option<String>,
            variables: Option<String>,
            extensions: Option<String>,
        }

        let Query(encoded) = Query::<Encoded>::try_from_uri(uri)
            .map_err(|error| Refusal::malformed(format!("the query string is malformed: {error}")))?;
        let params = Self {
            query: encoded.query,
            operation_name: encoded.operation_name,
            variables: parse_parameter(encoded.variables, "variables")?,
            extensions: parse_parameter(encoded.extensions, "extensions")?,
        };
        Ok(params.normalized())
    }

    /// An empty string stands for a parameter that is not there.
    fn normalized(mut self) -> Self {
        self.query = self.query.filter(|query| !query.is_empty());
        self.operation_name = self.operation_name.filter(|name| !name.is_empty());
        self
    }
}

/// Refuses every body that is not JSON in UTF-8.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    if json && utf8 {
        return Ok(());
    }
    Err(Refusal::new(Code::UnsupportedMediaType, "send the request as `Content-Type: application/json`, in UTF-8"))
}

/// A parameter of the query string that holds JSON.
fn parse_parameter<T: DeserializeOwned + Default>(text: Option<String>, name: &str) -> Result<T, Refusal> {
    match text {
        Some(text) if !text.is_empty() => parse(text.as_bytes(), name),
        _ => Ok(T::default()),
    }
}

/// Reads JSON, or says where it is wrong: in the parameter `name` or one of its fields.
fn parse<T: DeserializeOwned>(json: &[u8], name: &str) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|error| {
        let place = match error.classify() {
            Category::Data => Some(join(name, &path_of_error::<T>(json))).filter(|path| !path.is_empty()),
            _ if name.is_empty() => Some("the body is not valid JSON".to_owned()),
            _ => Some(format!("{name} is not valid JSON")),
        };
        let place = place.unwrap_or_else(|| "the body is not a GraphQL request".to_owned());
        Refusal::malformed(format!("{place}: {error}"))
    })
}

/// Reads again, slower, to find the field that is wrong.
fn path_of_error<T: DeserializeOwned>(json: &[u8]) -> String {
    let mut json = serde_json::Deserializer::from_slice(json);
    match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(error) if error.path().iter().len() > 0 => error.path().to_string(),
        _ => String::new(),
    }
}

fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", path) | (path, "") => path.to_owned(),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let refusal = Params::from_body(body.as_bytes()).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, "VALIDATION_ERROR"));
        refusal.message.into_owned()
    }

    fn from_query(query: &str) -> Result<Params, Refusal> {
        Params::from_query(&format!("/graphql?{query}").parse().unwrap())
    }

    #[test]
    fn a_body_has_four_parameters_and_anything_else() {
        let body = r#" {"query": "{a}", "operationName": "A", "variables": {"v": 1}, "extensions": {"x": []}, "y": 2}"#;
        let params = Params::from_body(body.as_bytes()).unwrap();
        assert_eq!(params.query.as_deref(), Some("{a}"));
        assert_eq!(params.operation_name.as_deref(), Some("A"));
        assert_eq!(params.variables.len(), 1);
        assert!(params.extensions.contains_key("x"));
    }

    #[test]
    fn null_and_absent_are_the_same() {
        let body = r#"{"query": "{a}", "operationName": null, "variables": null, "extensions": null}"#;
        for body in [body, r#"{"query": "{a}"}"#] {
            let params = Params::from_body(body.as_bytes()).unwrap();
            assert!(params.operation_name.is_none() && params.variables.is_empty() && params.extensions.is_empty());
        }
        assert!(Params::from_body(b"{}").unwrap().query.is_none());
    }

    #[test]
    fn a_refusal_names_what_is_wrong() {
        for (field, value) in [
            ("query", r#"["array"]"#),
            ("operationName", "0"),
            ("variables", "[7]"),
            ("variables", r#""text""#),
            ("extensions", "false"),
        ] {
            let message = refused(&format!(r#"{{"{field}": {value}}}"#));
            assert!(message.starts_with(&format!("{field}: ")), "{message}");
        }
        assert!(refused("").starts_with("the body is not valid JSON"));
        assert!(refused(r#"{"query": "#).starts_with("the body is not valid JSON"));
        assert!(refused(r#"{"query": "\ud800"}"#).starts_with("the body is not valid JSON"));
        assert!(refused(r#""{a}""#).starts_with("the body is not a GraphQL request"));
        assert!(refused(r#"{"query": "{a}", "query": "{b}"}"#).contains("duplicate field `query`"));
    }

    #[test]
    fn batches_are_refused_as_such() {
        for body in ["[]", r#" [{"query": "{a}"}]"#, r#"["{a}", null, {}, {}]"#] {
            assert!(refused(body).starts_with("batches are not supported"));
        }
    }

    #[test]
    fn a_query_string_has_the_same_parameters() {
        let params = from_query("query=%7Ba%7D&operationName=A&variables=%7B%22v%22%3A1%7D&extensions=").unwrap();
        assert_eq!(params.query.as_deref(), Some("{a}"));
        assert_eq!(params.operation_name.as_deref(), Some("A"));
        assert_eq!(params.variables.len(), 1);
        assert!(params.extensions.is_empty());
        assert!(from_query("query=&operationName=").is_ok_and(|p| p.query.is_none() && p.operation_name.is_none()));
    }

    #[test]
    fn a_malformed_query_string_is_refused() {
        for (query, message) in [
            ("query=a&query=b", "the query string is malformed"),
            ("query=a&variables=%7B", "variables is not valid JSON"),
            ("query=a&variables=%5B%5D", "variables: invalid type"),
            ("query=a&extensions=1", "extensions: invalid type"),
        ] {
            let refusal = from_query(query).unwrap_err();
            assert!(refusal.message.starts_with(message), "{}", refusal.message);
        }
    }

    #[test]
    fn only_json_in_utf8_is_read() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            check_content_type(&headers)
        };
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "text/plain", "application/json; charset=latin1", "multipart/form-data; boundary=x"] {
            assert_eq!(check(bad).unwrap_err().status.as_u16(), 415, "{bad}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
