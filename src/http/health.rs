//! What orchestrators and monitoring ask: is it alive, is it ready, how is it doing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::join;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::http::HttpState;
use crate::telemetry::metrics;

/// How long a dependency may take to give a sign of life.
const PATIENCE: Duration = Duration::from_secs(1);

/// `/health`, `/ready` and `/metrics`, at the root and again under `/api/v1`.
pub fn routes() -> Router<Arc<HttpState>> {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).route("/metrics", get(numbers))
}

/// The process runs. Nothing else is asked: restarting it would not bring a database back.
async fn health() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// What `/ready` says, of the whole and of each dependency.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    db: &'static str,
    redis: &'static str,
}

/// Requests can be served.
async fn ready(State(http): State<Arc<HttpState>>) -> Response {
    let db = is_there("the database", http.engine.services.db.ping());
    let redis = is_there("Redis", http.redis.ping());
    let (db, redis) = join(db, redis).await;
    let (code, status) =
        if db && redis { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "error") };
    let word = |fine| if fine { "ok" } else { "error" };
    let readiness = Readiness { status, db: word(db), redis: word(redis) };
    (code, Json(readiness)).into_response()
}

/// Whether a dependency answers in time; if not, why goes to the log.
async fn is_there(name: &str, ping: impl Future<Output = Result<()>>) -> bool {
    let answer = timeout(PATIENCE, ping).await.unwrap_or_else(|_| {
        let late = anyhow::anyhow!("no answer from {name} within {PATIENCE:?}");
        Err(Error::Unavailable(late))
    });
    answer.inspect_err(Error::log).is_ok()
}

/// The metrics in the text format of Prometheus.
async fn numbers(State(http): State<Arc<HttpState>>) -> Response {
    let services = &http.engine.services;
    services.metrics.pool(services.db.state());
    match services.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            error.log();
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
