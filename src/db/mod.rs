//! The only place where SQL exists: sessions, and one repository file a noun with its rows, queries and loaders.
//!
//! The raw connection never leaves this module. A tenant's rows are reached through a [`TenantTx`], which only
//! [`Db::tenant`] and [`Db::tenant_read`] make; what must see across tenants is a [`SystemTx`] with its reason.

pub mod audit;
mod errors;
pub mod idempotency;
pub mod inventory;
mod keyset;
pub mod mfa;
pub mod migrations;
pub mod orders;
pub mod payment_tasks;
pub mod payments;
mod pool;
pub mod products;
pub mod refunds;
#[rustfmt::skip]
mod schema;
pub mod seed;
pub mod service_accounts;
mod session;
mod sql;
mod sql_types;
pub mod tenants;
mod tx;
pub mod users;
mod walled;

pub use pool::{Db, PoolState};
pub use session::{ReadSession, SystemReason, SystemTx, TenantTx};
