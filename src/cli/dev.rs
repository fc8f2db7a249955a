//! `mercato dev`: the server on private services, with a demo shop.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use mercato::app::{self, App};
use mercato::config::{self, Config, DevConfig};
use mercato::db::migrations;
use mercato::dev::demo::{self, DemoShop};
use mercato::dev::services::Services;
use mercato::http::graphiql::{DemoLogin, DemoTenant, GraphiqlConfig};
use mercato::services::tokens;
use mercato::telemetry::logs;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::Dev;
use super::serve::asked_to_stop;

/// How long running requests get at Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);

impl Dev {
    /// Starts what is missing, migrates, and serves or runs the command; ends what it started.
    pub fn run(self, runtime: &Runtime) -> anyhow::Result<ExitCode> {
        let settings = config::for_dev()?;
        logs::init(settings.server.log_format, &settings.server.log_level)?;
        // Before anything is started: from here on a signal ends the children too.
        let stop = runtime.block_on(async { asked_to_stop() })?;
        let (config, mut services) = self.prepare(settings)?;
        let migrated = match &config.migration_database_url {
            Some(url) => runtime.block_on(migrations::run(url.expose_secret())).map(|_| ()),
            None => Ok(()),
        };
        let ended = migrated.and_then(|()| match self.command.split_first() {
            Some((program, arguments)) => run_beside(&config, &self.data_dir, program, arguments),
            None => runtime.block_on(self.serve(&config, stop, services.as_mut())),
        });
        if let Some(services) = &mut services {
            services.stop();
        }
        ended
    }

    /// The complete configuration, with the services that were started because no other were named.
    fn prepare(&self, settings: DevConfig) -> anyhow::Result<(Config, Option<Services>)> {
        let DevConfig { mut server, database_url, migration_database_url, redis_url, jwt_private_key } = settings;
        server.port = self.port.unwrap_or(server.port);
        let (database_url, migration_database_url, redis_url, services) = match (database_url, redis_url) {
            (Some(database), Some(redis)) => (database, migration_database_url, redis, None),
            (database, redis) => {
                let own = Services::start(&self.data_dir, self.fresh)?;
                let (migration, database) = match database {
                    Some(database) => (migration_database_url, database),
                    None => (Some(own.migration_database_url().into()), own.database_url().into()),
                };
                (database, migration, redis.unwrap_or_else(|| own.redis_url().into()), Some(own))
            }
        };
        fs::create_dir_all(&self.data_dir)?;
        let jwt_private_key = match jwt_private_key {
            Some(key) => key,
            None => own_key(&self.data_dir.join("jwt.pem"))?,
        };
        let config = Config { server, database_url, migration_database_url, redis_url, jwt_private_key };
        write_private(&self.data_dir.join("services.env"), &services_env(&config))?;
        Ok((config, services))
    }

    async fn serve(
        &self,
        config: &Config,
        stop: impl Future<Output = ()> + Send + 'static,
        services: Option<&mut Services>,
    ) -> anyhow::Result<ExitCode> {
        let shop_services = app::services(config)?;
        shop_services.db.check_role().await?;
        let shop = demo::ensure(&shop_services).await?;
        let app = App::build(config, shop_services, Some(graphiql(&shop)))?;
        let address = SocketAddr::new(config.server.host, config.server.port);
        let in_use =
            || format!("cannot listen on {address}; choose another with `mercato dev --port N` or `make run PORT=N`");
        let listener = TcpListener::bind(address).await.with_context(in_use)?;
        println!("{}", banner(&format!("http://localhost:{}", listener.local_addr()?.port()), &shop, &self.data_dir));
        tokio::select! {
            served = app::serve(app, listener, stop, GRACE) => served?,
            failure = watch(services) => anyhow::bail!("{failure}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Resolves, with what to say, when one of the services dies.
async fn watch(services: Option<&mut Services>) -> String {
    let Some(services) = services else { return std::future::pending().await };
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        if let Some(failure) = services.failed() {
            return failure;
        }
    }
}

fn run_beside(config: &Config, data_dir: &Path, program: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let status = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", config.database_url.expose_secret())
        .envs(config.migration_database_url.iter().map(|url| ("MIGRATION_DATABASE_URL", url.expose_secret())))
        .env("REDIS_URL", config.redis_url.expose_secret())
        .env("JWT_PRIVATE_KEY_FILE", fs::canonicalize(data_dir)?.join("jwt.pem"))
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// The signing key of this data directory, made at the first start.
fn own_key(path: &Path) -> anyhow::Result<SecretString> {
    if !path.exists() {
        write_private(path, &tokens::generate_private_key()?)?;
    }
    let key = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(key.into())
}

fn services_env(config: &Config) -> String {
    let migration = config.migration_database_url.iter().map(|url| ("MIGRATION_DATABASE_URL", url.expose_secret()));
    let lines =
        [("DATABASE_URL", config.database_url.expose_secret()), ("REDIS_URL", config.redis_url.expose_secret())]
            .into_iter()
            .chain(migration);
    let lines: Vec<_> = lines.map(|(name, value)| format!("{name}={value}\n")).collect();
    lines.concat()
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

fn graphiql(shop: &DemoShop) -> GraphiqlConfig {
    let subdomain = shop.tenant.subdomain.clone();
    let login = |(label, email): (&str, &str)| DemoLogin {
        label: label.into(),
        tenant: subdomain.clone(),
        email: email.into(),
        password: demo::PASSWORD.into(),
    };
    GraphiqlConfig {
        logins: demo::ACCOUNTS.into_iter().map(login).collect(),
        tenants: vec![DemoTenant { subdomain: subdomain.clone(), name: shop.tenant.name.clone() }],
        api_key: Some(shop.tenant.api_key.clone()),
        demo_product_id: shop.product_id,
    }
}

fn banner(url: &str, shop: &DemoShop, data_dir: &Path) -> String {
    let accounts =
        demo::ACCOUNTS.map(|(label, email)| format!("    {label:<10} {email:<22} {}\n", demo::PASSWORD)).concat();
    format!(
        "
  Mercato is ready.

  GraphiQL     {url}/graphql     (click a role, then a query)
  REST docs    {url}/docs
  Health       {url}/ready
  Services     {}/services.env

  The demo shop's accounts (subdomain `{}`):
{accounts}
  Try it:
    curl -s {url}/api/v1/products?search=mug -H 'X-API-Key: {}'

  Ctrl-C ends everything; the data stays for the next start.
",
        data_dir.display(),
        shop.tenant.subdomain,
        shop.tenant.api_key,
    )
}
