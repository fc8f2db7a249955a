//! A database for each test, copied from the migrated template, and ways to look into it.

use std::time::Duration;

use mercato::config::{self, Config};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use super::expect::until;
use super::payments::SECRETS;

/// A database of the test's own. It goes with the private server that `make test` stops at the end.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    pub name: String,
    pub app_url: String,
    pub owner_url: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let template = variable("MIGRATION_DATABASE_URL");
        // Not by way of the write-ahead log, which costs half as much again.
        Self::made(&format!("template {} strategy file_copy", database_of(&template))).await
    }

    /// One that no migration has seen.
    pub async fn empty() -> Self {
        Self::made("").await
    }

    async fn made(like: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let (app, owner) = (variable("DATABASE_URL"), variable("MIGRATION_DATABASE_URL"));
        let admin = connect(&on_database(&owner, "postgres")).await;
        admin.batch_execute(&format!("create database {name} {like}")).await.expect("a database");
        Self { app_url: on_database(&app, &name), owner_url: on_database(&owner, &name), name }
    }

    /// Settings for a server on this database.
    pub fn config(&self) -> Config {
        let mut server = config::for_dev().expect("settings").server;
        // Only when there is something to do, so that nothing happens behind a test's back.
        server.jobs_poll = Duration::from_hours(1);
        // Those that are about limits set them.
        server.quotas = None;
        let key = std::fs::read_to_string(variable("JWT_PRIVATE_KEY_FILE")).expect("the signing key");
        let data_key = std::fs::read_to_string(variable("DATA_ENCRYPTION_KEY_FILE")).expect("the key of secrets");
        Config {
            server,
            database_url: self.app_url.as_str().into(),
            migration_database_url: None,
            redis_url: variable("REDIS_URL").into(),
            jwt_private_key: key.into(),
            data_encryption_keys: vec![data_key.into()],
            stripe_secret_key: "sk_test".into(),
            stripe_webhook_secrets: SECRETS.map(Into::into).to_vec(),
        }
    }

    /// A connection as the server's role.
    pub async fn as_app(&self) -> Client {
        connect(&self.app_url).await
    }

    /// A connection as the owner, who is subject to row-level security too.
    pub async fn as_owner(&self) -> Client {
        connect(&self.owner_url).await
    }

    /// A connection that no policy holds back. The private services let the superuser in.
    pub async fn as_superuser(&self) -> Client {
        let (scheme, rest) = self.owner_url.split_once("://").expect("a URL");
        let (_, host) = rest.split_once('@').expect("a role");
        connect(&format!("{scheme}://postgres@{host}")).await
    }

    /// Every row of every table, or of one tenant's, as text: what must be the same before and after.
    pub async fn contents(&self, tenant: Option<Uuid>) -> Vec<String> {
        let superuser = self.as_superuser().await;
        let selects: Vec<_> = tables(&superuser)
            .await
            .iter()
            .map(|table| {
                let key = if table == "tenants" { "id" } else { "tenant_id" };
                let condition = tenant.map(|id| format!("where {key} = '{id}'")).unwrap_or_default();
                format!("select '{table}: ' || t::text from {table} t {condition}")
            })
            .collect();
        text_rows(&superuser, &format!("{} order by 1", selects.join(" union all "))).await
    }

    /// Runs a query with this tenant set and returns its rows as text, columns joined by `|`.
    pub async fn rows(&self, tenant: Uuid, sql: &str) -> Vec<String> {
        let client = self.as_owner().await;
        let set = format!("set app.current_tenant_id = '{tenant}'");
        client.batch_execute(&set).await.expect("the tenant is set");
        text_rows(&client, sql).await
    }

    /// Waits until that many of the server's connections wait for a lock.
    pub async fn until_blocked(&self, connections: usize) {
        let superuser = self.as_superuser().await;
        let blocked = "select pid from pg_stat_activity
            where datname = current_database() and usename = 'mercato_app' and wait_event_type = 'Lock'";
        while text_rows(&superuser, blocked).await.len() < connections {}
    }

    /// Waits until the server's role has no transaction open.
    pub async fn until_idle(&self) {
        let superuser = self.as_superuser().await;
        let open = "select pid from pg_stat_activity
            where datname = current_database() and usename = 'mercato_app' and xact_start is not null";
        until("no transaction is open", 5, async || text_rows(&superuser, open).await.is_empty()).await;
    }

    /// The invariants that every race and crash must leave standing. No rows means that all hold.
    pub async fn violations(&self, tenant: Uuid) -> Vec<String> {
        self.rows(tenant, include_str!("invariants.sql")).await
    }
}

/// The number and the versions of each table's rows: differs as soon as anything was written, be it the same as before.
pub async fn versions(superuser: &Client) -> Vec<String> {
    let of = |table: &String| format!("select '{table}', count(*), sum(xmin::text::bigint) from {table}");
    let selects: Vec<_> = tables(superuser).await.iter().map(of).collect();
    text_rows(superuser, &selects.join(" union all ")).await
}

/// Every table of ours, partitions and views too.
pub async fn tables(client: &Client) -> Vec<String> {
    let tables = "select relname from pg_class where relnamespace = 'public'::regnamespace
        and relkind in ('r', 'p', 'v', 'm', 'f') and relname not like '\\_\\_%' order by relname";
    text_rows(client, tables).await
}

/// The rows of a query as text, columns joined by `|`.
pub async fn text_rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns = (0..row.len()).map(|i| row.get(i).unwrap_or("null").to_owned());
            Some(columns.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    rows.collect()
}

/// A connection as the role that the address names.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    tokio::spawn(connection);
    client
}

/// A variable that `mercato dev` sets for the tests.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`, which starts the services"))
}

fn database_of(url: &str) -> &str {
    let path = url.split('?').next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

fn on_database(url: &str, name: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let base = path.rsplit_once('/').map_or(path, |(base, _)| base);
    match query {
        Some(query) => format!("{base}/{name}?{query}"),
        None => format!("{base}/{name}"),
    }
}
