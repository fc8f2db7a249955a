//! Requests that fail before, or outside of, an operation.

use std::borrow::Cow;

use async_graphql::{ErrorExtensionValues, Response, ServerError};
use axum::http::StatusCode;

use crate::domain::actor::RequestId;
use crate::error::Code;

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
        Self {
            status: StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.as_str(),
            message: message.into(),
        }
    }

    /// A malformed request.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::ValidationError, message)
    }

    /// The refusal as a GraphQL response.
    #[must_use]
    pub fn response(self, request_id: &RequestId) -> Response {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code);
        extensions.set("requestId", request_id.as_str());
        extensions.set("retryable", false);
        let mut error = ServerError::new(self.message, None);
        error.extensions = Some(extensions);
        Response::from_errors(vec![error])
    }
}
