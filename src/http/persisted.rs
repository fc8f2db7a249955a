//! Documents that were seen before: parsed once, and found again by their hash.
//!
//! Clients send the same few documents over and over. Their parsed form is kept in memory, so that a hot one costs a
//! hash and a clone; and a client may send the hash alone, by the protocol of Apollo's automatic persisted queries.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::Extensions;
use async_graphql::parser::parse_query;
use axum::http::StatusCode;
use hex::FromHex;
use moka::sync::Cache;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::clients::redis::Redis;
use crate::clients::redis::documents::KEPT;
use crate::error::Code;
use crate::graphql::{Document, Hash};
use crate::http::document::{asks_for_the_schema, check_nesting, check_size};
use crate::http::errors::{Refusal, Unfit};

/// The longest document that is parsed, in bytes. `GraphiQL`'s introspection takes two thousand.
const MAX_TEXT: usize = 64 * 1024;

/// How much text the parsed documents in memory may come from, in bytes. Parsed, it takes about twenty times as much.
const CAPACITY: u64 = 1024 * 1024;

/// What the shortest document counts for, in bytes: there are never more than about two thousand.
const MIN_WEIGHT: u32 = 512;

/// How long a registered document is kept for all replicas after somebody has registered it.
const SHARED_FOR: Duration = Duration::from_hours(24);

/// The longest document that replicas share, in bytes. Longer ones are known to the replica that got them.
const MAX_SHARED: usize = 8 * 1024;

/// The documents that this replica has parsed, and those that clients have registered with any replica.
pub struct Documents {
    parsed: Cache<Hash, Parsed>,
    /// Texts of registered documents by hash. Without it, every replica knows only its own.
    shared: Redis,
    /// Whether documents may ask for the schema.
    introspection: bool,
}

#[derive(Clone)]
struct Parsed {
    document: Arc<Document>,
    weight: u32,
}

/// `extensions.persistedQuery` of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with version and sha256Hash")]
struct PersistedQuery {
    version: i64,
    sha256_hash: String,
}

impl Documents {
    /// No documents yet, and there the ones that replicas share.
    #[must_use]
    pub fn new(shared: Redis, introspection: bool) -> Self {
        let parsed = Cache::builder().max_capacity(CAPACITY).weigher(|_, parsed: &Parsed| parsed.weight).build();
        Self { parsed, shared, introspection }
    }

    /// The document of a request that has its text, its hash in the extensions, or both. Then it is to be registered, and the
    /// hash comes along.
    pub async fn resolve(
        &self,
        text: Option<&str>,
        extensions: &Extensions,
    ) -> Result<(Arc<Document>, Option<Hash>), Unfit> {
        let wanted = persisted_hash(extensions)?;
        let Some(text) = text else {
            let hash = wanted.ok_or_else(|| Refusal::malformed("query: is missing; send the document's text"))?;
            return Ok((self.find(hash).await.ok_or_else(not_found)?, None));
        };
        if text.len() > MAX_TEXT {
            return Err(Refusal::malformed(format!("query: must be at most {MAX_TEXT} bytes long")).into());
        }
        let hash = Sha256::digest(text).into();
        if wanted.is_some_and(|wanted| wanted != hash) {
            let wrong = "extensions.persistedQuery.sha256Hash: is not the SHA-256 of the query";
            return Err(Refusal::malformed(wrong).into());
        }
        Ok((self.parse(hash, text)?, wanted))
    }

    /// Registers a document with all replicas. To be done once the request has been paid for.
    pub async fn share(&self, hash: Hash, text: &str) {
        if text.len() <= MAX_SHARED {
            // When Redis is gone, which it says itself, the document stays with this replica.
            let _ = self.shared.keep_document(&hex::encode(hash), text, SHARED_FOR, KEPT).await;
        }
    }

    fn parse(&self, hash: Hash, text: &str) -> Result<Arc<Document>, Unfit> {
        if let Some(parsed) = self.parsed.get(&hash) {
            return Ok(parsed.document);
        }
        let refuse = |wrong| Refusal::malformed(format!("query: {wrong}"));
        check_nesting(text).map_err(refuse)?;
        let parsed = parse_query(text).map_err(|error| Unfit::Document(error.into()))?;
        check_size(&parsed).map_err(refuse)?;
        if !self.introspection && asks_for_the_schema(&parsed) {
            let off = "introspection is switched off: __schema and __type are not answered";
            return Err(Refusal::new(Code::Forbidden, off).into());
        }
        let parsed = Parsed {
            document: Arc::new(Document { hash, parsed }),
            weight: u32::try_from(text.len()).unwrap_or(u32::MAX).max(MIN_WEIGHT),
        };
        self.parsed.insert(hash, parsed.clone());
        Ok(parsed.document)
    }

    /// The document of that hash, if this replica has seen it or any has registered it.
    async fn find(&self, hash: Hash) -> Option<Arc<Document>> {
        if let Some(parsed) = self.parsed.get(&hash) {
            return Some(parsed.document);
        }
        let found = self.shared.document(&hex::encode(hash)).await.ok().flatten()?;
        let text = String::from_utf8(found).ok()?;
        // What others may write to is not taken at its word.
        let genuine = Hash::from(Sha256::digest(&text)) == hash;
        if genuine { self.parse(hash, &text).ok() } else { None }
    }
}

/// The answer that makes clients send the text as well. It has status 200, because clients look for it in the body.
fn not_found() -> Refusal {
    Refusal { status: StatusCode::OK, code: "PERSISTED_QUERY_NOT_FOUND", message: "PersistedQueryNotFound".into() }
}

fn persisted_hash(extensions: &Extensions) -> Result<Option<Hash>, Refusal> {
    let Some(value) = extensions.get("persistedQuery") else {
        return Ok(None);
    };
    let PersistedQuery { version, sha256_hash } = async_graphql::from_value(value.clone())
        .map_err(|error| Refusal::malformed(format!("extensions.persistedQuery: {error}")))?;
    if version != 1 {
        return Err(Refusal::malformed("extensions.persistedQuery.version: must be 1"));
    }
    let hash = Hash::from_hex(&sha256_hash)
        .map_err(|_| Refusal::malformed("extensions.persistedQuery.sha256Hash: must be 64 hexadecimal digits"))?;
    Ok(Some(hash))
}
