//! What one request's resolvers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::Context;
use async_graphql::dataloader::DataLoader;

use crate::db::ReadSession;
use crate::domain::actor::Caller;
use crate::error::{Error, Result};
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
    /// Whether it is a mutation.
    is_mutation: bool,
    /// How many bytes of long texts have been read and answered.
    texts: AtomicUsize,
}

/// How many bytes of long texts a request may read and answer: a hundred of the longest descriptions and their pictures fit.
const MAX_TEXTS: usize = 16 << 20;

impl RequestContext {
    /// The context of a request whose loaders' batches run there.
    pub fn new(services: Arc<Services>, caller: Caller, batches: &Batches, is_mutation: bool) -> Self {
        let tenant = caller.tenant.as_ref().map(|tenant| tenant.id);
        let session = ReadSession::new(services.db.clone(), tenant);
        let loader = DataLoader::new(session.clone(), batches.clone(), NoDelay);
        Self { services, caller, session, loader, is_mutation, texts: AtomicUsize::new(0) }
    }

    /// Counts texts that were read, or that go into the answer. Their cost does not tell how long they are, and aliases repeat
    /// them.
    pub fn count_text(&self, bytes: usize) -> Result<()> {
        if self.texts.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MAX_TEXTS {
            return Ok(());
        }
        Err(Error::field("query", "asks for more than 16 MiB of long texts; ask for fewer rows at a time"))
    }

    /// What comes before a field of `Query` or `Mutation`. Mutations run one after the other: none holds the connection that
    /// the one before has read its answer with while it waits for one of its own.
    pub async fn begin_field(&self) -> Result<()> {
        if self.is_mutation { self.session.close().await } else { Ok(()) }
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
