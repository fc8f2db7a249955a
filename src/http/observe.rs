//! What operators see of a request: its id, one line in the log, and its share of the metrics.
//!
//! Never the query string, a header or a body; and of the path only the route's pattern, because anything may be in
//! the path of a request that matches none.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::domain::actor::{Caller, RequestId};
use crate::http::{HttpState, errors, headers};
use crate::telemetry::logs::RequestLine;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The path of requests that match no route.
const UNMATCHED: &str = "unmatched";

/// The status of requests whose client went away before the answer was ready, as nginx has it.
const CLIENT_GONE: u16 = 499;

/// Carries what authentication finds out to the log line, even if the request comes to no answer.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<OnceLock<(Option<Uuid>, Option<Uuid>)>>);

impl Seen {
    /// Takes note of who asks.
    pub fn caller(&self, caller: &Caller) {
        let tenant = caller.tenant.as_ref().map(|tenant| tenant.id);
        // Nobody is identified twice.
        let _ = self.0.set((tenant, caller.user_id()));
    }

    fn ids(&self) -> (Option<Uuid>, Option<Uuid>) {
        self.0.get().copied().unwrap_or_default()
    }
}

/// Wraps everything else: gives the request its id and its answer what all answers have, and records how it went.
pub async fn observe(State(http): State<Arc<HttpState>>, mut request: Request, next: Next) -> Response {
    let request_id = request_id(request.headers()).unwrap_or_else(|| RequestId::new(http.engine.services.sources.id()));
    let mut record = Record::of(&request, &http, &request_id);
    request.extensions_mut().insert(request_id.clone());
    request.extensions_mut().insert(record.seen.clone());
    // Of the highest level, so that whatever is logged for a request has its id.
    let span = tracing::error_span!("request", correlation_id = request_id.as_str());
    let mut response = next.run(request).instrument(span).await;
    record.status = Some(response.status().as_u16());
    headers::secure(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Makes a panic an answer like any other, which goes through all that is outside of this.
pub async fn survive(Extension(request_id): Extension<RequestId>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|panic| {
        let cause = anyhow::anyhow!("panic: {}", panic_message(panic.as_ref()));
        errors::internal(cause, route.as_ref().map_or(UNMATCHED, MatchedPath::as_str), &request_id)
    })
}

/// The id that the client gave, when it is well-formed.
fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    RequestId::parse(headers.get(REQUEST_ID)?.to_str().ok()?)
}

/// One request, recorded when this is dropped: once, and also when the client goes away half-way.
struct Record {
    http: Arc<HttpState>,
    request_id: RequestId,
    method: Method,
    path: Option<MatchedPath>,
    started: Instant,
    seen: Seen,
    status: Option<u16>,
}

impl Record {
    fn of(request: &Request, http: &Arc<HttpState>, request_id: &RequestId) -> Self {
        Self {
            http: Arc::clone(http),
            request_id: request_id.clone(),
            method: request.method().clone(),
            path: request.extensions().get::<MatchedPath>().cloned(),
            started: Instant::now(),
            seen: Seen::default(),
            status: None,
        }
    }

    /// The pattern of the route.
    fn path(&self) -> &str {
        self.path.as_ref().map_or(UNMATCHED, MatchedPath::as_str)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let (tenant, user) = self.seen.ids();
        let status = self.status.unwrap_or(CLIENT_GONE);
        let metrics = &self.http.engine.services.metrics;
        metrics.http_request(self.method.as_str(), self.path(), status, tenant, elapsed.as_secs_f64());
        RequestLine {
            correlation_id: self.request_id.as_str(),
            tenant_id: tenant,
            user_id: user,
            method: self.method.as_str(),
            path: self.path(),
            status_code: status,
            duration_ms: elapsed.as_secs_f64() * 1000.0,
        }
        .log();
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind")
}
