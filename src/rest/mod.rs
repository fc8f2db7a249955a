//! `/api/v1`: the routes of legacy integrators, as thin adapters over the GraphQL schema.
//!
//! REST decides nothing. A route reads its request strictly ([`extract`]), runs a stored GraphQL operation ([`run`]) and
//! puts the result into the envelope ([`envelope`]). Who may do what, what is valid and what happens is the schema's to
//! say, so that both transports always agree. Handlers carry their documentation, from which [`openapi`] is made.

mod auth;
mod envelope;
mod extract;
mod inventory;
mod mfa;
mod openapi;
mod orders;
mod payments;
mod products;
mod run;
mod tenants;
mod values;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;

pub use openapi::{openapi, openapi_json};

use crate::error::Code;
use crate::graphql::Engine;
use crate::rest::envelope::Failure;
use crate::services::auth::Identified;

/// Routes together with their documentation.
type Routes = OpenApiRouter<Arc<Engine>>;

/// All routes, relative to `/api/v1`. Requests must carry an [`Identified`].
pub fn router<S>(engine: &Arc<Engine>) -> Router<S> {
    let (operations, _) = operations().split_for_parts();
    let (webhooks, _) = payments::webhooks().split_for_parts();
    let charged = from_fn_with_state(Arc::clone(engine), charge_malformed);
    let router = operations.layer(charged).merge(webhooks).fallback(no_such_route);
    router.method_not_allowed_fallback(no_such_method).with_state(Arc::clone(engine))
}

/// Charges requests that are refused before an operation is run. Stripe pays nothing.
async fn charge_malformed(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let identified = request.extensions().get().cloned();
    let response = next.run(request).await;
    let malformed = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE];
    let (true, Some(Identified(Ok(caller)))) = (malformed.contains(&response.status()), identified) else {
        return response;
    };
    // What was run has been charged already, whatever came of it.
    if caller.meter.get().is_some() {
        return response;
    }
    match engine.services.limits.charge_malformed(&caller).await {
        Ok(()) => response,
        Err(error) => Failure::from(error).into_response(),
    }
}

fn routes() -> Routes {
    OpenApiRouter::with_openapi(openapi::frame()).merge(operations()).merge(payments::webhooks())
}

/// The routes that run an operation each.
fn operations() -> Routes {
    OpenApiRouter::new()
        .merge(tenants::routes())
        .merge(auth::routes())
        .merge(mfa::routes())
        .merge(products::routes())
        .merge(inventory::routes())
        .merge(orders::routes())
        .merge(payments::routes())
}

async fn no_such_route() -> Failure {
    Failure::new(Code::NotFound, "no such route")
}

/// Answers with the header `Allow`, which the router adds.
async fn no_such_method() -> Failure {
    Failure::new(Code::MethodNotAllowed, "this route has no such method; the header Allow lists those that it has")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The engine validates an operation before it runs it, and here runs nothing but introspection.
    #[tokio::test]
    async fn every_stored_operation_is_valid_and_used() {
        let operations = [
            tenants::operations(),
            auth::operations(),
            mfa::operations(),
            products::operations(),
            inventory::operations(),
            orders::operations(),
            payments::operations(),
        ];
        let operations = operations.concat();
        let schema = crate::graphql::schema();
        for operation in &operations {
            let request = operation.with(serde_json::json!({})).unwrap().into_request();
            let response = schema.execute(request.only_introspection()).await;
            let errors = response.errors.iter().map(|error| &error.message);
            assert_eq!(errors.collect::<Vec<_>>(), Vec::<&String>::new());
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest/operations");
        let files = fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
        assert_eq!(operations.len(), files.count(), "an operation that no route runs, or a file that is missing");
    }

    /// `routes(routes!(..))` documents a handler where it mounts it; other ways to mount one do not.
    #[test]
    fn routes_are_mounted_with_their_documentation() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let source = fs::read_to_string(&path).unwrap();
                for undocumented in [".route(", ".route_service(", ".nest_service("] {
                    let test_itself = format!("\"{undocumented}\"");
                    assert!(
                        !source.replace(&test_itself, "").contains(undocumented),
                        "{}: {undocumented}",
                        path.display()
                    );
                }
            }
        }
    }
}
