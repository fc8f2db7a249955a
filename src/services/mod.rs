//! Use cases. Each write is one function, one transaction, one commit; nothing outside PostgreSQL is awaited inside it.

pub mod access;
pub mod auth;
pub mod catalog;
pub mod idempotency;
pub mod inventory;
pub mod limits;
pub mod mfa;
pub mod orders;
pub mod passwords;
pub mod payments;
pub mod products;
mod qr;
pub mod refunds;
pub mod service_accounts;
pub mod sessions;
pub mod settlement;
pub mod tenants;
mod throttle;
pub mod tokens;
pub mod users;
pub mod vault;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::clients::redis::Redis;
use crate::clients::stripe::{Stripe, WebhookSecrets};
use crate::db::{Db, TenantTx};
use crate::domain::orders::OrderStatus;
use crate::domain::sources::SharedSources;
use crate::services::access::Access;
use crate::services::catalog::Catalog;
use crate::services::idempotency::Answers;
use crate::services::limits::Limits;
use crate::services::passwords::Passwords;
use crate::services::payments::PaymentSettings;
use crate::services::service_accounts::ServiceAccounts;
use crate::services::tenants::TenantDirectory;
use crate::services::tokens::Tokens;
use crate::services::vault::Vault;
use crate::telemetry::metrics::{Metrics, Outcome, Proof};

/// What of accounts can be set.
#[derive(Clone, Copy, Debug)]
pub struct AccountSettings {
    /// How long one can stay logged in without giving the password again.
    pub session_ttl: Duration,
    /// Whether admins must have a second factor.
    pub mfa_required_for_admins: bool,
}

/// What use cases work with, built once. Clones share it all.
#[derive(Clone)]
pub struct Services {
    /// The database.
    pub db: Db,
    /// Time, ids and randomness.
    pub sources: SharedSources,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// Issuing and checking access tokens.
    pub tokens: Arc<Tokens>,
    /// Knowing whose access has ended.
    pub access: Access,
    /// Knowing whose keys are good.
    pub service_accounts: ServiceAccounts,
    /// Keeping what shops show of their catalogs.
    pub catalog: Catalog,
    /// What of accounts can be set.
    pub accounts: AccountSettings,
    /// Knowing what of everybody's quota is left.
    pub limits: Limits,
    /// Sealing secrets that are stored.
    pub vault: Vault,
    /// Sessions, and what replicas share.
    pub redis: Redis,
    /// Telling requests with an `Idempotency-Key` apart, and keeping their answers.
    pub answers: Answers,
    /// Finding shops by what requests call them.
    pub directory: TenantDirectory,
    /// The payment provider.
    pub stripe: Stripe,
    /// What signs the payment provider's webhooks.
    pub webhook_secrets: WebhookSecrets,
    /// What of payments can be set.
    pub payments: PaymentSettings,
    /// Wakes the background jobs: there is something to do.
    pub work: Arc<Notify>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Services {
    /// Counts an attempt of somebody to show who it is, and logs it unless it was accepted: whoever guesses is seen.
    pub fn attempted(&self, proof: Proof, outcome: Outcome, tenant: Option<Uuid>, user: Option<Uuid>) {
        self.metrics.authentication_attempt(proof, outcome);
        if outcome != Outcome::Accepted {
            let id = |id: Option<Uuid>| id.map(tracing::field::display);
            let (tenant_id, user_id) = (id(tenant), id(user));
            tracing::info!(tenant_id, user_id, proof = proof.as_str(), outcome = outcome.as_str(), "not authenticated");
        }
    }
}

/// What is to come after a commit: see [`TenantTx::after_commit`].
impl Services {
    /// Wakes the background jobs: there is something to do.
    pub fn wake_jobs(&self, tx: &TenantTx) {
        let work = Arc::clone(&self.work);
        tx.after_commit(async move { work.notify_one() });
    }

    /// Tells all replicas that a user's access was changed.
    pub fn access_changed(&self, tx: &TenantTx, user: Uuid) {
        let (access, tenant) = (self.access.clone(), tx.tenant_id());
        tx.after_commit(async move { access.changed(tenant, user).await });
    }

    /// Lets go, on all replicas, of what was kept of a shop's catalog.
    pub fn catalog_changed(&self, tx: &TenantTx) {
        let (catalog, tenant) = (self.catalog.clone(), tx.tenant_id());
        tx.after_commit(async move { catalog.changed(tenant).await });
    }

    /// Counts an order that has come into this state.
    pub fn order_became(&self, tx: &TenantTx, status: OrderStatus) {
        let (metrics, tenant) = (self.metrics.clone(), tx.tenant_id());
        tx.after_commit(async move { metrics.order_became(tenant, status) });
    }
}
