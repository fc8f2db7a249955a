//! Reading bodies to their end, so that who sends too much is told so.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;

use crate::http::HttpState;

/// How much more than the limit is read and thrown away, in bytes. Beyond it the connection is cut.
const THROWN_AWAY: usize = 16 << 20;

/// Reads the body before anybody answers: a client that is still sending when the answer comes sees a broken connection
/// instead of it. Of a body over the limit one byte too many is handed on, for the handler to refuse in its own shape.
pub async fn read_whole(State(http): State<Arc<HttpState>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let limit = http.settings.max_body_bytes;
    let (parts, body) = request.into_parts();
    let body = match collect(body, limit).await {
        Ok(whole) => Body::from(whole),
        // What broke off breaks off for the handler too.
        Err(error) => Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(error)])),
    };
    next.run(Request::from_parts(parts, body)).await
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
