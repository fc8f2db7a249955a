//! Use cases. Each write is one function, one transaction, one commit; nothing outside PostgreSQL is awaited inside it.

pub mod auth;
pub mod inventory;
pub mod orders;
pub mod passwords;
pub mod products;
pub mod tenants;
pub mod tokens;
pub mod users;

use std::sync::Arc;

use crate::db::Db;
use crate::domain::sources::SharedSources;
use crate::services::passwords::Passwords;
use crate::services::tenants::TenantDirectory;
use crate::services::tokens::Tokens;
use crate::telemetry::metrics::Metrics;

/// What use cases work with, built once.
pub struct Services {
    /// The database.
    pub db: Db,
    /// Time, ids and randomness.
    pub sources: SharedSources,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// Issuing and checking access tokens.
    pub tokens: Tokens,
    /// Finding shops by what requests call them.
    pub directory: TenantDirectory,
    /// What is counted.
    pub metrics: Metrics,
}

impl Services {
    /// The use cases on this database, signing with this key (PEM), hashing that many passwords at once.
    pub fn new(db: Db, jwt_private_key: &[u8], hashes_at_once: usize, sources: SharedSources) -> anyhow::Result<Self> {
        Ok(Self {
            directory: TenantDirectory::new(db.clone()),
            passwords: Passwords::new(hashes_at_once)?,
            tokens: Tokens::new(jwt_private_key, Arc::clone(&sources))?,
            metrics: Metrics::new()?,
            sources,
            db,
        })
    }
}
