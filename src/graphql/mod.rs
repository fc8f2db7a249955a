//! The GraphQL schema: what clients see. Every rule about who may ask what is enforced here, once, for both transports.

mod answer;
mod arguments;
mod audit;
mod auth;
mod batching;
mod catalog;
mod context;
mod cost;
mod errors;
mod guards;
mod idempotency;
mod inventory;
mod mfa;
mod node;
mod operation;
mod orders;
mod pagination;
mod payments;
mod products;
mod scalars;
mod service_accounts;
mod tenants;
mod users;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{EmptySubscription, MergedObject, Response, SDLExportOptions, SchemaBuilder, Value};
use chrono::{DateTime, Utc};

pub use answer::{Answer, Data};
pub use arguments::Arguments;
pub use errors::{code, error_response, make_short};
pub use operation::{Document, Hash, Operation};

use crate::domain::actor::{Caller, RequestId};
use crate::error::Error;
use crate::graphql::batching::Batches;
use crate::graphql::catalog::Inquiry;
use crate::graphql::context::RequestContext;
use crate::services::Services;

/// What can be read.
#[derive(MergedObject, Default)]
pub struct Query(
    node::NodeQuery,
    auth::AuthQuery,
    tenants::TenantQuery,
    users::UserQuery,
    products::ProductQuery,
    inventory::InventoryQuery,
    orders::OrderQuery,
    payments::PaymentQuery,
    service_accounts::ServiceAccountQuery,
    audit::AuditQuery,
);

/// What can be done. Each mutation is one business action: all of it happens, or nothing.
#[derive(MergedObject, Default)]
pub struct Mutation(
    auth::AuthMutation,
    mfa::MfaMutation,
    tenants::TenantMutation,
    users::UserMutation,
    service_accounts::ServiceAccountMutation,
    products::ProductMutation,
    inventory::InventoryMutation,
    orders::OrderMutation,
    payments::PaymentMutation,
);

/// The schema.
pub type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// Queries may nest this deep. `GraphiQL`'s own introspection needs 13 levels.
const MAX_DEPTH: usize = 16;

/// How many mistakes of a document its sender is told of.
const MAX_MISTAKES: usize = 20;

/// Builds the schema. It holds no data, so that it can be printed without a database.
#[must_use]
pub fn schema() -> Schema {
    builder().finish()
}

/// The same, but of fields that it does not have it suggests none that it has.
#[must_use]
pub fn reticent_schema() -> Schema {
    builder().disable_suggestions().finish()
}

fn builder() -> SchemaBuilder<Query, Mutation, EmptySubscription> {
    Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .limit_depth(MAX_DEPTH)
        .override_output_type_description::<DateTime<Utc>>(
            "A moment in UTC, as RFC 3339 writes it: \"2026-01-31T12:00:00+00:00\".",
        )
        .override_output_type_description::<serde_json::Value>("Any JSON value.")
}

/// The schema in its definition language, as `schema.graphql` has it.
#[must_use]
pub fn sdl() -> String {
    schema().sdl_with_options(SDLExportOptions::new().sorted_fields().sorted_enum_items().compose_directive())
}

/// The answer to an operation that took too long. One that may have changed something is not to be sent again blindly.
fn too_late(request_id: &RequestId, is_retryable: bool) -> Response {
    let late = Error::Unavailable(anyhow::anyhow!("the operation took too long"));
    let mut response = error_response(Arc::new(late), request_id);
    for extensions in response.errors.iter_mut().filter_map(|error| error.extensions.as_mut()) {
        extensions.set("retryable", is_retryable);
    }
    response
}

/// The schema and what its resolvers work with: where both transports meet.
pub struct Engine {
    /// The schema.
    pub schema: Schema,
    /// What the schema's arguments must be.
    pub arguments: Arguments,
    /// What resolvers work with.
    pub services: Arc<Services>,
    /// How long an operation may take.
    pub timeout: Duration,
}

impl Engine {
    /// Answers an operation that its caller can afford, or gives it up when it takes too long: its transaction is rolled back
    /// then.
    pub async fn execute(&self, caller: Caller, operation: Operation) -> Answer {
        let (request_id, meter) = (caller.request_id.clone(), caller.meter.clone());
        let cost = cost::of(&operation);
        // With a key, whatever was changed is answered the next time.
        let may_have_changed = caller.idempotency.is_none() && operation.kind() == Some(OperationType::Mutation);
        let answer = async {
            cost::check(cost)?;
            self.services.limits.charge(&caller, cost).await?;
            Ok(match Inquiry::of(&caller, &operation) {
                Some(inquiry) => self.inquire(inquiry, caller, operation).await,
                None => self.answer(caller, operation).await.into(),
            })
        };
        let mut answer = match tokio::time::timeout(self.timeout, answer).await {
            Ok(answered) => answered.unwrap_or_else(|error| error_response(Arc::new(error), &request_id).into()),
            Err(_) => too_late(&request_id, !may_have_changed).into(),
        };
        answer.extensions.insert("cost".to_owned(), cost::told(cost, meter.get()));
        answer
    }

    /// Runs one operation for this caller, or answers what it was answered when it was sent before.
    async fn answer(&self, caller: Caller, operation: Operation) -> Response {
        let Some(key) = caller.idempotency.clone() else {
            return self.run(Arc::clone(&self.services), caller, operation).await;
        };
        let request_id = caller.request_id.clone();
        let answered = match idempotency::claim(&self.services, &caller, &operation) {
            Ok(Some(claim)) => self.once(caller, &key, operation, claim).await,
            Ok(None) => Ok(self.run(Arc::clone(&self.services), caller, operation).await),
            Err(refused) => Err(refused),
        };
        answered.unwrap_or_else(|error| error_response(Arc::new(error), &request_id))
    }

    /// Runs one operation, with a tenant session and loaders of its own.
    async fn run(&self, services: Arc<Services>, caller: Caller, operation: Operation) -> Response {
        let request_id = caller.request_id.clone();
        if let Err(wrong) = self.arguments.check(&operation) {
            return error_response(Arc::new(wrong), &request_id);
        }
        let is_mutation = operation.kind() == Some(OperationType::Mutation);
        let batches = Batches::default();
        let context = RequestContext::new(services, caller, &batches, is_mutation);
        let session = context.session.clone();
        let execution = self.schema.execute(operation.into_request().data(context));
        let mut response = batches.drive(execution).await;
        if let Err(error) = session.close().await {
            // What was read was read; only the connection is lost.
            error.log();
        }
        if response.data == Value::Null {
            // A document can have a thousand mistakes; nobody reads beyond the first few.
            response.errors.truncate(MAX_MISTAKES);
        }
        errors::complete(&mut response.errors, &request_id, is_mutation);
        response
    }
}
