//! What tells people and programs how to use the service: the front door, the REST documentation, the public keys.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::encoding::Fixed;
use crate::http::{HttpState, graphiql};
use crate::rest;

/// What the documentation page may do: load from its own origin and nothing else. It makes its styles inline.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`, `/.well-known/jwks.json`, and the REST documentation at `/docs` and `/openapi.json`.
pub fn routes() -> Router<Arc<HttpState>> {
    Router::new().route("/", get(front_door)).route("/.well-known/jwks.json", get(jwks)).merge(docs())
}

fn docs() -> Router<Arc<HttpState>> {
    // By default, the page sends the document's address to a validator on the internet.
    let config = Config::default().validator_url("none");
    let policy = HeaderValue::from_static(DOCS_POLICY);
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", rest::openapi()).config(config))
        .layer(SetResponseHeaderLayer::overriding(CONTENT_SECURITY_POLICY, policy))
        .layer(map_response(async |mut response: Response| {
            // All of it is made once.
            response.extensions_mut().insert(Fixed);
            response
        }))
}

/// Shows browsers the page to start at, and programs where things are.
async fn front_door(State(http): State<Arc<HttpState>>, headers: HeaderMap) -> Response {
    if graphiql::wants_html(&headers) {
        return Redirect::to(if http.settings.graphiql.is_some() { "/graphql" } else { "/docs/" }).into_response();
    }
    Json(json!({"graphql": "/graphql", "rest": "/api/v1", "openapi": "/openapi.json", "docs": "/docs/"}))
        .into_response()
}

/// The keys that tokens are signed with (RFC 7517). Clients may keep them for five minutes.
async fn jwks(State(http): State<Arc<HttpState>>) -> Response {
    let keys = Json(http.engine.services.tokens.jwks());
    ([(CACHE_CONTROL, "public, max-age=300")], keys).into_response()
}
