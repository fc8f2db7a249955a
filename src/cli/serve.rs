//! `mercato serve`: production.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use mercato::app::{self, App};
use mercato::config;
use mercato::db::migrations;
use mercato::telemetry::logs;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let stop = Stop::take_over()?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    let router = app.router();
    app::serve(app, router, listener, stop.asked(), settings.shutdown_grace).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C (SIGINT) and SIGTERM. Once this is made, neither ends the process by itself, and none that comes before it is
/// waited for is lost.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Takes both signals over. To be called in a runtime.
    pub fn take_over() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves at either.
    pub async fn asked(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Resolves at each SIGTERM.
    pub async fn terminated(&mut self) {
        self.terminate.recv().await;
    }
}
