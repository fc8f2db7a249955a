//! `mercato dev`: the server on private services, with a demo shop.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mercato::app::{self, App};
use mercato::clients::stripe::WebhookSecrets;
use mercato::config::{self, Config, DevConfig};
use mercato::db::migrations;
use mercato::dev::demo::{self, DemoShop};
use mercato::dev::services::Services;
use mercato::dev::stripe::Simulator;
use mercato::domain::sources::{Sources, SystemSources};
use mercato::http::graphiql::{DemoLogin, DemoTenant, GraphiqlConfig};
use mercato::services::{tokens, vault};
use mercato::telemetry::logs;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::runtime::Runtime;

use super::serve::Stop;
use super::{Dev, open_files};

/// Stands for the key of the simulated account.
const SIMULATED: &str = "sk_simulated";

/// Where the simulated account is.
const SIMULATOR_PATH: &str = "/dev/stripe";

/// The files of keys, in the data directory.
const SIGNING_KEY: &str = "jwt.pem";
const DATA_KEY: &str = "data.key";

/// How long running requests get at Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);

impl Dev {
    /// Starts what is missing, migrates, and serves or runs the command; ends what it started.
    pub fn run(self, runtime: &Runtime) -> anyhow::Result<ExitCode> {
        let settings = config::for_dev()?;
        logs::init(settings.server.log_format, &settings.server.log_level)?;
        // Before anything is started: from here on a signal ends the children too.
        let stop = runtime.block_on(async { Stop::take_over() })?;
        let (config, mut services) = self.prepare(settings)?;
        let migrated = match &config.migration_database_url {
            Some(url) => runtime.block_on(migrations::run(url.expose_secret())).map(|_| ()),
            None => Ok(()),
        };
        let ended = migrated.and_then(|()| match self.command.split_first() {
            Some((program, arguments)) => {
                runtime.block_on(run_beside(&config, &self.data_dir, program, arguments, stop))
            }
            None => runtime.block_on(self.serve(config, stop.asked(), services.as_mut())),
        });
        if let Some(services) = &mut services {
            services.stop();
        }
        ended
    }

