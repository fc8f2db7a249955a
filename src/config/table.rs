//! What can be set.

use std::borrow::Cow;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::{LogFormat, Mode, Origins, parse};
use crate::domain::limits::Quota;

/// A setting whose values are of one type.
pub(super) struct Setting<T> {
    pub(super) about: About,
    /// From text to value, or what would be right.
    pub(super) parse: fn(&str) -> Result<T, String>,
}

/// What there is to know about a setting, whatever its type.
#[derive(Clone, Copy)]
pub(super) struct About {
    /// The variable.
    pub(super) name: &'static str,
    /// What it sets: a phrase that fits behind a colon.
    pub(super) what: &'static str,
    /// What stands for a value in help texts.
    pub(super) value: &'static str,
    /// A value to start from, where there is no default.
    pub(super) example: &'static str,
    /// What counts when it is not set.
    pub(super) default: Default,
    /// Whether no output may show it. It can be read from a file then: the one that `NAME_FILE` names.
    pub(super) secret: bool,
    /// The commands that do not start without it.
    pub(super) needed_by: &'static str,
}

/// What counts when nothing is set.
#[derive(Clone, Copy)]
pub(super) enum Default {
    Nothing,
    Value(&'static str),
    PerMode {
        serve: &'static str,
        dev: &'static str,
    },
    /// How many cores this process may use.
    Cores,
}

impl Default {
    /// As if it had been set to this.
    pub(super) fn value(self, mode: Mode) -> Option<Cow<'static, str>> {
        match (self, mode) {
            (Self::Nothing, _) => None,
            (Self::Value(value), _)
            | (Self::PerMode { serve: value, .. }, Mode::Serve)
            | (Self::PerMode { dev: value, .. }, Mode::Dev) => Some(value.into()),
            (Self::Cores, _) => {
                let cores = thread::available_parallelism().map_or(1, usize::from);
                Some(cores.to_string().into())
            }
        }
    }
}

/// Every setting, in the order in which help texts show them.
pub(super) static TABLE: [&About; 41] = [
    &DATABASE_URL.about,
    &MIGRATION_DATABASE_URL.about,
    &REDIS_URL.about,
    &JWT_PRIVATE_KEY.about,
    &DATA_ENCRYPTION_KEY.about,
    &STRIPE_SECRET_KEY.about,
    &STRIPE_WEBHOOK_SECRET.about,
    &HOST.about,
    &PORT.about,
    &BASE_DOMAIN.about,
    &GRAPHIQL_ENABLED.about,
    &INTROSPECTION_ENABLED.about,
    &CORS_ALLOWED_ORIGINS.about,
    &SESSION_TTL.about,
    &MFA_REQUIRED_FOR_ADMINS.about,
    &RATE_LIMIT_ENABLED.about,
    &RATE_LIMIT_ANONYMOUS.about,
    &RATE_LIMIT_CUSTOMER.about,
    &RATE_LIMIT_STAFF.about,
    &RATE_LIMIT_SERVICE.about,
    &RATE_LIMIT_LOGIN.about,
    &RATE_LIMIT_REGISTER.about,
    &RATE_LIMIT_TENANT.about,
    &TRUSTED_PROXIES.about,
    &ORDER_PAYMENT_TTL.about,
    &STRIPE_API_BASE.about,
    &STRIPE_TIMEOUT_MS.about,
    &JOBS_POLL_MS.about,
    &CATALOG_CACHE_BYTES.about,
    &MAX_BODY_BYTES.about,
    &REQUEST_TIMEOUT_MS.about,
    &HEADER_TIMEOUT_MS.about,
    &KEEP_ALIVE_TIMEOUT_MS.about,
    &MAX_CONNECTIONS.about,
    &MAX_CONNECTIONS_PER_ADDRESS.about,
    &SHUTDOWN_GRACE_SECONDS.about,
    &LOG_LEVEL.about,
    &LOG_FORMAT.about,
    &DATABASE_POOL_SIZE.about,
    &DATABASE_POOL_WAIT_MS.about,
    &PASSWORD_HASHES_AT_ONCE.about,
];

pub(super) static DATABASE_URL: Setting<SecretString> = Setting::new("DATABASE_URL", "URL", parse::postgres_url)
    .what("the PostgreSQL URL of the role mercato_app, like postgresql://mercato_app:PASSWORD@HOST/mercato")
    .example("postgresql://mercato_app:PASSWORD@localhost/mercato")
    .secret()
    .needed_by("serve and seed");

