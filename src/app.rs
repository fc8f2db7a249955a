//! The application, put together once: what `serve`, `dev` and the tests start.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Bytes;
use futures_util::future::join;
use ipnet::IpNet;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use crate::clients::redis::Redis;
use crate::clients::stripe::{Stripe, StripeSettings, WebhookSecrets};
use crate::config::Config;
use crate::db::Db;
use crate::domain::sources::{SharedSources, SystemSources};
use crate::graphql::{self, Arguments, Engine};
use crate::http::connection::{self, Patience};
use crate::http::graphiql::{self, GraphiqlConfig};
use crate::http::{self, HttpState, Settings};
use crate::jobs;
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
use crate::services::{AccountSettings, Services};
use crate::telemetry::metrics::Metrics;

/// Everything that a request needs.
pub struct App {
    /// The use cases, for what starts and fills a server.
    pub services: Arc<Services>,
    http: Arc<HttpState>,
    patience: Patience,
    trusted_proxies: Vec<IpNet>,
    /// How often background work is looked for.
    jobs_poll: Duration,
}

impl App {
    /// Puts the application together. Nothing connects yet: databases are reached for when they are needed.
    ///
    /// `GraphiQL`, when it is enabled, shows the shop of `graphiql`, or else none.
    ///
    /// # Errors
    ///
    /// When the signing key or an address cannot be read.
    pub fn build(
        config: &Config,
        services: Arc<Services>,
        graphiql: Option<GraphiqlConfig>,
    ) -> anyhow::Result<Arc<Self>> {
        let server = &config.server;
        let schema = if server.introspection_enabled { graphql::schema() } else { graphql::reticent_schema() };
        let engine = Arc::new(Engine {
            arguments: Arguments::of(&schema)?,
            schema,
            services: Arc::clone(&services),
            timeout: server.request_timeout,
        });
        let page = || Bytes::from(graphiql::page(&graphiql.unwrap_or_default()));
        let settings = Settings {
            base_domain: server.base_domain.clone(),
            max_body_bytes: server.max_body_bytes,
            trusted_proxies: server.trusted_proxies.clone(),
            body_timeout: server.request_timeout,
            origins: server.cors_allowed_origins.clone(),
            introspection: server.introspection_enabled,
            graphiql: server.graphiql_enabled.then(page),
        };
        let http = Arc::new(HttpState::new(engine, settings));
        let patience = Patience {
            head: server.header_timeout,
            keep_alive: server.keep_alive_timeout,
            reading: server.request_timeout,
            connections: server.max_connections,
            connections_per_address: server.max_connections_per_address,
        };
        let trusted_proxies = server.trusted_proxies.clone();
        Ok(Arc::new(Self { services, http, patience, trusted_proxies, jobs_poll: server.jobs_poll }))
    }

    /// Every route of the server, for those who bring requests of their own.
    pub fn router(&self) -> axum::Router {
        http::router(&self.http)
    }
}

/// Where a key that cannot be used comes from. Settings have been checked by now.
const SIGNING_KEY: &str = "JWT_PRIVATE_KEY, or jwt.pem in the data directory of `mercato dev`";

/// The use cases, for those who need them before there is an application: to fill a demo shop, for one.
///
/// # Errors
///
/// When the signing key cannot be read.
pub fn services(config: &Config) -> anyhow::Result<Arc<Services>> {
    let sources: SharedSources = Arc::new(SystemSources);
    let url = config.database_url.expose_secret();
    let key = config.jwt_private_key.expose_secret().as_bytes();
    let vault = Vault::new(&config.data_encryption_keys)?;
    let settings = &config.server;
    let redis = Redis::new(config.redis_url.expose_secret())?;
    let db = Db::new(url, settings.database_pool_size, settings.database_pool_wait);
    Ok(Arc::new(Services {
        directory: TenantDirectory::new(db.clone()),
        passwords: Passwords::new(settings.password_hashes_at_once),
        tokens: Arc::new(Tokens::new(key, Arc::clone(&sources)).context(SIGNING_KEY)?),
        access: Access::new(db.clone(), redis.clone()),
        service_accounts: ServiceAccounts::new(db.clone()),
        catalog: Catalog::new(redis.clone(), settings.catalog_cache_bytes),
        accounts: AccountSettings {
            session_ttl: settings.session_ttl,
            mfa_required_for_admins: settings.mfa_required_for_admins,
        },
        limits: Limits::new(redis.clone(), settings.quotas),
        redis,
        answers: Answers::new(vault.clone()),
        vault,
        stripe: Stripe::new(StripeSettings {
            secret_key: config.stripe_secret_key.clone(),
            api_base: settings.stripe_api_base.clone(),
            timeout: settings.stripe_timeout,
        })?,
        webhook_secrets: WebhookSecrets::new(config.stripe_webhook_secrets.clone()),
        payments: PaymentSettings { order_ttl: settings.order_payment_ttl },
        work: Arc::new(Notify::new()),
        metrics: Metrics::new()?,
        sources,
        db,
    }))
}

/// Answers requests with the routes of `router` and does background work until `shutdown` comes. Then no new connection is
/// accepted, idle ones are closed, and running requests and jobs get `grace` to finish.
pub async fn serve(
    app: Arc<App>,
    router: axum::Router,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) {
    let (stopping, stopped) = oneshot::channel();
    let (ending, ended) = oneshot::channel();
    let jobs = jobs::run(Arc::clone(&app.services), app.jobs_poll, async {
        // An end by itself is an end too.
        let _ = ended.await;
    });
    let server = connection::serve(listener, router, app.patience, app.trusted_proxies.clone(), async move {
        shutdown.await;
        // Nobody listens any more when the server has already failed.
        let _ = (stopping.send(()), ending.send(()));
    });
    let out_of_time = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(grace).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ((), ()) = join(server, jobs) => {}
        () = out_of_time => tracing::warn!("some requests did not finish in time and are cut off"),
    }
}