    /// The complete configuration, with the services that were started because no other were named.
    fn prepare(&self, settings: DevConfig) -> anyhow::Result<(Config, Option<Services>)> {
        let DevConfig {
            mut server,
            database_url,
            migration_database_url,
            redis_url,
            jwt_private_key,
            data_encryption_keys,
            ..
        } = settings;
        let (stripe_secret_key, stripe_webhook_secrets) = (settings.stripe_secret_key, settings.stripe_webhook_secrets);
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
            None => own(&self.data_dir.join(SIGNING_KEY), tokens::generate_private_key)?,
        };
        let data_encryption_keys = match data_encryption_keys {
            Some(keys) => keys,
            None => vec![own(&self.data_dir.join(DATA_KEY), || SystemSources.secret().map(vault::encode_key))?],
        };
        let stripe_webhook_secrets = if let Some(secrets) = stripe_webhook_secrets {
            secrets
        } else {
            let new = || SystemSources.secret().map(|secret| format!("whsec_{}", hex::encode(secret)));
            vec![own(&self.data_dir.join("stripe-webhook-secret"), new)?]
        };
        let config = Config {
            server,
            database_url,
            migration_database_url,
            redis_url,
            jwt_private_key,
            data_encryption_keys,
            stripe_secret_key: stripe_secret_key.unwrap_or_else(|| SIMULATED.into()),
            stripe_webhook_secrets,
        };
        write_private(&self.data_dir.join("services.env"), &services_env(&config))?;
        Ok((config, services))
    }

    async fn serve(
        &self,
        mut config: Config,
        stop: impl Future<Output = ()> + Send + 'static,
        services: Option<&mut Services>,
    ) -> anyhow::Result<ExitCode> {
        // Here it need not suffice: trying things out takes few connections.
        open_files::raise();
        let address = SocketAddr::new(config.server.host, config.server.port);
        let in_use =
            || format!("cannot listen on {address}; choose another with `mercato dev --port N` or `make run PORT=N`");
        let listener = TcpListener::bind(address).await.with_context(in_use)?;
        let port = listener.local_addr()?.port();
        let simulator = self.simulator(&mut config, port)?;
        let shop_services = app::services(&config)?;
        migrations::check(&shop_services.db).await?;
        shop_services.db.check_role().await?;
        let shop = demo::ensure(&shop_services).await?;
        let app = App::build(&config, shop_services, Some(graphiql(&shop)))?;
        let router = match &simulator {
            Some(simulator) => app.router().nest(SIMULATOR_PATH, simulator.router()),
            None => app.router(),
        };
        let url = format!("http://localhost:{port}");
        println!("{}", banner(&url, &shop, &self.data_dir, simulator.is_some()));
        tokio::select! {
            () = app::serve(app, router, listener, stop, GRACE) => {}
            failure = watch(services) => anyhow::bail!("{failure}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Dev {
    /// Simulated payments on this port, unless there is a key for real ones.
    fn simulator(&self, config: &mut Config, port: u16) -> anyhow::Result<Option<Simulator>> {
        if config.stripe_secret_key.expose_secret() != SIMULATED {
            return Ok(None);
        }
        let host = match config.server.host {
            host if host.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            host => host,
        };
        let origin = format!("http://{}", SocketAddr::new(host, port));
        let secrets = WebhookSecrets::new(config.stripe_webhook_secrets.clone());
        let file = self.data_dir.join("stripe.json");
        if self.fresh && file.exists() {
            // Its orders are gone.
            fs::remove_file(&file).with_context(|| format!("cannot delete {}", file.display()))?;
        }
        let simulator = Simulator::start(secrets, Arc::new(SystemSources), Some(file))?;
        simulator.deliver_to(Some(format!("{origin}/api/v1/webhooks/stripe")));
        config.server.stripe_api_base = format!("{origin}{SIMULATOR_PATH}");
        Ok(Some(simulator))
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

/// Runs the command to its end, and gives its exit code as shells do: 128 and more for a signal's.
///
/// SIGTERM is passed on to it. Ctrl-C is not: the terminal sends that to both, and some, as psql, go on after it.
async fn run_beside(
    config: &Config,
    data_dir: &Path,
    program: &str,
    arguments: &[String],
    mut stop: Stop,
) -> anyhow::Result<ExitCode> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("DATABASE_URL", config.database_url.expose_secret())
        .envs(config.migration_database_url.iter().map(|url| ("MIGRATION_DATABASE_URL", url.expose_secret())))
        .env("REDIS_URL", config.redis_url.expose_secret())
        .env("JWT_PRIVATE_KEY_FILE", fs::canonicalize(data_dir)?.join(SIGNING_KEY))
        .env("DATA_ENCRYPTION_KEY_FILE", fs::canonicalize(data_dir)?.join(DATA_KEY));
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = stop.terminated() => {
                // It is not waited for yet, so the number is still its own, even if it has just ended.
                let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
                let _ = id.map(|id| kill_process(id, Signal::TERM));
            }
        }
    };
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// A secret of this data directory, made at the first start.
fn own<E: Into<anyhow::Error>>(path: &Path, new: impl FnOnce() -> Result<String, E>) -> anyhow::Result<SecretString> {
    if !path.exists() {
        write_private(path, &new().map_err(Into::into)?)?;
    }
    let secret = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(secret.into())
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

fn banner(url: &str, shop: &DemoShop, data_dir: &Path, is_simulated: bool) -> String {
    let payments = if is_simulated {
        format!(
            "{url}{SIMULATOR_PATH}     (pay, decline or refund what orders ask for)
               or: curl -d '' {url}{SIMULATOR_PATH}/v1/payment_intents/ID/confirm     (-d simulate=failure declines)"
        )
    } else {
        format!(
            "by Stripe, with the key that is set
               stripe listen --forward-to {url}/api/v1/webhooks/stripe     (STRIPE_WEBHOOK_SECRET: what it prints)"
        )
    };
    let accounts =
        demo::ACCOUNTS.map(|(label, email)| format!("    {label:<10} {email:<22} {}\n", demo::PASSWORD)).concat();
    format!(
        "
  Mercato is ready.

  GraphiQL     {url}/graphql     (click a role, then a query)
  REST docs    {url}/docs
  Payments     {payments}
  Health       {url}/ready
  Services     {}/services.env

  The demo shop's accounts (subdomain `{}`):
{accounts}
  Try it:
    curl -s '{url}/api/v1/products?search=mug' -H 'X-API-Key: {}'

  Ctrl-C ends everything; the data stays for the next start.
",
        data_dir.display(),
        shop.tenant.subdomain,
        shop.tenant.api_key,
    )
}
