//! The application, put together once: what `serve`, `dev` and the tests start.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::serve::ListenerExt;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::clients::redis::Redis;
use crate::config::Config;
use crate::db::Db;
use crate::domain::sources::{SharedSources, SystemSources};
use crate::graphql::{self, Engine};
use crate::http::graphiql::{self, GraphiqlConfig};
use crate::http::{self, HttpState, Settings};
use crate::services::Services;
use crate::services::passwords::Passwords;
use crate::services::tenants::TenantDirectory;
use crate::services::tokens::Tokens;
use crate::telemetry::metrics::Metrics;

/// Everything that a request needs.
pub struct App {
    /// The use cases, for what starts and fills a server.
    pub services: Arc<Services>,
    http: Arc<HttpState>,
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
        let engine = Arc::new(Engine { schema: graphql::schema(), services: Arc::clone(&services) });
        let page = || Bytes::from(graphiql::page(&graphiql.unwrap_or_default()));
        let settings = Settings {
            base_domain: config.server.base_domain.clone(),
            max_body_bytes: config.server.max_body_bytes,
            graphiql: config.server.graphiql_enabled.then(page),
        };
        let redis = Redis::new(config.redis_url.expose_secret())?;
        let http = Arc::new(HttpState::new(engine, redis, settings));
        Ok(Arc::new(Self { services, http }))
    }

    /// Every route of the server, for those who bring requests of their own.
    pub fn router(&self) -> axum::Router {
        http::router(&self.http)
    }
}

/// The use cases, for those who need them before there is an application: to fill a demo shop, for one.
///
/// # Errors
///
/// When the signing key cannot be read.
pub fn services(config: &Config) -> anyhow::Result<Arc<Services>> {
    let sources: SharedSources = Arc::new(SystemSources);
    let url = config.database_url.expose_secret();
    let settings = &config.server;
    let db = Db::new(url, settings.database_pool_size, settings.database_pool_wait);
    Ok(Arc::new(Services {
        directory: TenantDirectory::new(db.clone()),
        passwords: Passwords::new(settings.password_hashes_at_once)?,
        tokens: Tokens::new(config.jwt_private_key.expose_secret().as_bytes(), Arc::clone(&sources))?,
        metrics: Metrics::new()?,
        sources,
        db,
    }))
}

/// Answers requests until `shutdown` comes. Then no new connection is accepted, idle ones are closed, and running
/// requests get `grace` to finish.
///
/// # Errors
///
/// When the listener fails for good.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> anyhow::Result<()> {
    let listener = listener.tap_io(|connection| {
        // Without it, an answer in two packets can wait for the client's delayed acknowledgement. It is only slower.
        let _ = connection.set_nodelay(true);
    });
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, app.router()).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody listens any more when the server has already failed.
        let _ = stopping.send(());
    });
    let out_of_time = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(grace).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = server => Ok(ended?),
        () = out_of_time => {
            tracing::warn!("some requests did not finish in time and are cut off");
            Ok(())
        }
    }
}
