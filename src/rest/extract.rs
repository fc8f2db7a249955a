//! Reading requests strictly: whatever is malformed, of a wrong type, missing or unknown is refused by its name.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::de::value::{Error as ValueError, MapAccessDeserializer, MapDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, forward_to_deserialize_any};
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path as FieldPath, Segment};
use uuid::Uuid;

use super::envelope::Failure;
use crate::error::{Code, FieldError};

/// A JSON object in the request's body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = is_json(request.headers());
        let body = whole(request, state).await?;
        if body.is_empty() {
            return Err(Failure::new(Code::ValidationError, "the body is empty; send a JSON object"));
        }
        if !is_json {
            let expected = "send the body as `Content-Type: application/json`, in UTF-8";
            return Err(Failure::new(Code::UnsupportedMediaType, expected));
        }
        parse(&body).map(Self)
    }
}

/// The request's body, as it came.
pub async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(Code::PayloadTooLarge, "the body is too large"),
        _ => Failure::new(Code::ValidationError, "the body did not arrive whole"),
    })
}

/// Whether the headers announce JSON in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    is_json && is_utf8
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    let mut read = serde_json::Deserializer::from_slice(json);
    let Object(value) = serde_path_to_error::deserialize::<_, Object<T>>(&mut read).map_err(|error| {
        let path = error.path().clone();
        refusal(json, &path, &error.into_inner())
    })?;
    read.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn refusal(json: &[u8], path: &FieldPath, error: &serde_json::Error) -> Failure {
    if error.classify() != Category::Data {
        // A number where an enum belongs is bad syntax to serde_json, but not to anybody else.
        return match serde_json::from_slice::<Value>(json) {
            Ok(_) => wrong_field(path, "is of a wrong type"),
            Err(_) => malformed(error),
        };
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    wrong_field(path, message.strip_suffix(&place).unwrap_or(&message))
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(Code::ValidationError, format!("the body is not valid JSON: {error}"))
}

/// The failure of a value that serde refuses, in words for people who do not know Rust.
fn wrong_field(path: &FieldPath, message: &str) -> Failure {
    let mut path: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    // These are the texts of serde::de::Error's own constructors, which its documentation gives.
    let message = if let Some(name) = message.strip_prefix("missing field ") {
        path.push(name.trim_matches('`').to_owned());
        "is required".to_owned()
    } else if let Some(name) = message.strip_prefix("duplicate field ") {
        path.push(name.trim_matches('`').to_owned());
        "is given more than once".to_owned()
    } else if let Some((_, known)) = message.strip_prefix("unknown field ").and_then(|rest| rest.split_once(", ")) {
        format!("is not known here; {known}")
    } else if let Some((_, known)) =
        message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        format!("must be {known}")
    } else if message.starts_with("UUID parsing failed") {
        "must be a UUID like 0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42".to_owned()
    } else {
        in_terms_of_json(message)
    };
    if path.is_empty() {
        return Failure::new(Code::ValidationError, format!("the body is wrong: {message}"));
    }
    Failure::validation(vec![FieldError { path, message }])
}

fn in_terms_of_json(message: &str) -> String {
    const TERMS: [(&str, &str); 4] = [
        ("invalid type: sequence,", "invalid type: array,"),
        ("invalid type: map,", "invalid type: object,"),
        ("expected a sequence", "expected an array"),
        ("expected i32", "expected a whole number"),
    ];
    TERMS.into_iter().fold(message.to_owned(), |message, (rust, json)| message.replace(rust, json))
}

/// A JSON object and nothing else. Without it, an array would pass for an object whose fields are given in order.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OnlyMaps(PhantomData)).map(Self)
    }
}

/// For a field that may be left out, but not be null.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The id in the route.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(parameters) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::new(Code::ValidationError, "the path is not UTF-8"))?;
        let id = parameters.first().map(|(name, value)| (name, Uuid::try_parse(value)));
        match id {
            Some((_, Ok(id))) => Ok(Self(id)),
            Some((name, Err(_))) => {
                let expected = "must be a UUID like 0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42";
                Err(Failure::validation(vec![FieldError::new(name, expected)]))
            }
            None => Err(Failure::from(crate::error::Error::internal(anyhow::anyhow!("a route without an id")))),
        }
    }
}

/// The parameters of a route that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// Reads the query string.
pub fn parameters<T: DeserializeOwned>(uri: &Uri) -> Result<T, Failure> {
    let malformed = || Failure::new(Code::ValidationError, "the query string is malformed");
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| malformed())?;
    // What is not UTF-8 was replaced by this character, which nobody searches for.
    if let Some((name, _)) = pairs.iter().find(|(name, value)| name.contains('\u{fffd}') || value.contains('\u{fffd}'))
    {
        return Err(Failure::validation(vec![FieldError {
            path: vec![name.clone()],
            message: "must be in UTF-8".into(),
        }]));
    }
    let pairs = pairs.into_iter().map(|(name, value)| (name, Parameter(value)));
    serde_path_to_error::deserialize(MapDeserializer::<_, ValueError>::new(pairs))
        .map_err(|error| wrong_field(error.path(), &error.inner().to_string()))
}

/// A value in the query string: text that stands for whatever type it is read as.
struct Parameter(String);

impl IntoDeserializer<'_> for Parameter {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Parameter {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(ValueError::custom("must be true or false")),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.parse() {
            Ok(number) => visitor.visit_i64(number),
            Err(_) => Err(ValueError::custom("must be a whole number of at most 18 digits")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        StringDeserializer::new(self.0).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
