//! Errors as GraphQL clients see them.
//!
//! What a caller can cause and fix is in a payload's `userErrors`. Top-level errors are for authentication,
//! permission, malformed requests and failures of ours; each has `extensions {code, requestId, retryable}`.

use std::sync::Arc;

use async_graphql::{Enum, ErrorExtensionValues, Response, ServerError, SimpleObject, Value};

use crate::domain::actor::RequestId;
use crate::error::{Code, Error, Problem, Result, details};

/// A stable, machine-readable reason, the same as in REST.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Code")]
pub enum ErrorCode {
    /// The input is malformed, of a wrong type, unknown or out of range.
    ValidationError,
    /// No credentials, or ones that are wrong, expired or revoked.
    Unauthenticated,
    /// This takes a second factor, which the caller has not given.
    MfaRequired,
    /// The caller is known but may not do this.
    Forbidden,
    /// There is no such object in this shop.
    NotFound,
    /// A value that must be unique is taken; `details.field` names it.
    Conflict,
    /// Less is left than was asked for; `details` has productId, requested and available.
    InsufficientStock,
    /// The order cannot go from its state to that one; `details` has from, to and allowed.
    InvalidStatusTransition,
    /// The same Idempotency-Key came with a different request before.
    IdempotencyKeyReused,
    /// The body is larger than the server reads.
    PayloadTooLarge,
    /// The body is of a media type that is not understood here.
    UnsupportedMediaType,
    /// The route exists, but not for this method.
    MethodNotAllowed,
    /// A quota is used up; `details.retryAfter` says how many seconds to wait.
    RateLimited,
    /// The payment provider failed or refused; nothing changed here.
    PaymentProviderError,
    /// A dependency is gone or overloaded; trying again later helps.
    ServiceUnavailable,
    /// A bug on our side; quote the request id when you report it.
    Internal,
}

/// One thing that the caller can fix.
#[derive(SimpleObject, Clone, Debug)]
pub struct UserError {
    /// The reason, for programs.
    code: ErrorCode,
    /// The reason, for people.
    message: String,
    /// The path to the input field that is to blame, if one is: `["items", "0", "quantity"]`.
    field: Option<Vec<String>>,
    /// What a program needs to react; what it holds depends on the code.
    details: Option<serde_json::Value>,
}

impl From<Problem> for UserError {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code.into(), message: problem.message, field: problem.field, details: problem.details }
    }
}

/// Splits a use case's result into what a payload shows and what becomes a top-level error.
pub fn split<T>(result: Result<T>) -> Result<(Option<T>, Vec<UserError>)> {
    match result {
        Ok(value) => Ok((Some(value), Vec::new())),
        Err(error) if is_the_callers(&error) => Ok((None, user_errors(&error))),
        Err(error) => Err(error),
    }
}

/// The error as a payload shows it.
pub fn user_errors(error: &Error) -> Vec<UserError> {
    error.problems().into_iter().map(UserError::from).collect()
}

const fn is_the_callers(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::ValidationError
            | Code::NotFound
            | Code::Conflict
            | Code::InsufficientStock
            | Code::InvalidStatusTransition
    )
}

/// Defines a mutation's payload: a nullable object and `userErrors`, made from a use case's result by `of`.
macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $(#[$field_doc:meta])* $field:ident: $type:ty }) => {
        $(#[$doc])*
        #[derive(async_graphql::SimpleObject)]
        pub struct $name {
            $(#[$field_doc])*
            $field: Option<$type>,
            /// What was wrong with the request; empty when it was done.
            user_errors: Vec<$crate::graphql::errors::UserError>,
        }

        impl $name {
            fn of<T: Into<$type>>(result: $crate::error::Result<T>) -> async_graphql::Result<Self> {
                let (value, user_errors) = $crate::graphql::errors::split(result)?;
                Ok(Self { $field: value.map(Into::into), user_errors })
            }
        }
    };
}
pub(crate) use payload;

/// Gives every top-level error its code, request id and whether trying again can help, and logs those that are ours.
pub fn complete(errors: &mut [ServerError], request_id: &RequestId, is_mutation: bool) {
    for error in errors {
        let ours = match &error.source {
            Some(source) => {
                source.downcast_ref::<Error>().or_else(|| source.downcast_ref::<Arc<Error>>().map(AsRef::as_ref))
            }
            None => None,
        };
        if let Some(ours) = ours {
            ours.log();
        } else {
            make_short(&mut error.message);
        }
        // Whatever the library refuses by itself is a malformed request.
        let code = ours.map_or(Code::ValidationError, Error::code);
        let details = ours.and_then(|ours| details(&ours.problems()));
        let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
        extensions.set("code", code.as_str());
        extensions.set("requestId", request_id.as_str());
        // Below a mutation's root field the change itself is made: asking again would make it twice.
        extensions.set("retryable", code.retryable() && !(is_mutation && error.path.len() > 1));
        if let Some(details) = details.and_then(|details| async_graphql::Value::from_json(details).ok()) {
            extensions.set("details", details);
        }
    }
}

/// Cuts down what the library says of a document. It may quote a name as long as the body; and where the parser gives up, it
/// quotes the whole line, in which there may be a password: then what was expected must do.
pub fn make_short(message: &mut String) {
    const LONGEST: usize = 500;
    let expected = |message: &str| Some(message.strip_prefix(" --> ")?.rsplit_once("\n  = ")?.1.to_owned());
    if let Some(expected) = expected(message) {
        *message = format!("syntax error: {expected}");
    }
    if let Some((end, _)) = message.char_indices().nth(LONGEST) {
        message.truncate(end);
        message.push('…');
    }
}

/// The code that [`complete`] gave an error.
#[must_use]
pub fn code(error: &ServerError) -> Code {
    match error.extensions.as_ref().and_then(|extensions| extensions.get("code")) {
        Some(Value::String(name)) => Code::parse(name).unwrap_or(Code::Internal),
        _ => Code::Internal,
    }
}

/// A response that says nothing but this error.
#[must_use]
pub fn error_response(error: Arc<Error>, request_id: &RequestId) -> Response {
    let mut errors = vec![async_graphql::Error::from(error).into_server_error(async_graphql::Pos::default())];
    for error in &mut errors {
        error.locations.clear();
    }
    complete(&mut errors, request_id, false);
    Response::from_errors(errors)
}
