//! Migrations, embedded in the binary and run by the owner's role.

use anyhow::{Context, anyhow};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Brings the database up to date and returns the names of the migrations that ran.
///
/// Replicas that start together take turns: a lock is held for as long as the connection lives.
pub async fn run(migration_database_url: &str) -> anyhow::Result<Vec<String>> {
    let mut harness = harness(migration_database_url).await?;
    let ran = harness.run_pending_migrations(MIGRATIONS).map_err(|error| anyhow!(error)).context("migrating")?;
    Ok(ran.iter().map(ToString::to_string).collect())
}

async fn harness(url: &str) -> anyhow::Result<AsyncMigrationHarness<AsyncPgConnection>> {
    let mut conn = AsyncPgConnection::establish(url).await.context("MIGRATION_DATABASE_URL: cannot connect")?;
    // Any number will do, as long as only migrations use it.
    conn.batch_execute("SELECT pg_advisory_lock(7265737461)").await?;
    Ok(AsyncMigrationHarness::new(conn))
}
