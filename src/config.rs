//! Typed settings, and the only reader of the environment.
//!
//! One table says what can be set (`config/table.rs`). What reads the environment, the text of `mercato serve --help`
//! and `.env.example` all come from it. Whatever is wrong is reported at once, and secrets are never shown.

mod help;
mod parse;
mod read;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use crate::domain::limits::Quotas;
pub use help::{env_example, help};
use read::Reader;

/// Everything that `serve` needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the server behaves.
    pub server: ServerSettings,
    /// PostgreSQL, as the role that row-level security holds.
    pub database_url: SecretString,
    /// PostgreSQL, as the role that owns the tables; the server itself has no use for it.
    pub migration_database_url: Option<SecretString>,
    /// Redis.
    pub redis_url: SecretString,
    /// The RSA keys of access tokens, in PEM; the first one signs.
    pub jwt_private_key: SecretString,
    /// What seals secrets in the database, in base64; the first one seals.
    pub data_encryption_keys: Vec<SecretString>,
    /// The secret key of the Stripe account.
    pub stripe_secret_key: SecretString,
    /// What signs Stripe's webhooks; never empty.
    pub stripe_webhook_secrets: Vec<SecretString>,
}

/// What `dev` was told. It supplies itself what is missing.
#[derive(Clone, Debug)]
pub struct DevConfig {
    /// How the server behaves.
    pub server: ServerSettings,
    /// PostgreSQL, as the role that row-level security holds.
    pub database_url: Option<SecretString>,
    /// PostgreSQL, as the role that owns the tables.
    pub migration_database_url: Option<SecretString>,
    /// Redis.
    pub redis_url: Option<SecretString>,
    /// The RSA keys of access tokens, in PEM.
    pub jwt_private_key: Option<SecretString>,
    /// What seals secrets in the database, in base64.
    pub data_encryption_keys: Option<Vec<SecretString>>,
    /// The secret key of the Stripe account; Stripe is simulated without one.
    pub stripe_secret_key: Option<SecretString>,
    /// What signs Stripe's webhooks.
    pub stripe_webhook_secrets: Option<Vec<SecretString>>,
}

/// How the server behaves, whatever it is connected to.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 stands for any that is free.
    pub port: u16,
    /// The domain whose subdomains name shops.
    pub base_domain: Option<String>,
    /// How many connections to PostgreSQL may be open.
    pub database_pool_size: u32,
    /// How long a request waits for one of them.
    pub database_pool_wait: Duration,
    /// How many passwords are hashed at the same time.
    pub password_hashes_at_once: usize,
    /// How much memory answers about catalogs may take; 0 keeps none.
    pub catalog_cache_bytes: u64,
    /// The largest request body that is read.
    pub max_body_bytes: usize,
    /// How long an operation may take, and the body of a request to arrive.
    pub request_timeout: Duration,
    /// How long the head of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may stay open between two requests.
    pub keep_alive_timeout: Duration,
    /// How many connections of clients may be open.
    pub max_connections: usize,
    /// How many of them may come from one address, or network of 64 bits in IPv6.
    pub max_connections_per_address: usize,
    /// How long requests that are under way may take once the server has been told to stop.
    pub shutdown_grace: Duration,
    /// Which lines are logged, as directives of `tracing_subscriber::EnvFilter`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether GraphiQL is served.
    pub graphiql_enabled: bool,
    /// Whether clients may ask for the schema.
    pub introspection_enabled: bool,
    /// The origins whose pages may use the API from a browser; none but our own when it is not set.
    pub cors_allowed_origins: Option<Origins>,
    /// How long an order may wait for its payment before it expires.
    pub order_payment_ttl: Duration,
    /// Where Stripe's API is.
    pub stripe_api_base: String,
    /// How long one attempt to ask Stripe may take.
    pub stripe_timeout: Duration,
    /// How often background work is looked for.
    pub jobs_poll: Duration,
    /// How long one can stay logged in without giving the password again.
    pub session_ttl: Duration,
    /// Whether admins must have a second factor.
    pub mfa_required_for_admins: bool,
    /// What requests may cost, if they are limited.
    pub quotas: Option<Quotas>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Whose pages may use the API from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those of these origins, each as browsers write it.
    Listed(Vec<String>),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Text,
}

