//! Bodies: read to their end, so that who sends too much is told so, unpacked for those who are known to be welcome, and
//! packed on the way out.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::domain::actor::RequestId;
use crate::error::Code;
use crate::http::encoding::Coding;
use crate::http::{HttpState, errors};
use crate::services::auth::Identified;

/// How much more than the limit is read and thrown away, in bytes. Beyond it the connection is cut.
const THROWN_AWAY: usize = 16 << 20;

/// Takes the body as it came: Stripe signs those very bytes.
const AS_IT_CAME: &str = "/api/v1/webhooks/stripe";

/// Reads the request's body, has it answered, and compresses the answer.
pub async fn exchange(
    State(http): State<Arc<HttpState>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let accepted = Coding::accepted(request.headers());
    let path = request.uri().path().to_owned();
    let answer = if request.body().is_end_stream() {
        next.run(request).await
    } else {
        let (parts, body) = request.into_parts();
        match read_whole(&http, body).await {
            Ok(body) => next.run(Request::from_parts(parts, body)).await,
            Err((code, message)) => errors::refused(code, message, route(&parts), &parts.headers, &request_id),
        }
    };
    http.encoder.encode(accepted, &path, answer).await
}

/// Unpacks the request's body, once it is known whose it is. Refusing is charged, as for whatever else is malformed.
pub async fn unpack(
    State(http): State<Arc<HttpState>>,
    Extension(request_id): Extension<RequestId>,
    Extension(Identified(identified)): Extension<Identified>,
    request: Request,
    next: Next,
) -> Response {
    // Who is refused anyway is not worth the work.
    let (true, Ok(caller)) = (request.headers().contains_key(CONTENT_ENCODING), identified) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    let (code, message) = match unpacked(&http, &mut parts, body).await {
        Ok(body) => return next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused,
    };
    match http.engine.services.limits.charge_malformed(&caller).await {
        Ok(()) => errors::refused(code, message, route(&parts), &parts.headers, &request_id),
        Err(error) => errors::limited(error, route(&parts), &parts.headers, &request_id),
    }
}

fn route(parts: &Parts) -> &str {
    parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// Reads the body before anybody answers: a client that is still sending when the answer comes sees a broken connection
/// instead of it. Of a body over the limit one byte too many is handed on, for the handler to refuse in its own shape.
async fn read_whole(http: &HttpState, body: Body) -> Result<Body, (Code, &'static str)> {
    let limit = http.settings.max_body_bytes;
    // There is no code of its own for who is too slow. The connection ends with the answer, because more could come.
    let late = |_| (Code::ValidationError, "the body did not arrive in time");
    match timeout(http.settings.body_timeout, collect(body, limit)).await.map_err(late)? {
        Ok(whole) => Ok(whole.into()),
        // What broke off breaks off for the handler too.
        Err(error) => Ok(Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(error)]))),
    }
}

/// The body without its content coding, for the headers to say so.
async fn unpacked(http: &HttpState, parts: &mut Parts, body: Body) -> Result<Body, (Code, &'static str)> {
    let limit = http.settings.max_body_bytes;
    // It is in memory, unless it broke off.
    let Ok(whole) = to_bytes(body, usize::MAX).await else {
        return Err((Code::ValidationError, "the body ended early"));
    };
    if whole.len() > limit || route(parts) == AS_IT_CAME {
        return Ok(whole.into());
    }
    let unknown =
        |()| (Code::UnsupportedMediaType, "send the body as it is, or with Content-Encoding gzip, br or deflate");
    let Some(coding) = Coding::of_request(&parts.headers).map_err(unknown)? else {
        return Ok(whole.into());
    };
    let broken = |_| (Code::ValidationError, "the body is not what its Content-Encoding says, or not all of it");
    let unpacked = coding.unpack(whole, limit).await.map_err(broken)?;
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.insert(CONTENT_LENGTH, unpacked.len().into());
    Ok(unpacked.into())
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, axum::Error> {
    let mut chunks = body.into_data_stream();
    let Some(first) = chunks.next().await.transpose()? else { return Ok(Bytes::new()) };
    let (mut kept, mut read) = (Vec::new(), first.len());
    let mut last = first;
    while let Some(chunk) = chunks.next().await.transpose()? {
        if kept.len() <= limit {
            kept.extend_from_slice(&last);
        }
        read = read.saturating_add(chunk.len());
        last = chunk;
        if read > limit.saturating_add(THROWN_AWAY) {
            break;
        }
    }
    if kept.is_empty() {
        // Most bodies come in one piece, which need not be copied.
        return Ok(last.slice(..last.len().min(limit.saturating_add(1))));
    }
    if kept.len() <= limit {
        kept.extend_from_slice(&last);
    }
    kept.truncate(limit.saturating_add(1));
    Ok(kept.into())
}
