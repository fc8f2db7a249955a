//! Use cases. Each write is one function, one transaction, one commit; nothing outside PostgreSQL is awaited inside it.

pub mod auth;
pub mod inventory;
pub mod orders;
pub mod passwords;
pub mod products;
pub mod tenants;
pub mod tokens;
pub mod users;

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