/// Everything that is wrong with the settings: one line each, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("the settings are not complete, or not right:\n  {}", .0.join("\n  "))]
pub struct ConfigErrors(Vec<String>);

/// The commands that differ in what is set when nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serve,
    Dev,
}

/// What `serve` needs, from the environment.
///
/// # Errors
///
/// Everything that is missing or wrong, at once.
pub fn for_serve() -> Result<Config, ConfigErrors> {
    serve(&environment)
}

/// What `dev` needs, from the environment.
///
/// # Errors
///
/// Everything that is missing or wrong, at once.
pub fn for_dev() -> Result<DevConfig, ConfigErrors> {
    dev(&environment)
}

/// What `migrate` needs, from the environment: PostgreSQL, as the role that owns the tables.
///
/// # Errors
///
/// Everything that is missing or wrong, at once.
pub fn for_migrate() -> Result<SecretString, ConfigErrors> {
    migrate(&environment)
}

/// What `seed` needs, from the environment: PostgreSQL, as the role that row-level security holds.
///
/// # Errors
///
/// Everything that is missing or wrong, at once.
pub fn for_seed() -> Result<SecretString, ConfigErrors> {
    seed(&environment)
}

/// Looks a variable up.
type Lookup = dyn Fn(&str) -> Option<String>;

#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(std::env::VarError::NotPresent) => None,
        // So that it is reported as wrong, and not as missing.
        Err(std::env::VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
    }
}

fn serve(lookup: &Lookup) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(Mode::Serve, lookup);
    let server = server_settings(&mut reader);
    let database_url = reader.required(&table::DATABASE_URL);
    let migration_database_url = reader.optional(&table::MIGRATION_DATABASE_URL);
    let redis_url = reader.required(&table::REDIS_URL);
    let jwt_private_key = reader.required(&table::JWT_PRIVATE_KEY);
    let data_encryption_keys = reader.required(&table::DATA_ENCRYPTION_KEY);
    let stripe_secret_key = reader.required(&table::STRIPE_SECRET_KEY);
    let stripe_webhook_secrets = reader.required(&table::STRIPE_WEBHOOK_SECRET);
    reader.finish(|| {
        Some(Config {
            server: server?,
            database_url: database_url?,
            migration_database_url,
            redis_url: redis_url?,
            jwt_private_key: jwt_private_key?,
            data_encryption_keys: data_encryption_keys?,
            stripe_secret_key: stripe_secret_key?,
            stripe_webhook_secrets: stripe_webhook_secrets?,
        })
    })
}

fn dev(lookup: &Lookup) -> Result<DevConfig, ConfigErrors> {
    let mut reader = Reader::new(Mode::Dev, lookup);
    let server = server_settings(&mut reader);
    let database_url = reader.optional(&table::DATABASE_URL);
    let migration_database_url = reader.optional(&table::MIGRATION_DATABASE_URL);
    let redis_url = reader.optional(&table::REDIS_URL);
    let jwt_private_key = reader.optional(&table::JWT_PRIVATE_KEY);
    let data_encryption_keys = reader.optional(&table::DATA_ENCRYPTION_KEY);
    let stripe_secret_key = reader.optional(&table::STRIPE_SECRET_KEY);
    let stripe_webhook_secrets = reader.optional(&table::STRIPE_WEBHOOK_SECRET);
    reader.finish(|| {
        Some(DevConfig {
            server: server?,
            database_url,
            migration_database_url,
            redis_url,
            jwt_private_key,
            data_encryption_keys,
            stripe_secret_key,
            stripe_webhook_secrets,
        })
    })
}

fn migrate(lookup: &Lookup) -> Result<SecretString, ConfigErrors> {
    let mut reader = Reader::new(Mode::Serve, lookup);
    let url = reader.required(&table::MIGRATION_DATABASE_URL);
    reader.finish(|| url)
}

fn seed(lookup: &Lookup) -> Result<SecretString, ConfigErrors> {
    let mut reader = Reader::new(Mode::Serve, lookup);
    let url = reader.required(&table::DATABASE_URL);
    reader.finish(|| url)
}

