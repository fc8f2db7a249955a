use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use secrecy::ExposeSecret;

use super::parse::private_key;
use super::table::TABLE;
use super::*;

/// An RSA key that nobody uses, as one line.
static PEM: LazyLock<String> = LazyLock::new(|| pem("PRIVATE KEY", &KEY));
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| pem::parse(include_str!("test_key.txt")).unwrap().into_contents());

fn pem(tag: &str, contents: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, contents)).replace("\r\n", "\\n")
}

fn complete() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("DATABASE_URL", "postgresql://mercato_app:hunter2@db/mercato"),
        ("REDIS_URL", "redis://:hunter2@cache:6379"),
        ("JWT_PRIVATE_KEY", PEM.as_str()),
        ("DATA_ENCRYPTION_KEY", "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8="),
        ("STRIPE_SECRET_KEY", "sk_hunter2"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_hunter2,whsec_hunter2_too"),
    ])
}

fn with(changes: &[(&'static str, &'static str)]) -> BTreeMap<&'static str, &'static str> {
    let mut set = complete();
    set.extend(changes.iter().copied());
    set
}

fn lookup(set: BTreeMap<&'static str, &'static str>) -> impl Fn(&str) -> Option<String> {
    move |name| set.get(name).map(|value| (*value).to_owned())
}

/// What `serve` says is wrong, without the heading.
fn problems(set: BTreeMap<&'static str, &'static str>) -> Vec<String> {
    let error = serve(&lookup(set)).expect_err("something is wrong").to_string();
    error.lines().skip(1).map(|line| line.trim_start().to_owned()).collect()
}

