//! One error, one registry of codes, one result: what every layer returns and both transports show.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::orders::OrderStatus;

/// The result of everything that can fail for a reason a caller or an operator must hear of.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A stable, machine-readable reason. Its name is the same in REST and in GraphQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The input is malformed, of a wrong type, unknown or out of range.
    ValidationError,
    /// No credentials, or ones that are wrong, expired or revoked.
    Unauthenticated,
    /// This takes a second factor, which the caller has not given.
    MfaRequired,
    /// The caller is known but may not do this.
    Forbidden,
    /// There is no such object in this shop, or no such route.
    NotFound,
    /// A value that must be unique is taken.
    Conflict,
    /// Less is left than was asked for.
    InsufficientStock,
    /// The order cannot go from its state to that one.
    InvalidStatusTransition,
    /// The same `Idempotency-Key` came with a different request before.
    IdempotencyKeyReused,
    /// The body is larger than the server reads.
    PayloadTooLarge,
    /// The body is of a media type that is not understood here.
    UnsupportedMediaType,
    /// The route exists, but not for this method.
    MethodNotAllowed,
    /// The caller has used up a quota. Trying again later helps.
    RateLimited,
    /// The payment provider failed or refused; nothing changed here.
    PaymentProviderError,
    /// The database is gone, or every connection stayed busy for too long. Trying again later helps.
    ServiceUnavailable,
    /// A bug: logged whole under the request's id, never explained to the caller.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::ValidationError,
        Self::Unauthenticated,
        Self::MfaRequired,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::InsufficientStock,
        Self::InvalidStatusTransition,
        Self::IdempotencyKeyReused,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::MethodNotAllowed,
        Self::RateLimited,
        Self::PaymentProviderError,
        Self::ServiceUnavailable,
        Self::Internal,
    ];

    /// The code of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationError => "VALIDATION_ERROR",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::MfaRequired => "MFA_REQUIRED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::InsufficientStock => "INSUFFICIENT_STOCK",
            Self::InvalidStatusTransition => "INVALID_STATUS_TRANSITION",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RateLimited => "RATE_LIMITED",
            Self::PaymentProviderError => "PAYMENT_PROVIDER_ERROR",
            Self::ServiceUnavailable => "SERVICE_UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status that REST answers with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError => 400,
            Self::Unauthenticated | Self::MfaRequired => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::InsufficientStock | Self::InvalidStatusTransition => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::IdempotencyKeyReused => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::PaymentProviderError => 502,
            Self::ServiceUnavailable => 503,
        }
    }

    /// Whether the same request may succeed when it is sent again later.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, Self::ServiceUnavailable | Self::PaymentProviderError | Self::RateLimited)
    }
}

/// One thing that is wrong with the input: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path to the field, as the client wrote it: `["items", "0", "quantity"]`.
    pub path: Vec<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FieldError {
    /// An error at a path written with dots: `items.0.quantity`.
    pub fn new(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.split('.').map(str::to_owned).collect(), message: message.into() }
    }
}

