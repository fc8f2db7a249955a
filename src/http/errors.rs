//! Requests that fail before, or outside of, an operation.

use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::ServerError;
use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::actor::RequestId;
use crate::error::{Code, Error};
use crate::graphql::{self, Answer};
use crate::http::accept::Format;
use crate::http::graphql::respond;

/// A GraphQL request that is refused before it is executed.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, the same in every media type.
    pub status: StatusCode,
    /// The code in the error's extensions.
    pub code: &'static str,
    /// For people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal for a registered reason.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: status(code), code: code.as_str(), message: message.into() }
    }

    /// A malformed request.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::ValidationError, message)
    }

    /// The refusal as a GraphQL response.
    #[must_use]
    pub fn answer(self, request_id: &RequestId) -> Answer {
        refuse(ServerError::new(self.message, None), self.code, request_id)
    }
}

/// What keeps an operation from being run.
#[derive(Debug)]
pub enum Unfit {
    /// The request is malformed, or for nobody.
    Request(Refusal),
    /// The request is well-formed, and its document is not.
    Document(ServerError),
}

impl From<Refusal> for Unfit {
    fn from(refusal: Refusal) -> Self {
        Self::Request(refusal)
    }
}

/// A response that says nothing but this error.
pub fn refuse(mut error: ServerError, code: &str, request_id: &RequestId) -> Answer {
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("code", code);
    extensions.set("requestId", request_id.as_str());
    extensions.set("retryable", false);
    graphql::make_short(&mut error.message);
    Answer { errors: vec![error], ..Answer::default() }
}

/// A failure of ours, in the shape that clients of this route expect. Its cause is logged.
pub fn internal(cause: anyhow::Error, route: &str, request_id: &RequestId) -> Response {
    let error = Error::internal(cause);
    if route == "/graphql" {
        let answer = graphql::error_response(Arc::new(error), request_id);
        return respond(Format::Json, Ok(answer.into()), request_id);
    }
    error.log();
    envelope(error.code(), &error.to_string())
}

/// A request that is refused before anybody looks at what it wants, in the shape that clients of this route expect.
pub fn refused(
    code: Code,
    message: &'static str,
    route: &str,
    headers: &HeaderMap,
    request_id: &RequestId,
) -> Response {
    let mut response = if route == "/graphql" {
        let format = Format::accepted(headers).unwrap_or(Format::Json);
        respond(format, Err(Refusal::new(code, message)), request_id)
    } else {
        envelope(code, message)
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A request that its sender cannot afford, likewise.
pub fn limited(error: Error, route: &str, headers: &HeaderMap, request_id: &RequestId) -> Response {
    if route == "/graphql" {
        let format = Format::accepted(headers).unwrap_or(Format::Json);
        return respond(format, Ok(graphql::error_response(Arc::new(error), request_id).into()), request_id);
    }
    error.log();
    envelope(error.code(), &error.to_string())
}

/// No route has this path.
pub async fn not_found() -> Response {
    envelope(Code::NotFound, "no such route; see /docs for REST and /graphql for GraphQL")
}

/// The route exists, but not for this method. Which it has is in the header Allow.
pub async fn method_not_allowed() -> Response {
    envelope(Code::MethodNotAllowed, "this route has other methods; see the header Allow")
}

/// An error outside GraphQL, in the shape that REST has.
fn envelope(code: Code, message: &str) -> Response {
    #[derive(Serialize)]
    struct Envelope<'a> {
        success: bool,
        error: Body<'a>,
    }

    #[derive(Serialize)]
    struct Body<'a> {
        code: &'a str,
        message: &'a str,
    }

    let error = Body { code: code.as_str(), message };
    (status(code), Json(Envelope { success: false, error })).into_response()
}

/// The status of a code.
pub fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
