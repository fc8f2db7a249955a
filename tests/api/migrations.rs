//! Migrations, up and down.

use std::path::Path;

use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use crate::support::TestDatabase;
use crate::support::database::{tables, text_rows};

/// Each step down leaves what was there before the step up: nothing is forgotten and nothing else is taken, down to an
/// empty database, which can be migrated again.
#[tokio::test(flavor = "multi_thread")]
async fn every_migration_is_taken_back_whole() {
    let migrations = FileBasedMigrations::from_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"));
    let migrations = migrations.expect("the folder of migrations");
    let database = TestDatabase::empty().await;
    let owner = database.as_owner().await;
    let connection = AsyncPgConnection::establish(&database.owner_url).await.expect("a connection");
    let mut harness = AsyncMigrationHarness::new(connection);

    let number = harness.pending_migrations(migrations.clone()).expect("all of them").len();
    assert!(number >= 10 && tables(&owner).await.is_empty(), "{number} migrations and nothing else");
    let mut steps = vec![schema(&owner).await];
    for _ in 0..number {
        let name = harness.run_next_migration(migrations.clone()).expect("a step up");
        let after = schema(&owner).await;
        assert_ne!(difference(&steps[steps.len() - 1], &after), [""; 0], "{name} does nothing that can be seen");
        steps.push(after);
    }
    let complete = steps.pop().expect("the last step");
    for before in steps.iter().rev() {
        let name = harness.revert_last_migration(migrations.clone()).expect("a step down");
        assert_eq!(difference(before, &schema(&owner).await), [""; 0], "after {name} was taken back");
    }
    assert_eq!(harness.run_pending_migrations(migrations).expect("all the way up").len(), number);
    assert_eq!(difference(&complete, &schema(&owner).await), [""; 0], "after all the way down and up");
}

/// What one has and the other has not: `-` before what is missing, `+` before what is new.
fn difference(expected: &[String], found: &[String]) -> Vec<String> {
    let missing = expected.iter().filter(|line| !found.contains(line)).map(|line| format!("-{line}"));
    let new = found.iter().filter(|line| !expected.contains(line)).map(|line| format!("+{line}"));
    missing.chain(new).collect()
}

/// Everything in the schema `public`, as far as a migration can change it: one line a thing, and all that it consists of.
async fn schema(client: &tokio_postgres::Client) -> Vec<String> {
    text_rows(client, include_str!("support/schema.sql")).await
}
