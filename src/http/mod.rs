//! HTTP: both transports and everything around them, put together.
//!
//! From outside in: [`connection`] (sockets), [`observe`] (request id, log, metrics), [`cors`], panics, [`body`]
//! (compression, limits), [`request`] (who asks), then GraphQL or REST, which both end in [`Engine::execute`].

mod accept;
mod address;
mod body;
pub mod connection;
mod cors;
mod discovery;
mod document;
mod encoding;
mod errors;
pub mod graphiql;
mod graphql;
mod headers;
mod health;
mod observe;
mod params;
mod persisted;
mod request;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::{from_fn, from_fn_with_state};
use ipnet::IpNet;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::clients::redis::Redis;
use crate::config::Origins;
use crate::graphql::Engine;
use crate::http::encoding::Encoder;
use crate::http::persisted::Documents;
use crate::rest;

/// What the handlers share.
pub struct HttpState {
    engine: Arc<Engine>,
    redis: Redis,
    documents: Documents,
    encoder: Encoder,
    settings: Settings,
}

/// What of HTTP can be set.
pub struct Settings {
    /// The domain whose subdomains are shops.
    pub base_domain: Option<String>,
    /// The largest body that is read.
    pub max_body_bytes: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Whose pages may use the API from a browser.
    pub origins: Option<Origins>,
    /// Whether clients may ask for the schema.
    pub introspection: bool,
    /// The page that `GET /graphql` shows to browsers.
    pub graphiql: Option<Bytes>,
}

impl HttpState {
    /// The state of a server that runs operations on `engine`.
    #[must_use]
    pub fn new(engine: Arc<Engine>, settings: Settings) -> Self {
        let redis = engine.services.redis.clone();
        let documents = Documents::new(redis.clone(), settings.introspection);
        Self { engine, redis, documents, encoder: Encoder::default(), settings }
    }
}

/// Every route of the server.
pub fn router(http: &Arc<HttpState>) -> Router {
    let identify = from_fn_with_state(Arc::clone(http), request::identify);
    // Answers depend on who asks, which caches between us and the client do not know.
    let private = SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let unpack = from_fn_with_state(Arc::clone(http), body::unpack);
    let rest = rest::router(&http.engine).layer(unpack.clone()).layer(identify.clone()).merge(health::routes());
    let routes = Router::new()
        .merge(graphql::routes().layer(unpack).layer(identify))
        .nest("/api/v1", rest)
        .layer(private)
        .merge(health::routes())
        .merge(discovery::routes())
        .merge(graphiql::routes())
        .fallback(errors::not_found)
        .method_not_allowed_fallback(errors::method_not_allowed)
        .layer(DefaultBodyLimit::max(http.settings.max_body_bytes))
        .layer(from_fn_with_state(Arc::clone(http), body::exchange))
        .layer(from_fn(observe::survive));
    let routes = match &http.settings.origins {
        // Before anybody is asked who they are: preflight requests do not say.
        Some(origins) => routes.layer(cors::layer(origins)),
        None => routes,
    };
    routes.layer(from_fn_with_state(Arc::clone(http), observe::observe)).with_state(Arc::clone(http))
}

#[cfg(test)]
mod tests;
