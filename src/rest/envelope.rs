//! The one shape of every answer: `{"success": true, "data": …, "error": null}`, or `success` false and an `error`.

use std::sync::Arc;

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type};

use crate::error::{Code, Error, FieldError, Problem, details};

/// The answer to a request that was done.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the envelope's field is called so")]
pub struct Success<T> {
    #[schema(schema_with = always_true)]
    success: bool,
    /// What was asked for.
    #[schema(schema_with = reference::<T>)]
    data: T,
    #[schema(schema_with = always_null)]
    error: (),
}

impl<T> Success<T> {
    /// Answers with this.
    pub const fn of(data: T) -> Self {
        Self { success: true, data, error: () }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    #[schema(schema_with = always_true)]
    success: bool,
    /// The rows of this page; none behind the end of the list.
    #[schema(schema_with = references::<T>)]
    data: Vec<T>,
    meta: Meta,
    #[schema(schema_with = always_null)]
    error: (),
}

/// Where a page is in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(examples(json!({"page": 1, "limit": 20, "total": 100})))]
pub struct Meta {
    /// The number of this page, counted from 1.
    #[schema(minimum = 1)]
    pub page: i64,
    /// The most rows that a page has.
    #[schema(minimum = 1, maximum = 100)]
    pub limit: i64,
    /// How many rows the whole list has.
    #[schema(minimum = 0)]
    pub total: i64,
}

impl<T> Page<T> {
    /// Answers with these rows.
    pub const fn of(data: Vec<T>, meta: Meta) -> Self {
        Self { success: true, data, meta, error: () }
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Why a request was not done.
#[derive(Debug, PartialEq)]
pub struct Failure {
    /// The reason, for programs. It decides the status as well.
    pub code: Code,
    /// The reason, for people.
    pub message: String,
    /// What a program needs to react, by code.
    pub details: Option<Value>,
}

/// The answer to a request that was not done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub struct FailureBody {
    #[schema(schema_with = always_false)]
    success: bool,
    error: ErrorBody,
}

/// Why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
struct ErrorBody {
    /// The reason, for programs: stable, and the same as in GraphQL.
    #[schema(schema_with = codes)]
    code: &'static str,
    /// The reason, for people. Do not parse it: wordings change.
    message: String,
    /// What a program needs to react. What it holds depends on the code:
    ///
    /// - `VALIDATION_ERROR`: `fields`, a list of `{field, message}` where `field` is the path to a value of the body, or
    ///   the name of a parameter, like `items.0.quantity`.
    /// - `CONFLICT`: `field`, whose value is taken.
    /// - `INSUFFICIENT_STOCK`: `productId`, `requested` and `available` of the first short product, and all of them as
    ///   `lines`.
    /// - `RATE_LIMITED`: `retryAfter`, in seconds.
    /// - `INVALID_STATUS_TRANSITION`: `from`, `to`, and `allowed`, a list of the states that are possible instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    details: Option<Value>,
}

impl Failure {
    /// A failure that has no details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// Fields or parameters that are wrong.
    pub fn validation(fields: Vec<FieldError>) -> Self {
        Self::from(&Error::Validation(fields))
    }

    /// What a payload's `userErrors` say; there is at least one.
    pub fn of_problems(problems: Vec<Problem>) -> Self {
        let details = details(&problems);
        let count = problems.len();
        let Some(first) = problems.into_iter().next() else {
            return Self::from(Error::internal(anyhow::anyhow!("a failure without a problem")));
        };
        let message = match (first.code, first.field) {
            (Code::ValidationError, _) if count > 1 => format!("{count} fields are invalid"),
            (Code::ValidationError, Some(field)) => format!("{}: {}", field.join("."), first.message),
            (Code::InsufficientStock, _) if count > 1 => {
                format!("not enough stock for {count} of the requested products")
            }
            _ => first.message,
        };
        Self { code: first.code, message, details }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { code: error.code(), message: error.to_string(), details: details(&error.problems()) }
    }
}

/// For failures that nobody has logged yet.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        error.log();
        Self::from(&error)
    }
}

/// For failures that nobody has logged yet.
impl From<Arc<Error>> for Failure {
    fn from(error: Arc<Error>) -> Self {
        error.log();
        Self::from(error.as_ref())
    }
}

impl From<async_graphql::ServerError> for Failure {
    /// A top-level error that the engine has completed (and logged).
    fn from(error: async_graphql::ServerError) -> Self {
        let extension = |name| error.extensions.as_ref()?.get(name)?.clone().into_json().ok();
        let code = extension("code").and_then(|code| Code::parse(code.as_str()?));
        Self { code: code.unwrap_or(Code::Internal), details: extension("details"), message: error.message }
    }
}

impl From<Failure> for FailureBody {
    fn from(Failure { code, message, details }: Failure) -> Self {
        let error = ErrorBody { code: code.as_str(), message, details };
        Self { success: false, error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(FailureBody::from(self))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // Demanded by RFC 9110, section 15.5.2.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An entry of a payload's `userErrors`.
#[derive(Debug, Deserialize)]
pub struct UserError {
    code: String,
    message: String,
    field: Option<Vec<String>>,
    details: Option<Value>,
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        Self {
            code: Code::parse(&error.code).unwrap_or(Code::Internal),
            message: error.message,
            // What is wrong with GraphQL's `input` as a whole is wrong with our body.
            field: error.field.map(|path| if path == ["input"] { vec!["body".into()] } else { path }),
            details: error.details,
        }
    }
}

/// The object of a payload that was done, or why it was not.
pub fn accepted<T>(object: Option<T>, user_errors: Vec<UserError>) -> Result<T, Failure> {
    match object {
        Some(object) if user_errors.is_empty() => Ok(object),
        _ => Err(Failure::of_problems(user_errors.into_iter().map(Problem::from).collect())),
    }
}

/// A reference to a schema. (The derive copies the schemas of type parameters instead.)
fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

fn references<T: ToSchema>() -> Array {
    ArrayBuilder::new()
        .items(reference::<T>())
        .description(Some("The rows of this page; none behind the end of the list."))
        .build()
}

fn always_true() -> Object {
    boolean(true)
}

fn always_false() -> Object {
    boolean(false)
}

fn boolean(value: bool) -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([value])).build()
}

fn always_null() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null)).build()
}

fn codes() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The reason, for programs: stable, and the same as in GraphQL."))
        .enum_values(Some(Code::ALL.map(Code::as_str)))
        .build()
}

#[cfg(test)]
mod tests;