/// Reads all before it gives up on any, so that one attempt shows everything that is wrong.
fn server_settings(reader: &mut Reader<'_>) -> Option<ServerSettings> {
    let host = reader.required(&table::HOST);
    let port = reader.required(&table::PORT);
    let base_domain = reader.optional(&table::BASE_DOMAIN);
    let database_pool_size = reader.required(&table::DATABASE_POOL_SIZE);
    let database_pool_wait = reader.required(&table::DATABASE_POOL_WAIT_MS);
    let password_hashes_at_once = reader.required(&table::PASSWORD_HASHES_AT_ONCE);
    let catalog_cache_bytes = reader.required(&table::CATALOG_CACHE_BYTES);
    let max_body_bytes = reader.required(&table::MAX_BODY_BYTES);
    let request_timeout = reader.required(&table::REQUEST_TIMEOUT_MS);
    let header_timeout = reader.required(&table::HEADER_TIMEOUT_MS);
    let keep_alive_timeout = reader.required(&table::KEEP_ALIVE_TIMEOUT_MS);
    let max_connections = reader.required(&table::MAX_CONNECTIONS);
    let max_connections_per_address = reader.required(&table::MAX_CONNECTIONS_PER_ADDRESS);
    let shutdown_grace = reader.required(&table::SHUTDOWN_GRACE_SECONDS);
    let log_level = reader.required(&table::LOG_LEVEL);
    let log_format = reader.required(&table::LOG_FORMAT);
    let graphiql_enabled = reader.required(&table::GRAPHIQL_ENABLED);
    let introspection_enabled = reader.required(&table::INTROSPECTION_ENABLED);
    let cors_allowed_origins = reader.optional(&table::CORS_ALLOWED_ORIGINS);
    let order_payment_ttl = reader.required(&table::ORDER_PAYMENT_TTL);
    let stripe_api_base = reader.required(&table::STRIPE_API_BASE);
    let stripe_timeout = reader.required(&table::STRIPE_TIMEOUT_MS);
    let jobs_poll = reader.required(&table::JOBS_POLL_MS);
    let session_ttl = reader.required(&table::SESSION_TTL);
    let mfa_required_for_admins = reader.required(&table::MFA_REQUIRED_FOR_ADMINS);
    let quotas = quotas(reader);
    let rate_limit_enabled = reader.required(&table::RATE_LIMIT_ENABLED);
    let trusted_proxies = reader.optional(&table::TRUSTED_PROXIES).unwrap_or_default();
    Some(ServerSettings {
        host: host?,
        port: port?,
        base_domain,
        database_pool_size: database_pool_size?,
        database_pool_wait: database_pool_wait?,
        password_hashes_at_once: password_hashes_at_once?,
        catalog_cache_bytes: catalog_cache_bytes?,
        max_body_bytes: max_body_bytes?,
        request_timeout: request_timeout?,
        header_timeout: header_timeout?,
        keep_alive_timeout: keep_alive_timeout?,
        max_connections: max_connections?,
        max_connections_per_address: max_connections_per_address?,
        shutdown_grace: shutdown_grace?,
        log_level: log_level?,
        log_format: log_format?,
        graphiql_enabled: graphiql_enabled?,
        introspection_enabled: introspection_enabled?,
        cors_allowed_origins,
        order_payment_ttl: order_payment_ttl?,
        stripe_api_base: stripe_api_base?,
        stripe_timeout: stripe_timeout?,
        jobs_poll: jobs_poll?,
        session_ttl: session_ttl?,
        mfa_required_for_admins: mfa_required_for_admins?,
        quotas: rate_limit_enabled?.then_some(quotas?),
        trusted_proxies,
    })
}

fn quotas(reader: &mut Reader<'_>) -> Option<Quotas> {
    let anonymous = reader.required(&table::RATE_LIMIT_ANONYMOUS);
    let customer = reader.required(&table::RATE_LIMIT_CUSTOMER);
    let staff = reader.required(&table::RATE_LIMIT_STAFF);
    let service = reader.required(&table::RATE_LIMIT_SERVICE);
    let login = reader.required(&table::RATE_LIMIT_LOGIN);
    let register = reader.required(&table::RATE_LIMIT_REGISTER);
    let tenant = reader.required(&table::RATE_LIMIT_TENANT);
    Some(Quotas {
        anonymous: anonymous?,
        customer: customer?,
        staff: staff?,
        service: service?,
        login: login?,
        register: register?,
        tenant: tenant?,
    })
}
