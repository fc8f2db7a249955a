//! Migrations, embedded in the binary, run by the owner's role and looked at by the server's.

use anyhow::{Context, anyhow, ensure};
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Db;
use super::pool::establish;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Brings the database up to date and returns the names of the migrations that ran.
///
/// Replicas that start together take turns: a lock is held for as long as the connection lives.
pub async fn run(migration_database_url: &str) -> anyhow::Result<Vec<String>> {
    let mut harness = harness(migration_database_url).await?;
    let ran = harness.run_pending_migrations(MIGRATIONS).map_err(|error| anyhow!(error)).context("migrating")?;
    Ok(ran.iter().map(ToString::to_string).collect())
}

/// Refuses a database that lacks some of this program's migrations, by name. One that has others as well is newer, as it
/// is while a newer version is rolled out: that is logged.
pub async fn check(db: &Db) -> anyhow::Result<()> {
    let ran = ran(db).await?;
    let own = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(|error| anyhow!(error))?;
    let own: Vec<_> = own.iter().map(|one| (one.name().version().to_string(), one.name().to_string())).collect();
    let lacking = own.iter().filter(|(version, _)| !ran.contains(version));
    let lacking: Vec<_> = lacking.map(|(_, name)| name.as_str()).collect();
    ensure!(
        lacking.is_empty(),
        "the database is not up to date: it lacks {} of {} migrations ({}); run `mercato migrate` first",
        lacking.len(),
        own.len(),
        lacking.join(", ")
    );
    let unknown = ran.iter().filter(|version| own.iter().all(|(known, _)| known != *version));
    let unknown: Vec<_> = unknown.map(String::as_str).collect();
    if !unknown.is_empty() {
        let migrations = unknown.join(", ");
        tracing::warn!(
            migrations,
            "the database is newer than this program: migrations have run that it does not have"
        );
    }
    Ok(())
}

/// The versions of the migrations that have run.
async fn ran(db: &Db) -> anyhow::Result<Vec<String>> {
    #[derive(diesel::QueryableByName)]
    struct Table {
        #[diesel(sql_type = Bool)]
        exists: bool,
        #[diesel(sql_type = Bool)]
        readable: bool,
    }
    #[derive(diesel::QueryableByName)]
    struct Ran {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let mut conn = db.open().await?;
    let table: Table = diesel::sql_query(
        "select t.oid is not null as exists, \
                coalesce(has_column_privilege(t.oid, 'version', 'select'), false) as readable \
         from to_regclass('public.__diesel_schema_migrations') as t (oid)",
    )
    .get_result(&mut *conn)
    .await
    .context("DATABASE_URL: cannot look which migrations have run")?;
    if !table.exists {
        return Ok(Vec::new());
    }
    ensure!(
        table.readable,
        "DATABASE_URL: this role may not see which migrations have run. Either the database is not up to date (run \
         `mercato migrate` first), or this is not the role mercato_app"
    );
    let ran: Vec<Ran> = diesel::sql_query("select version from public.__diesel_schema_migrations order by version")
        .load(&mut *conn)
        .await
        .context("DATABASE_URL: cannot read which migrations have run")?;
    Ok(ran.into_iter().map(|ran| ran.version).collect())
}

async fn harness(url: &str) -> anyhow::Result<AsyncMigrationHarness<AsyncPgConnection>> {
    let mut conn = establish(url).await.context("MIGRATION_DATABASE_URL: cannot connect")?;
    // Any number will do, as long as only migrations use it.
    conn.batch_execute("SELECT pg_advisory_lock(7265737461)").await?;
    Ok(AsyncMigrationHarness::new(conn))
}