pub(super) static MIGRATION_DATABASE_URL: Setting<SecretString> =
    Setting::new("MIGRATION_DATABASE_URL", "URL", parse::postgres_url)
        .what("the PostgreSQL URL of the role mercato_owner, like postgresql://mercato_owner:PASSWORD@HOST/mercato")
        .example("postgresql://mercato_owner:PASSWORD@localhost/mercato")
        .secret()
        .needed_by("migrate");

pub(super) static REDIS_URL: Setting<SecretString> = Setting::new("REDIS_URL", "URL", parse::redis_url)
    .what("the URL of Redis, like redis://:PASSWORD@HOST:6379 or unix:///path/to/redis.sock")
    .example("redis://localhost:6379")
    .secret()
    .needed_by("serve");

pub(super) static JWT_PRIVATE_KEY: Setting<SecretString> = Setting::new("JWT_PRIVATE_KEY", "PEM", parse::private_key)
    .what(
        "the RSA key that signs access tokens: PEM, with \\n for line ends; `mercato keys generate` makes one. Several, one \
         behind the other, while one replaces another: the first one signs",
    )
    .example(r#""-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n""#)
    .secret()
    .needed_by("serve");

pub(super) static DATA_ENCRYPTION_KEY: Setting<Vec<SecretString>> = Setting::new(
    "DATA_ENCRYPTION_KEY",
    "KEYS",
    parse::encryption_keys,
)
.what(
    "what seals secrets in the database: 32 bytes in base64; `mercato keys generate --kind data` makes one. Several, \
             with commas, while one replaces another: the first one seals",
)
// No key: who copies it must not run with one that everybody knows.
.example(r#""the output of: mercato keys generate --kind data""#)
.secret()
.needed_by("serve");

pub(super) static STRIPE_SECRET_KEY: Setting<SecretString> = Setting::new("STRIPE_SECRET_KEY", "KEY", parse::secret)
    .what("the secret key of the Stripe account that takes the money; dev without it simulates Stripe")
    .example("sk_live_...")
    .secret()
    .needed_by("serve");

pub(super) static STRIPE_WEBHOOK_SECRET: Setting<Vec<SecretString>> =
    Setting::new("STRIPE_WEBHOOK_SECRET", "SECRETS", parse::secrets)
        .what(
            "what signs Stripe's webhooks to /api/v1/webhooks/stripe; several, with commas, while one replaces another",
        )
        .example("whsec_...")
        .secret()
        .needed_by("serve");

pub(super) static SESSION_TTL: Setting<Duration> = Setting::new("SESSION_TTL", "DURATION", parse::duration)
    .what("how long one can stay logged in, by refresh tokens, without giving the password again: 12h, 30d")
    .default(Default::Value("30d"));

pub(super) static MFA_REQUIRED_FOR_ADMINS: Setting<bool> =
    Setting::new("MFA_REQUIRED_FOR_ADMINS", "true|false", parse::switch)
        .what("whether admins must set up a second factor before they may do anything else")
        .default(Default::PerMode { serve: "true", dev: "false" });

pub(super) static RATE_LIMIT_ENABLED: Setting<bool> = Setting::new("RATE_LIMIT_ENABLED", "true|false", parse::switch)
    .what("whether requests are limited; guessing passwords and codes always is")
    .default(Default::Value("true"));

pub(super) static RATE_LIMIT_ANONYMOUS: Setting<Quota> = budget(
    "RATE_LIMIT_ANONYMOUS",
    "what requests without a user may cost in a second, minute or hour (s, m, h), for each address; docs/limits.md tells \
     what costs what",
    Default::PerMode { serve: "30000/m", dev: "3000000/m" },
);

pub(super) static RATE_LIMIT_CUSTOMER: Setting<Quota> = budget(
    "RATE_LIMIT_CUSTOMER",
    "the same for each customer",
    Default::PerMode { serve: "30000/m", dev: "3000000/m" },
);

pub(super) static RATE_LIMIT_STAFF: Setting<Quota> = budget(
    "RATE_LIMIT_STAFF",
    "the same for each merchant and admin",
    Default::PerMode { serve: "120000/m", dev: "3000000/m" },
);

pub(super) static RATE_LIMIT_SERVICE: Setting<Quota> = budget(
    "RATE_LIMIT_SERVICE",
    "the same for each service account",
    Default::PerMode { serve: "600000/m", dev: "3000000/m" },
);

pub(super) static RATE_LIMIT_LOGIN: Setting<Quota> = quota(
    "RATE_LIMIT_LOGIN",
    "how often an address may log in, register or give a password in any other way",
    Default::PerMode { serve: "60/m", dev: "6000/m" },
);

pub(super) static RATE_LIMIT_REGISTER: Setting<Quota> = quota(
    "RATE_LIMIT_REGISTER",
    "how many shops may be registered from an address",
    Default::PerMode { serve: "10/h", dev: "6000/m" },
);

pub(super) static RATE_LIMIT_TENANT: Setting<Quota> = budget(
    "RATE_LIMIT_TENANT",
    "what the requests of all customers of a shop may cost together, and those of its staff and machines",
    Default::Value("3000000/m"),
);

pub(super) static TRUSTED_PROXIES: Setting<Vec<IpNet>> = Setting::new("TRUSTED_PROXIES", "NETWORKS", parse::networks)
    .what(
        "the addresses and networks of proxies whose X-Forwarded-For is believed, with commas between them; without it \
             that header is ignored, and everybody behind a proxy counts as one",
    )
    .example("10.0.0.0/8,192.168.1.7");

pub(super) static ORDER_PAYMENT_TTL: Setting<Duration> = Setting::new("ORDER_PAYMENT_TTL", "DURATION", parse::duration)
    .what("how long an order may wait for its payment before it expires: 90s, 60m, 2h; a plain number is seconds")
    .default(Default::Value("60m"));

pub(super) static STRIPE_API_BASE: Setting<String> = Setting::new("STRIPE_API_BASE", "URL", parse::api_base)
    .what("where Stripe's API is")
    .default(Default::Value("https://api.stripe.com"));

pub(super) static STRIPE_TIMEOUT_MS: Setting<Duration> =
    Setting::new("STRIPE_TIMEOUT_MS", "MS", parse::milliseconds::<1, 60_000>)
        .what("how long one attempt to ask Stripe may take; there are three at most")
        .default(Default::Value("10000"));

pub(super) static JOBS_POLL_MS: Setting<Duration> =
    Setting::new("JOBS_POLL_MS", "MS", parse::milliseconds::<1, 3_600_000>)
        .what("how often background work is looked for")
        .default(Default::Value("2000"));

pub(super) static HOST: Setting<IpAddr> = Setting::new("HOST", "ADDRESS", parse::ip_address)
    .what("the IP address to listen on")
    .default(Default::PerMode { serve: "0.0.0.0", dev: "127.0.0.1" });

pub(super) static PORT: Setting<u16> = Setting::new("PORT", "NUMBER", parse::number::<u16, 0, 65535>)
    .what("the TCP port to listen on; 0 takes any that is free")
    .default(Default::Value("3000"));

pub(super) static BASE_DOMAIN: Setting<String> = Setting::new("BASE_DOMAIN", "DOMAIN", parse::domain)
    .what("the domain whose subdomains name shops: with shops.example.com, acme.shops.example.com is the shop acme")
    .example("shops.example.com");

pub(super) static GRAPHIQL_ENABLED: Setting<bool> = Setting::new("GRAPHIQL_ENABLED", "true|false", parse::switch)
    .what("whether browsers get GraphiQL at /graphql")
    .default(Default::PerMode { serve: "false", dev: "true" });

pub(super) static INTROSPECTION_ENABLED: Setting<bool> =
    Setting::new("INTROSPECTION_ENABLED", "true|false", parse::switch)
        .what("whether clients may ask for the GraphQL schema; without, GraphiQL cannot complete or explain anything")
        .default(Default::Value("true"));

pub(super) static CORS_ALLOWED_ORIGINS: Setting<Origins> =
    Setting::new("CORS_ALLOWED_ORIGINS", "ORIGINS", parse::origins)
        .what("the origins whose pages may use the API from a browser, with commas between them, or * for all")
        .example("https://shop.example.com,http://localhost:5173");

pub(super) static MAX_BODY_BYTES: Setting<usize> =
    Setting::new("MAX_BODY_BYTES", "BYTES", parse::number::<usize, 1, 104_857_600>)
        .what("the largest request body that is read, also when it comes compressed and is unpacked")
        .default(Default::Value("1048576"));

pub(super) static REQUEST_TIMEOUT_MS: Setting<Duration> =
    Setting::new("REQUEST_TIMEOUT_MS", "MS", parse::milliseconds::<1, 600_000>)
        .what("how long an operation may take before it is given up and answered with 503; and a body to arrive")
        .default(Default::Value("30000"));

pub(super) static CATALOG_CACHE_BYTES: Setting<u64> = Setting::new(
    "CATALOG_CACHE_BYTES",
    "BYTES",
    parse::number::<u64, 0, 1_000_000_000_000>,
)
.what(
    "how much memory answers about catalogs may take, which are kept for visitors, and how much of them goes to \
             Redis in five minutes; 0 keeps none",
)
.default(Default::Value("12582912"));

pub(super) static HEADER_TIMEOUT_MS: Setting<Duration> =
    Setting::new("HEADER_TIMEOUT_MS", "MS", parse::milliseconds::<1, 600_000>)
        .what("how long the head of a request may take to arrive before the connection is closed")
        .default(Default::Value("10000"));

pub(super) static KEEP_ALIVE_TIMEOUT_MS: Setting<Duration> =
    Setting::new("KEEP_ALIVE_TIMEOUT_MS", "MS", parse::milliseconds::<1, 3_600_000>)
        .what("how long a connection may stay open between requests; longer than a proxy in front keeps its own")
        .default(Default::Value("75000"));

pub(super) static MAX_CONNECTIONS: Setting<usize> =
    Setting::new("MAX_CONNECTIONS", "NUMBER", parse::number::<usize, 1, 1_000_000>)
        .what("how many connections of clients may be open; further ones wait")
        .default(Default::Value("10000"));

pub(super) static MAX_CONNECTIONS_PER_ADDRESS: Setting<usize> =
    Setting::new("MAX_CONNECTIONS_PER_ADDRESS", "NUMBER", parse::number::<usize, 1, 1_000_000>)
        .what("how many of them one address (of IPv6: /64) may have, outside TRUSTED_PROXIES; further ones are closed")
        .default(Default::Value("1000"));

pub(super) static SHUTDOWN_GRACE_SECONDS: Setting<Duration> =
    Setting::new("SHUTDOWN_GRACE_SECONDS", "SECONDS", parse::seconds::<0, 3600>)
        .what("how long requests under way may take to finish when the server is told to stop")
        .default(Default::Value("30"));

pub(super) static LOG_LEVEL: Setting<String> = Setting::new("LOG_LEVEL", "LEVEL", parse::log_level)
    .what(
        "the least level that is logged (off, error, warn, info, debug, trace), or a list like info,mercato::db=debug",
    )
    .default(Default::Value("info"));

pub(super) static LOG_FORMAT: Setting<LogFormat> = Setting::new("LOG_FORMAT", "json|text", parse::log_format)
    .what("one JSON object a line, or text for people")
    .default(Default::PerMode { serve: "json", dev: "text" });

pub(super) static DATABASE_POOL_SIZE: Setting<u32> =
    Setting::new("DATABASE_POOL_SIZE", "NUMBER", parse::number::<u32, 1, 1000>)
        .what("how many connections to PostgreSQL may be open")
        .default(Default::Value("20"));

pub(super) static DATABASE_POOL_WAIT_MS: Setting<Duration> =
    Setting::new("DATABASE_POOL_WAIT_MS", "MS", parse::milliseconds::<1, 60_000>)
        .what("how long a request waits for one of them before it is answered with 503")
        .default(Default::Value("3000"));

pub(super) static PASSWORD_HASHES_AT_ONCE: Setting<usize> =
    Setting::new("PASSWORD_HASHES_AT_ONCE", "NUMBER", parse::number::<usize, 1, 1024>)
        .what("how many passwords are hashed at the same time; each takes a core and 19 MiB")
        .default(Default::Cores)
        .example("2");

/// A quota of costs: it must hold the dearest that is usual.
const fn budget(name: &'static str, what: &'static str, default: Default) -> Setting<Quota> {
    Setting::new(name, "N/PERIOD", parse::budget).what(what).default(default)
}

/// A quota of attempts.
const fn quota(name: &'static str, what: &'static str, default: Default) -> Setting<Quota> {
    Setting::new(name, "N/PERIOD", parse::quota).what(what).default(default)
}

impl<T> Setting<T> {
    const fn new(name: &'static str, value: &'static str, parse: fn(&str) -> Result<T, String>) -> Self {
        let about =
            About { name, what: "", value, example: "", default: Default::Nothing, secret: false, needed_by: "" };
        Self { about, parse }
    }

    const fn what(mut self, what: &'static str) -> Self {
        self.about.what = what;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.about.example = example;
        self
    }

    const fn default(mut self, default: Default) -> Self {
        self.about.default = default;
        self
    }

    const fn secret(mut self) -> Self {
        self.about.secret = true;
        self
    }

    const fn needed_by(mut self, commands: &'static str) -> Self {
        self.about.needed_by = commands;
        self
    }
}
