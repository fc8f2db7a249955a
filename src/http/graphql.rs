//! GraphQL over HTTP, by the draft specification (<https://graphql.github.io/graphql-over-http/draft/>).
//!
//! Where the draft leaves a choice: whatever is wrong with a request is status 400, as everywhere in this API, and an
//! operation that was executed is 200 even when fields failed. To clients that only know `application/json`, every
//! well-formed request is 200 unless the failure is ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{ServerError, Value};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::Serialize;

use crate::domain::actor::{Caller, RequestId};
use crate::error::Code;
use crate::graphql::{self, Answer, Operation};
use crate::http::accept::Format;
use crate::http::errors::{Refusal, Unfit};
use crate::http::params::{Params, check_content_type};
use crate::http::{HttpState, document, errors, graphiql};
use crate::services::auth::Identified;
use crate::telemetry::metrics;

/// `/graphql`, by GET and POST.
pub fn routes() -> Router<Arc<HttpState>> {
    Router::new().route("/graphql", get(by_get).post(by_post).fallback(method_not_allowed))
}

/// Which operations a request may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Only those that change nothing.
    Get,
    /// All.
    Post,
}

async fn by_get(
    State(http): State<Arc<HttpState>>,
    Extension(request_id): Extension<RequestId>,
    Extension(identified): Extension<Identified>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(page) = http.settings.graphiql.as_ref().filter(|_| graphiql::wants_html(&headers)) {
        return graphiql::response(page.clone());
    }
    let format = Format::accepted(&headers);
    let params = async { Params::from_query(&uri) };
    let mut response = answer(&http, &request_id, identified, format, params, Method::Get).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

async fn by_post(
    State(http): State<Arc<HttpState>>,
    Extension(request_id): Extension<RequestId>,
    Extension(identified): Extension<Identified>,
    request: Request,
) -> Response {
    let format = Format::accepted(request.headers());
    answer(&http, &request_id, identified, format, read(request), Method::Post).await
}

async fn method_not_allowed(Extension(request_id): Extension<RequestId>, headers: HeaderMap) -> Response {
    let refusal = Refusal::new(Code::MethodNotAllowed, "use POST, or GET for queries");
    respond(Format::accepted(&headers).unwrap_or(Format::Json), Err(refusal), &request_id)
}

/// Answers a request for which somebody may be known and whose parameters are still to be read.
async fn answer(
    http: &HttpState,
    request_id: &RequestId,
    Identified(identified): Identified,
    format: Option<Format>,
    params: impl Future<Output = Result<Params, Refusal>>,
    method: Method,
) -> Response {
    let Some(format) = format else {
        return respond(Format::Json, Err(not_acceptable()), request_id);
    };
    let outcome = match identified {
        Ok(caller) => {
            let answered = match params.await {
                Ok(params) => run(http, &caller, params, method).await,
                Err(refusal) => Err(refusal.into()),
            };
            match answered {
                Ok(answer) => Ok(answer),
                Err(unfit) => refused(http, &caller, unfit).await,
            }
        }
        Err(error) => Ok(graphql::error_response(error, request_id).into()),
    };
    respond(format, outcome, request_id)
}

/// Charges a request that is refused before it is run, and says what is wrong with it.
async fn refused(http: &HttpState, caller: &Caller, unfit: Unfit) -> Result<Answer, Refusal> {
    if let Err(error) = http.engine.services.limits.charge_malformed(caller).await {
        return Ok(graphql::error_response(Arc::new(error), &caller.request_id).into());
    }
    match unfit {
        Unfit::Request(refusal) => Err(refusal),
        Unfit::Document(error) => Ok(errors::refuse(error, Code::ValidationError.as_str(), &caller.request_id)),
    }
}

fn not_acceptable() -> Refusal {
    let message = "accept application/graphql-response+json or application/json";
    Refusal { status: StatusCode::NOT_ACCEPTABLE, ..Refusal::new(Code::UnsupportedMediaType, message) }
}

/// Reads the parameters of a POST.
async fn read(request: Request) -> Result<Params, Refusal> {
    check_content_type(request.headers())?;
    let body = Bytes::from_request(request, &()).await.map_err(|rejection: BytesRejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Refusal::new(Code::PayloadTooLarge, "the body is larger than this server reads");
        }
        Refusal::malformed("the body ended early")
    })?;
    Params::from_body(&body)
}

/// Runs the operation of a well-formed request.
async fn run(http: &HttpState, caller: &Caller, params: Params, method: Method) -> Result<Answer, Unfit> {
    let (document, to_share) = http.documents.resolve(params.query.as_deref(), &params.extensions).await?;
    document::check_variables(&params.variables).map_err(|wrong| Refusal::malformed(format!("variables: {wrong}")))?;
    let to_share = to_share.zip(params.query);
    let operation = Operation { document, name: params.operation_name, variables: params.variables };
    let kind = operation.kind();
    if method == Method::Get && kind == Some(OperationType::Mutation) {
        return Err(Refusal::new(Code::MethodNotAllowed, "GET changes nothing: send mutations by POST").into());
    }
    let missing = |definition| document::missing_variable(definition, &operation.variables);
    if let Some(missing) = operation.definition().and_then(missing) {
        return Err(Unfit::Document(missing));
    }
    let answer = http.engine.execute(caller.clone(), operation).await;
    let is_paid = caller.meter.get().is_none_or(|charge| charge.verdict.is_allowed);
    if let Some((hash, text)) = to_share.filter(|_| is_paid) {
        http.documents.share(hash, &text).await;
    }
    if let Some(kind) = kind.and_then(counted) {
        http.engine.services.metrics.graphql_operation(kind, answer.errors.is_empty());
    }
    Ok(answer)
}

/// The kind of operation that is counted; there are no subscriptions yet.
const fn counted(kind: OperationType) -> Option<metrics::Operation> {
    match kind {
        OperationType::Query => Some(metrics::Operation::Query),
        OperationType::Mutation => Some(metrics::Operation::Mutation),
        OperationType::Subscription => None,
    }
}

/// Whether execution began. What is refused before has errors, none of which belongs to a field.
fn was_executed(answer: &Answer) -> bool {
    !answer.data.is_null() || answer.errors.iter().any(|error| !error.path.is_empty())
}

/// The status of a response to a well-formed request.
fn status(format: Format, answer: &Answer) -> StatusCode {
    let Some(error) = answer.errors.first().filter(|_| !was_executed(answer)) else {
        return StatusCode::OK;
    };
    let status = errors::status(graphql::code(error));
    match format {
        // Whoever is in between must see that it was too much, too.
        Format::Json if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => StatusCode::OK,
        _ => status,
    }
}

/// Writes an answer in the format that the client accepts.
pub fn respond(format: Format, outcome: Result<Answer, Refusal>, request_id: &RequestId) -> Response {
    /// A response of an operation that was not executed has no data, not even null.
    #[derive(Serialize)]
    struct Errors<'a> {
        errors: &'a [ServerError],
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        extensions: &'a BTreeMap<String, Value>,
    }

    let (status, answer) = match outcome {
        Ok(answer) => (status(format, &answer), answer),
        Err(refusal) => (refusal.status, refusal.answer(request_id)),
    };
    let body = if was_executed(&answer) {
        serde_json::to_vec(&answer)
    } else {
        serde_json::to_vec(&Errors { errors: &answer.errors, extensions: &answer.extensions })
    };
    let Ok(body) = body else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, [(CONTENT_TYPE, format.content_type())], body).into_response();
    if status == StatusCode::UNAUTHORIZED {
        // Demanded by RFC 9110, section 15.5.2.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
