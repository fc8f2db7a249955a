//! What is measured: private services full of products, and the server on them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use mercato::db::{Db, migrations};
use mercato::dev::seed;
use mercato::dev::services::Services;
use mercato::domain::actor::Role;
use mercato::domain::auth::Grant;
use mercato::domain::sources::SystemSources;
use mercato::services::tokens::{self, Tokens};
use tokio_postgres::NoTls;
use uuid::Uuid;

use super::processes::{child_named, peak_memory};

/// How many shops there are.
pub const SHOPS: u32 = 20;
/// How many products each has.
pub const PRODUCTS: usize = 1000;

/// Gives products numbers for ids, so that pgbench, which knows no other variables, can choose among them too.
const NUMBER_PRODUCTS: &str = "
    set session_replication_role = replica;
    create temporary table numbered as
        select p.tenant_id, p.id as old_id,
               lpad(to_hex(row_number() over (order by substr(t.subdomain, 6)::int, p.created_at, p.id) - 1), 32, '0')::uuid
                   as new_id
        from products p join tenants t on t.id = p.tenant_id;
    update products p set id = n.new_id from numbered n where (n.tenant_id, n.old_id) = (p.tenant_id, p.id);
    update inventory i set product_id = n.new_id from numbered n where (n.tenant_id, n.old_id) = (i.tenant_id, i.product_id);
    update inventory_movements m set product_id = n.new_id from numbered n
        where (n.tenant_id, n.old_id) = (m.tenant_id, m.product_id)";

/// A shop and its customer.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The first of its products' numbers.
    first: usize,
    pub tenant: Uuid,
    pub customer: Uuid,
    pub token: String,
}

impl Shop {
    /// The id of one of its products, counted from 0.
    pub fn product(&self, number: usize) -> Uuid {
        Uuid::from_u128((self.first + number) as u128)
    }

    /// The number that the id of its first product is.
    pub const fn first_product(&self) -> usize {
        self.first
    }
}

/// The server with all that it needs, stopped when this is dropped.
pub struct Stack {
    server: Child,
    services: Services,
    pub address: SocketAddr,
    pub shops: Arc<[Shop]>,
    /// How long the server took from its start to its first answer on `/ready`.
    pub ready_after: Duration,
    postgres: u32,
    redis: u32,
}

impl Stack {
    /// Starts everything, with new data in cargo's directory for such things.
    pub async fn start() -> anyhow::Result<Self> {
        let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
        eprintln!("starting services and making {SHOPS} shops of {PRODUCTS} products");
        let services = Services::start(&data, true)?;
        migrations::run(services.migration_database_url()).await?;
        let db = Db::new(services.database_url(), 2, Duration::from_secs(5));
        seed::run(&db, &SystemSources, SHOPS, i32::try_from(PRODUCTS)?).await?;
        let key = tokens::generate_private_key()?;
        let shops = shops(&services, &Tokens::new(key.as_bytes(), Arc::new(SystemSources))?).await?;
        let key_file = data.join("jwt.pem");
        fs::write(&key_file, key)?;
        let started = Instant::now();
        let (server, address) = serve(&services, &key_file)?;
        let ready = reqwest::get(format!("http://{address}/ready")).await?;
        let ready_after = started.elapsed();
        anyhow::ensure!(ready.status() == 200, "not ready: {}", ready.text().await?);
        let (postgres, redis) = (child_named("postgres")?, child_named("redis")?);
        Ok(Self { server, services, address, shops, ready_after, postgres, redis })
    }

    /// What takes part in an answer: names and process ids.
    pub fn processes(&self) -> [(&'static str, u32); 3] {
        [("server", self.server.id()), ("PostgreSQL", self.postgres), ("Redis", self.redis)]
    }

    /// PostgreSQL's process id.
    pub const fn postgres(&self) -> u32 {
        self.postgres
    }

    /// Where PostgreSQL lets the server's role in.
    pub fn database_url(&self) -> &str {
        self.services.database_url()
    }

    /// The most memory that the server has had, in megabytes.
    pub fn peak_memory(&self) -> anyhow::Result<f64> {
        peak_memory(self.server.id())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // It may have ended by itself, which is all that is wanted.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Starts the server and waits until it says where it serves.
fn serve(services: &Services, key_file: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_mercato"))
        .arg("serve")
        .env("DATABASE_URL", services.database_url())
        .env("REDIS_URL", services.redis_url())
        .env("JWT_PRIVATE_KEY_FILE", key_file)
        .env("DATA_ENCRYPTION_KEY", "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=")
        // Limits count, but let everything through.
        .envs(["ANONYMOUS", "CUSTOMER", "LOGIN", "TENANT"].map(|class| (format!("RATE_LIMIT_{class}"), "1000000/s")))
        // So that logins come from everywhere.
        .env("TRUSTED_PROXIES", "127.0.0.1")
        // Nothing is paid here.
        .env("STRIPE_SECRET_KEY", "sk_bench")
        .env("STRIPE_WEBHOOK_SECRET", "whsec_bench")
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        // Of what is not a warning, only the line that says where it serves.
        .env("LOG_LEVEL", "warn,mercato::cli=info")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("the server's output")?).lines();
    let line: serde_json::Value = serde_json::from_str(&lines.next().context("the server ended")??)?;
    let address = line["address"].as_str().context("an address")?.parse()?;
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
    Ok((server, address))
}

/// Numbers the products of the seeded shops and issues their customers' tokens.
async fn shops(services: &Services, tokens: &Tokens) -> anyhow::Result<Arc<[Shop]>> {
    let url = services.migration_database_url().replace("mercato_owner@", "postgres@");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(NUMBER_PRODUCTS).await?;
    client.batch_execute("update users set is_active = false where role = 'ADMIN'").await?;
    for table in ["products", "inventory", "inventory_movements"] {
        client.batch_execute(&format!("vacuum (full, analyze) {table}")).await?;
    }
    client.batch_execute("analyze").await?;
    let customers = "select t.id, u.id from tenants t join users u on u.tenant_id = t.id and u.role = 'CUSTOMER'
        order by substr(t.subdomain, 6)::int";
    let shops = client.query(customers, &[]).await?.into_iter().enumerate().map(|(number, row)| {
        let (tenant, customer) = (row.get(0), row.get(1));
        let role = Role::Customer;
        let (user_id, tenant_id, session_id) = (customer, tenant, Uuid::nil());
        let token = tokens.issue(&Grant { user_id, tenant_id, role, session_id, version: 0, mfa: false })?.token;
        Ok(Shop { first: number * PRODUCTS, tenant, customer, token })
    });
    shops.collect()
}