/// One order line that the stock cannot fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The first line that asks for the product, counted from zero.
    pub line: usize,
    /// The product that is short.
    pub product_id: Uuid,
    /// How many were asked for, over all lines of this product.
    pub requested: i64,
    /// How many are left.
    pub available: i64,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad input, with every field that is wrong.
    #[error("{}", validation_message(.0))]
    Validation(Vec<FieldError>),
    /// Not logged in, or not with these credentials. The text is safe to show.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Logged in, but without the second factor that this takes.
    #[error("{0}")]
    MfaRequired(&'static str),
    /// Logged in, but not allowed. The text is safe to show.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The named kind of object does not exist in this shop.
    #[error("{kind} not found")]
    NotFound {
        /// What was looked for: "Product".
        kind: &'static str,
        /// The input field that named it, where there is one.
        field: Option<&'static str>,
    },
    /// The value of this field is taken.
    #[error("{message}")]
    Conflict {
        /// The field whose value is taken.
        field: &'static str,
        /// What is taken.
        message: &'static str,
    },
    /// Some lines ask for more than is left; all of them are listed.
    #[error("not enough stock for {} of the requested products", .0.len())]
    InsufficientStock(Vec<Shortage>),
    /// The state machine has no such edge.
    #[error("an order cannot go from {from} to {to}")]
    InvalidStatusTransition {
        /// The state that the order is in.
        from: OrderStatus,
        /// The state that was asked for.
        to: OrderStatus,
        /// Where this caller may move it instead.
        allowed: &'static [OrderStatus],
        /// The input field that asked for it.
        field: &'static str,
    },
    /// The `Idempotency-Key` stands for a different request of the last 24 hours.
    #[error("this Idempotency-Key was used for a different request; use a new key for a new request")]
    IdempotencyKeyReused,
    /// A quota is used up.
    #[error("{}", rate_limit_message(*.cost, *.limit, *.retry_after))]
    RateLimited {
        /// What the request would have cost.
        cost: u32,
        /// How much the quota holds.
        limit: u32,
        /// When it can be sent again; zero when it is too much for the quota.
        retry_after: Duration,
    },
    /// Stripe failed or refused, and nothing changed here; the cause is logged, not shown.
    #[error("the payment provider did not accept this; nothing was changed, try again later")]
    PaymentProvider(#[source] anyhow::Error),
    /// A dependency is gone or overloaded; the cause is logged, not shown.
    #[error("the service is temporarily unavailable; try again")]
    Unavailable(#[source] anyhow::Error),
    /// A bug; the cause is logged, not shown.
    #[error("something went wrong on our side; quote the request id when you report it")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// One wrong field.
    pub fn field(path: &str, message: impl Into<String>) -> Self {
        Self::Validation(vec![FieldError::new(path, message)])
    }

    /// An object that does not exist in this shop, or that this caller may not know of.
    #[must_use]
    pub const fn not_found(kind: &'static str) -> Self {
        Self::NotFound { kind, field: None }
    }

    /// The same, when an input field named the object.
    #[must_use]
    pub const fn not_found_at(kind: &'static str, field: &'static str) -> Self {
        Self::NotFound { kind, field: Some(field) }
    }

    /// A bug, from anything that can be shown in a log.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Validation(_) => Code::ValidationError,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::MfaRequired(_) => Code::MfaRequired,
            Self::Forbidden(_) => Code::Forbidden,
            Self::NotFound { .. } => Code::NotFound,
            Self::Conflict { .. } => Code::Conflict,
            Self::InsufficientStock(_) => Code::InsufficientStock,
            Self::InvalidStatusTransition { .. } => Code::InvalidStatusTransition,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::PaymentProvider(_) => Code::PaymentProviderError,
            Self::Unavailable(_) => Code::ServiceUnavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// Logs the cause of errors that are ours, once, where they are handled; callers see only the message.
    pub fn log(&self) {
        match self {
            Self::Internal(cause) => tracing::error!(error = format!("{cause:#}"), "internal error"),
            Self::PaymentProvider(cause) => {
                tracing::warn!(error = format!("{cause:#}"), "payment provider failed");
            }
            Self::Unavailable(cause) => {
                tracing::warn!(error = format!("{cause:#}"), "dependency unavailable");
            }
            _ => {}
        }
    }

    /// The error as the list of problems that a client sees: one for each wrong field or short line.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let code = self.code();
        let problem = |field: Option<Vec<String>>, message: String, details: Option<Value>| Problem {
            code,
            message,
            field,
            details,
        };
        match self {
            Self::Validation(fields) => {
                fields.iter().map(|f| problem(Some(f.path.clone()), f.message.clone(), None)).collect()
            }
            Self::InsufficientStock(lines) => lines
                .iter()
                .map(|s| {
                    let path = vec!["items".into(), s.line.to_string(), "quantity".into()];
                    let message = format!("only {} left, {} requested", s.available, s.requested);
                    problem(Some(path), message, Some(shortage_details(s)))
                })
                .collect(),
            Self::InvalidStatusTransition { from, to, allowed, field } => {
                let allowed: Vec<_> = allowed.iter().map(|s| s.as_str()).collect();
                let details = json!({"from": from.as_str(), "to": to.as_str(), "allowed": allowed});
                vec![problem(Some(vec![(*field).into()]), self.to_string(), Some(details))]
            }
            Self::Conflict { field, .. } => {
                let details = json!({ "field": field });
                vec![problem(Some(vec![(*field).into()]), self.to_string(), Some(details))]
            }
            Self::RateLimited { retry_after, .. } => {
                let details = || json!({"retryAfter": whole_seconds(*retry_after)});
                vec![problem(None, self.to_string(), (!retry_after.is_zero()).then(details))]
            }
            Self::NotFound { field, .. } => {
                vec![problem(field.map(|f| vec![f.into()]), self.to_string(), None)]
            }
            _ => vec![problem(None, self.to_string(), None)],
        }
    }
}

/// One entry of GraphQL's `userErrors`, from which REST builds its `error` as well.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Path to the input field, where one is to blame.
    pub field: Option<Vec<String>>,
    /// What a program needs to react, by code.
    pub details: Option<Value>,
}

/// What a program needs to react to an error that consists of these problems: every wrong field, the first short line
/// beside all of them, or else what the first problem says.
#[must_use]
pub fn details(problems: &[Problem]) -> Option<Value> {
    let first = problems.first()?;
    match first.code {
        Code::ValidationError => {
            let wrong = |p: &Problem| Some(json!({"field": p.field.as_ref()?.join("."), "message": p.message}));
            let fields: Vec<_> = problems.iter().filter_map(wrong).collect();
            (!fields.is_empty()).then(|| json!({ "fields": fields }))
        }
        Code::InsufficientStock => {
            let lines: Vec<_> = problems.iter().filter_map(|problem| problem.details.clone()).collect();
            let mut details = lines.first()?.clone();
            details.as_object_mut()?.insert("lines".into(), lines.into());
            Some(details)
        }
        _ => first.details.clone(),
    }
}

fn shortage_details(shortage: &Shortage) -> Value {
    json!({
        "productId": shortage.product_id,
        "requested": shortage.requested,
        "available": shortage.available,
    })
}

/// A time as the header `Retry-After` has it (RFC 9110, section 10.2.3): in seconds, and never too early.
#[must_use]
pub const fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + if time.subsec_nanos() > 0 { 1 } else { 0 }
}

fn rate_limit_message(cost: u32, limit: u32, retry_after: Duration) -> String {
    if cost > limit {
        return format!("this costs {cost}, more than the {limit} that may be used at once; ask for less");
    }
    match whole_seconds(retry_after) {
        1 => "too many requests; try again in a second".to_owned(),
        seconds => format!("too many requests; try again in {seconds} seconds"),
    }
}

fn validation_message(fields: &[FieldError]) -> String {
    match fields {
        [one] => format!("{}: {}", one.path.join("."), one.message),
        many => format!("{} fields are invalid", many.len()),
    }
}
