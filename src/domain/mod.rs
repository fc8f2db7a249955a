//! Pure rules and value types. Nothing here does I/O or knows a framework, so that all of it can be property-tested.

pub mod actor;
pub mod audit;
pub mod auth;
pub mod idempotency;
pub mod inventory;
pub mod limits;
pub mod mfa;
pub mod money;
mod named;
pub mod opaque_token;
pub mod orders;
pub mod page;
pub mod passwords;
pub mod payments;
pub mod products;
pub mod service_accounts;
pub mod sources;
pub mod tenants;
pub mod users;
pub mod validation;
