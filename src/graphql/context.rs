//! What one request's resolvers share.

use std::sync::Arc;

use async_graphql::Context;
use async_graphql::dataloader::DataLoader;

use crate::db::ReadSession;
use crate::domain::actor::Caller;
use crate::graphql::batching::{Batches, NoDelay};
use crate::services::Services;

/// One request: who asks, and how to answer. Never part of the schema's data, which all tenants share.
pub struct RequestContext {
    /// The use cases' tools.
    pub services: Arc<Services>,
    /// Who asks.
    pub caller: Caller,
    /// What all reads of this request go through.
    pub session: ReadSession,
    /// By-id reads, batched. The type of the key picks the query.
    pub loader: DataLoader<ReadSession>,
}

impl RequestContext {
    /// The context of a request whose loaders' batches run there.
    pub fn new(services: Arc<Services>, caller: Caller, batches: &Batches) -> Self {
        let tenant = caller.tenant.as_ref().map(|tenant| tenant.id);
        let session = ReadSession::new(services.db.clone(), tenant);
        let loader = DataLoader::new(session.clone(), batches.clone(), NoDelay);
        Self { services, caller, session, loader }
    }
}

/// Short access to the request from a resolver.
pub trait RequestExt<'a> {
    /// The request that is being answered.
    fn request(&self) -> &'a RequestContext;
}

impl<'a> RequestExt<'a> for Context<'a> {
    fn request(&self) -> &'a RequestContext {
        self.data_unchecked()
    }
}
