//! `mercato serve`: production.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use mercato::app::{self, App};
use mercato::config;
use mercato::db::migrations;
use mercato::telemetry::logs;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::open_files;

pub async fn run() -> anyhow::Result<ExitCode> {
    let config = config::for_serve()?;
    let settings = &config.server;
    logs::init(settings.log_format, &settings.log_level)?;
    open_files::suffice(settings)?;
    let services = app::services(&config)?;
    migrations::check(&services.db).await?;
    services.db.check_role().await?;
    let app = App::build(&config, services, None)?;
    let address = SocketAddr::new(settings.host, settings.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("PORT: cannot listen on {address}"))?;
    // With PORT=0 nobody else could tell.
    let address = listener.local_addr()?;
    // Before anybody can know that it serves, and ask it to stop.
    let stop = asked_to_stop()?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    let router = app.router();
    app::serve(app, router, listener, stop, settings.shutdown_grace).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Resolves at Ctrl-C or SIGTERM. From this call on, neither ends the process by itself.
pub fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