/// What `serve` says of one wrong value.
fn problem(name: &'static str, value: &'static str) -> String {
    let problems = problems(with(&[(name, value)]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn what_is_not_set_has_the_documented_default() {
    let Config { server, migration_database_url, .. } = serve(&lookup(complete())).unwrap();
    assert_eq!((server.host, server.port), (Ipv4Addr::UNSPECIFIED.into(), 3000));
    assert_eq!(server.database_pool_size, 20);
    assert_eq!(server.database_pool_wait, Duration::from_secs(3));
    assert_eq!((server.max_body_bytes, server.catalog_cache_bytes), (1 << 20, 12 << 20));
    assert_eq!(server.shutdown_grace, Duration::from_secs(30));
    assert_eq!((server.log_level.as_str(), server.log_format), ("info", LogFormat::Json));
    assert!(!server.graphiql_enabled && server.introspection_enabled && server.cors_allowed_origins.is_none());
    assert_eq!((server.header_timeout.as_secs(), server.keep_alive_timeout.as_secs()), (10, 75));
    assert_eq!((server.max_connections, server.max_connections_per_address), (10_000, 1000));
    assert!(server.password_hashes_at_once >= 1);
    assert!(server.base_domain.is_none() && migration_database_url.is_none());
    assert_eq!((server.stripe_api_base.as_str(), server.stripe_timeout.as_secs()), ("https://api.stripe.com", 10));
    assert_eq!((server.order_payment_ttl, server.jobs_poll), (Duration::from_hours(1), Duration::from_secs(2)));
}

#[test]
fn dev_needs_nothing_and_stays_on_this_machine() {
    let config = dev(&|_| None).unwrap();
    assert_eq!(config.server.host, Ipv4Addr::LOCALHOST);
    assert_eq!(config.server.log_format, LogFormat::Text);
    assert!(config.server.graphiql_enabled && config.server.cors_allowed_origins.is_none());
    assert!(config.database_url.is_none() && config.redis_url.is_none() && config.jwt_private_key.is_none());
    assert!(config.stripe_secret_key.is_none() && config.stripe_webhook_secrets.is_none());

    let config = dev(&lookup(with(&[("LOG_FORMAT", "json"), ("HOST", "::")]))).unwrap();
    assert_eq!(config.server.host, Ipv6Addr::UNSPECIFIED);
    assert_eq!(config.server.log_format, LogFormat::Json);
    assert!(config.database_url.is_some() && config.redis_url.is_some() && config.jwt_private_key.is_some());
    assert!(config.stripe_secret_key.is_some() && config.stripe_webhook_secrets.is_some());
}

#[test]
fn values_are_read() {
    let config = serve(&lookup(with(&[
        ("PORT", " 8080 "),
        ("BASE_DOMAIN", "Shops.example.com"),
        ("DATABASE_POOL_WAIT_MS", "250"),
        ("SHUTDOWN_GRACE_SECONDS", "0"),
        ("GRAPHIQL_ENABLED", "true"),
        ("INTROSPECTION_ENABLED", "false"),
        ("LOG_LEVEL", "warn,mercato::db=debug"),
        ("PASSWORD_HASHES_AT_ONCE", "7"),
        ("MAX_BODY_BYTES", ""),
    ])))
    .unwrap();
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.server.base_domain.as_deref(), Some("shops.example.com"));
    assert_eq!(config.server.database_pool_wait, Duration::from_millis(250));
    assert_eq!(config.server.shutdown_grace, Duration::ZERO);
    assert!(config.server.graphiql_enabled && !config.server.introspection_enabled);
    assert_eq!(config.server.log_level, "warn,mercato::db=debug");
    assert_eq!(config.server.password_hashes_at_once, 7);
    assert_eq!(config.server.max_body_bytes, 1 << 20);
    assert_eq!(config.jwt_private_key.expose_secret(), PEM.replace("\\n", "\n"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let wrong =
        BTreeMap::from([("PORT", "65536"), ("LOG_FORMAT", "xml"), ("REDIS_URL", " "), ("DATABASE_POOL_SIZE", "0")]);
    let expected = [
        "PORT must be a whole number from 0 to 65535, not \"65536\"",
        "DATABASE_POOL_SIZE must be a whole number from 1 to 1000, not \"0\"",
        "LOG_FORMAT must be json or text, not \"xml\"",
        "DATABASE_URL is not set: the PostgreSQL URL of the role mercato_app, like \
         postgresql://mercato_app:PASSWORD@HOST/mercato",
        "REDIS_URL is not set: the URL of Redis, like redis://:PASSWORD@HOST:6379 or unix:///path/to/redis.sock",
        "JWT_PRIVATE_KEY is not set: the RSA key that signs access tokens: PEM, with \\n for line ends; \
         `mercato keys generate` makes one. Several, one behind the other, while one replaces another: the first one signs",
        "DATA_ENCRYPTION_KEY is not set: what seals secrets in the database: 32 bytes in base64; \
         `mercato keys generate --kind data` makes one. Several, with commas, while one replaces another: the first one seals",
        "STRIPE_SECRET_KEY is not set: the secret key of the Stripe account that takes the money; dev without it simulates \
         Stripe",
        "STRIPE_WEBHOOK_SECRET is not set: what signs Stripe's webhooks to /api/v1/webhooks/stripe; several, with commas, \
         while one replaces another",
    ];
    assert_eq!(problems(wrong), expected);
}

#[test]
fn each_wrong_value_is_told_what_would_be_right() {
    assert_eq!(problem("HOST", "localhost"), r#"HOST must be an IP address, like 0.0.0.0 or ::1, not "localhost""#);
    assert_eq!(problem("GRAPHIQL_ENABLED", "yes"), r#"GRAPHIQL_ENABLED must be true or false, not "yes""#);
    for level in ["wran", "info,mercato", "mercato=loud", "[", "info;debug"] {
        assert!(problem("LOG_LEVEL", level).starts_with("LOG_LEVEL must be off, error, warn, info"), "{level}");
    }
    for domain in ["https://example.com", "example.com:80", "example.com/", ".example.com", "a..b", "-a.com", "ä.de"] {
        assert!(problem("BASE_DOMAIN", domain).starts_with("BASE_DOMAIN must be a domain"), "{domain}");
    }
    for number in ["-1", "1.5", "1e3", "0x10", "1 000", "104857601"] {
        assert!(problem("MAX_BODY_BYTES", number).starts_with("MAX_BODY_BYTES must be a whole number"), "{number}");
    }
}

#[test]
fn urls_are_checked_by_scheme() {
    for url in ["postgres://db/m", "postgresql:///m?host=/run/postgresql"] {
        assert!(serve(&lookup(with(&[("DATABASE_URL", url)]))).is_ok(), "{url}");
    }
    for url in ["redis://cache", "unix:///run/redis.sock", "redis+unix:///run/redis.sock?db=1"] {
        assert!(serve(&lookup(with(&[("REDIS_URL", url)]))).is_ok(), "{url}");
    }
    let expected = "DATABASE_URL must be a URL that starts with postgresql:// or postgres://";
    for url in ["mysql://hunter2@db/m", "host=db password=hunter2", "postgresql://", "localhost"] {
        assert_eq!(problem("DATABASE_URL", url), expected);
    }
    assert_eq!(
        problem("REDIS_URL", "http://hunter2@cache"),
        "REDIS_URL must be a URL that starts with redis://, unix:// or redis+unix://"
    );
    assert!(problem("REDIS_URL", "rediss://:hunter2@cache").contains("built without TLS"));
}

#[test]
fn urls_of_postgresql_are_read_whole() {
    for wrong in [
        "postgresql://app:hunter2@db:port/m",
        "postgresql://app:hunter2@db:70000/m",
        "postgresql://app:hunter@2?hunter2=x@db/m",
        "postgresql://app:hunter2@db/m?sslmode=hunter2",
    ] {
        let problem = problem("DATABASE_URL", wrong);
        assert!(
            problem.starts_with("DATABASE_URL must be like postgresql://") && !problem.contains("hunter2"),
            "{problem}"
        );
    }
}

#[test]
fn keys_that_sign_are_whole_rsa_keys() {
    let elliptic = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap().to_pkcs8v1().unwrap();
    // Behind the 26 bytes that say that it is RSA: PKCS #1.
    let (whole, bare) = (PEM.as_str(), pem("RSA PRIVATE KEY", &KEY[26..]));
    for right in [whole, &bare, &format!("{whole}{bare}")] {
        assert!(private_key(right).is_ok(), "{right}");
    }
    let mut bent = KEY.clone();
    bent[100] ^= 1;
    for (wrong, why) in [
        ("", "there is no PEM"),
        (&whole[..whole.len() - 40], "there is no PEM"),
        (&pem("PRIVATE KEY", b"MERCATO"), "this one is damaged"),
        (&pem("PRIVATE KEY", &KEY[..KEY.len() - 1]), "this one is damaged"),
        (&pem("PRIVATE KEY", &bent), "this one is damaged"),
        (&pem("PRIVATE KEY", elliptic.as_ref()), "or of another kind"),
        (&pem("EC PRIVATE KEY", elliptic.as_ref()), "or of another kind"),
        (&pem("ENCRYPTED PRIVATE KEY", &KEY), "this one is encrypted"),
        (&pem("PUBLIC KEY", &KEY), "this one is public"),
        (&format!("{whole}{}", pem("PRIVATE KEY", b"MERCATO")), "this one is damaged"),
    ] {
        let error = private_key(wrong).unwrap_err();
        assert!(error.starts_with("an RSA private key") && error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn webhooks_are_signed_by_each_of_the_secrets() {
    let read = |text| serve(&lookup(with(&[("STRIPE_WEBHOOK_SECRET", text)]))).unwrap().stripe_webhook_secrets;
    let shown = |text| read(text).iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>();
    assert_eq!(shown("one"), ["one"]);
    assert_eq!(shown("one, two"), ["one", "two"]);
    for blank in [",", "one,", "one,,two"] {
        assert!(problem("STRIPE_WEBHOOK_SECRET", blank).ends_with("none of which is blank"), "{blank}");
    }
}

#[test]
fn the_time_to_pay_comes_with_its_unit() {
    let read = |text| serve(&lookup(with(&[("ORDER_PAYMENT_TTL", text)]))).unwrap().server.order_payment_ttl.as_secs();
    assert_eq!(["90", "90s", "60m", "2h", "3d"].map(read), [90, 90, 3600, 7200, 259_200]);
    for wrong in ["0", "0m", "m", "-1s", "1.5h", "60 m", "1w", "366d", "18446744073709551615d"] {
        assert!(problem("ORDER_PAYMENT_TTL", wrong).starts_with("ORDER_PAYMENT_TTL must be a time"), "{wrong}");
    }
}

#[test]
fn origins_are_read_as_browsers_write_them() {
    let read = |text| serve(&lookup(with(&[("CORS_ALLOWED_ORIGINS", text)]))).unwrap().server.cors_allowed_origins;
    let listed = |origins: &[&str]| Some(Origins::Listed(origins.iter().map(ToString::to_string).collect()));
    assert_eq!(read("*"), Some(Origins::Any));
    assert_eq!(read(""), None);
    assert_eq!(
        read("https://a.example, http://localhost:5173"),
        listed(&["https://a.example", "http://localhost:5173"])
    );
    assert_eq!(read("HTTPS://Shop.Example:443,http://[::1]:80"), listed(&["https://shop.example", "http://[::1]"]));
    for wrong in [
        "null",
        "shop.example",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://u@a",
        "https://*.a",
        "https://a:99999",
        "ftp://a",
        "https://a,",
        "https://a,*",
        "*,*",
        "https://a https://b",
    ] {
        assert!(problem("CORS_ALLOWED_ORIGINS", wrong).starts_with("CORS_ALLOWED_ORIGINS must be * alone"), "{wrong}");
    }
}

#[test]
fn stripe_is_asked_by_https_or_on_this_machine() {
    let read = |text| serve(&lookup(with(&[("STRIPE_API_BASE", text)]))).unwrap().server.stripe_api_base;
    assert_eq!(read("https://stripe.example.com/"), "https://stripe.example.com");
    assert_eq!(read("HTTP://localhost:12111/base/"), "http://localhost:12111/base");
    assert_eq!(read("http://[::1]:12111"), "http://[::1]:12111");
    for wrong in [
        "http://stripe.example.com",
        "ftp://localhost",
        "api.stripe.com",
        "https://a@b",
        "https://b/?c",
        "https://b/#c",
    ] {
        assert!(problem("STRIPE_API_BASE", wrong).starts_with("STRIPE_API_BASE must be an https:// URL"), "{wrong}");
    }
}

#[test]
fn a_secret_can_be_read_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let path: &'static str = file.path().to_str().unwrap().to_owned().leak();
    let in_file = || {
        let mut set = with(&[("JWT_PRIVATE_KEY_FILE", path)]);
        set.remove("JWT_PRIVATE_KEY");
        set
    };
    assert_eq!(
        problems(in_file()),
        ["JWT_PRIVATE_KEY_FILE must hold an RSA private key of 2048 bits or more in PEM, which starts with \
          -----BEGIN PRIVATE KEY-----; there is no PEM"]
    );

    let key = PEM.replace("\\n", "\n");
    file.write_all(key.as_bytes()).unwrap();
    assert_eq!(serve(&lookup(in_file())).unwrap().jwt_private_key.expose_secret(), key.trim_end());

    let both = problem("JWT_PRIVATE_KEY_FILE", path);
    assert_eq!(both, "JWT_PRIVATE_KEY and JWT_PRIVATE_KEY_FILE are both set: keep one");

    fs::remove_file(path).unwrap();
    let gone = problems(in_file());
    assert_eq!(gone.len(), 1);
    assert!(gone[0].starts_with(&format!("JWT_PRIVATE_KEY_FILE: cannot read {path}: No such file")), "{gone:?}");
}

#[test]
fn only_secrets_are_read_from_files() {
    assert!(serve(&lookup(with(&[("PORT_FILE", "/nowhere")]))).is_ok());
}

#[test]
fn migrate_and_seed_need_one_url_each() {
    let url = "postgresql://someone@db/mercato";
    let only = |name| lookup(BTreeMap::from([(name, url)]));
    assert_eq!(migrate(&only("MIGRATION_DATABASE_URL")).unwrap().expose_secret(), url);
    assert_eq!(seed(&only("DATABASE_URL")).unwrap().expose_secret(), url);
    assert!(migrate(&only("DATABASE_URL")).unwrap_err().to_string().contains("MIGRATION_DATABASE_URL is not set"));
    assert!(seed(&only("MIGRATION_DATABASE_URL")).unwrap_err().to_string().contains("  DATABASE_URL is not set"));
}

#[test]
fn secrets_are_shown_nowhere() {
    let secrets = [
        ("DATABASE_URL", "postgresql://app:hunter2@db/mercato"),
        ("MIGRATION_DATABASE_URL", "postgresql://owner:hunter2@db/mercato"),
        ("REDIS_URL", "redis://:hunter2@cache"),
    ];
    let config = serve(&lookup(with(&secrets))).unwrap();
    let shown = format!("{config:?} {:?}", dev(&lookup(with(&secrets))).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("BEGIN") && !shown.contains(&PEM[100..140]), "{shown}");
    assert!(shown.contains("REDACTED"));

    let keys = TABLE.iter().filter(|about| about.secret && !about.name.starts_with("STRIPE_"));
    for name in keys.map(|about| about.name) {
        assert!(!problem(name, "ftp://hunter2").contains("hunter2"), "{name}");
    }
}

#[test]
fn every_default_is_right_in_every_mode() {
    for mode in [Mode::Serve, Mode::Dev] {
        let mut reader = Reader::new(mode, &|_| None);
        let settings = server_settings(&mut reader);
        assert!(reader.finish(|| settings).is_ok(), "{mode:?}");
    }
}

#[test]
fn help_fits_a_terminal_and_names_every_setting() {
    let help = help();
    for about in TABLE {
        assert!(help.contains(&format!("\n  {}=", about.name)), "{}", about.name);
    }
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    let port = "
  PORT=NUMBER                         the TCP port to listen on; 0 takes any that is free
";
    assert!(help.contains(port), "{help}");
}

/// Whoever copies `.env.example` must not run with keys that everybody knows.
#[test]
fn example_keys_are_no_keys() {
    let examples: &'static str = env_example().leak();
    for name in ["JWT_PRIVATE_KEY", "DATA_ENCRYPTION_KEY"] {
        let example = examples.lines().find_map(|line| line.strip_prefix(&format!("#{name}="))).unwrap();
        assert!(problem(name, example.trim_matches('"')).starts_with(&format!("{name} must be")), "{name}");
    }
}

/// Compose hands on what it names: the rest of `.env` would be ignored without a word.
#[test]
fn compose_passes_every_setting_on() {
    let compose = include_str!("../../docker-compose.yml");
    let passes = |name: &str| compose.contains(&format!("\n      {name}:"));
    // HOST is the container's own affair.
    for name in TABLE.iter().map(|about| about.name).filter(|name| *name != "HOST") {
        assert!(passes(name) || passes(&format!("{name}_FILE")), "{name}");
    }
}

#[test]
fn env_example_is_up_to_date() {
    let committed = include_str!("../../.env.example");
    assert!(committed == env_example(), ".env.example is stale: run `make generated` and commit what it writes");
}
