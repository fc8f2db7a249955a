//! From text to value. Errors say what would be right, and fit after "must be".

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::rsa::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{LogFormat, Origins};
use crate::domain::limits::Quota;

/// A whole number between two bounds, which both belong to it.
pub(super) fn number<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(text: &str) -> Result<T, String> {
    let number: Option<u64> = text.parse().ok();
    number
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("a whole number from {MIN} to {MAX}"))
}

/// A number of seconds.
pub(super) fn seconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    number::<u64, MIN, MAX>(text).map(Duration::from_secs)
}

/// A number of milliseconds.
pub(super) fn milliseconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    number::<u64, MIN, MAX>(text).map(Duration::from_millis)
}

/// A time with its unit, or in seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1));
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .filter(|seconds| (1..=31_536_000).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "a time of a second to a year, like 90s, 60m, 2h or 3d".to_owned())
}

/// A secret, whatever it looks like.
pub(super) fn secret(text: &str) -> Result<SecretString, String> {
    match text.trim() {
        "" => Err("something that is not blank".to_owned()),
        text => Ok(text.into()),
    }
}

/// Secrets, with commas between them.
pub(super) fn secrets(text: &str) -> Result<Vec<SecretString>, String> {
    let blank = |_| "secrets with commas between them, none of which is blank".to_owned();
    text.split(',').map(|one| secret(one).map_err(blank)).collect()
}

/// Where an API is: by HTTPS, unless it is on this machine.
pub(super) fn api_base(text: &str) -> Result<String, String> {
    let is_right = |url: &reqwest::Url| {
        let is_safe = match url.scheme() {
            "https" => url.has_host(),
            "http" => matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")),
            _ => false,
        };
        is_safe && url.username().is_empty() && url.password().is_none() && !text.contains(['?', '#'])
    };
    let url = reqwest::Url::parse(text).ok().filter(is_right);
    // As it was understood: what decides by its beginning must not meet HTTP:// in capitals.
    url.map(|url| url.as_str().trim_end_matches('/').to_owned()).ok_or_else(|| {
        "an https:// URL, or an http:// one on this machine, without user, query and fragment".to_owned()
    })
}

/// An address to listen on.
pub(super) fn ip_address(text: &str) -> Result<IpAddr, String> {
    from_str(text, "an IP address, like 0.0.0.0 or ::1")
}

/// A switch.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    from_str(text, "true or false")
}

/// How log lines look.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("json or text".to_owned()),
    }
}

/// Directives for `EnvFilter`.
///
/// A word that is neither a level nor `target=level` is refused, although `EnvFilter` takes it for a target: with
/// `LOG_LEVEL=wran` it would log nothing at all.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    let plausible = |directive: &str| directive.contains(['=', '[']) || directive.trim().parse::<LevelFilter>().is_ok();
    if text.split(',').all(plausible) && EnvFilter::try_new(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("off, error, warn, info, debug or trace, or a list like info,mercato::db=debug".to_owned())
    }
}

/// A domain, in lower case.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(letter) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a domain without scheme, port and path, like shops.example.com".to_owned())
    }
}

/// Origins with commas between them, or `*`.
pub(super) fn origins(text: &str) -> Result<Origins, String> {
    if text == "*" {
        return Ok(Origins::Any);
    }
    let origins: Option<_> = text.split(',').map(|one| origin(one.trim())).collect();
    origins.map(Origins::Listed).ok_or_else(|| {
        "* alone, or origins like https://shop.example.com or http://localhost:5173, without path, with commas between them"
            .to_owned()
    })
}

/// An origin as browsers write it: in lower case, and without the port that everybody expects.
fn origin(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    // A pattern would never match: it is compared, not interpreted.
    let is_plain = !authority.is_empty() && !authority.contains(['/', '\\', '?', '#', '@', '*']);
    let url = reqwest::Url::parse(text).ok().filter(|url| is_web && is_plain && url.has_host())?;
    Some(url.origin().ascii_serialization())
}

const POSTGRES_URL: &str = "like postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, with %40 for @, %3A for :, %2F for / and \
                            %3F for ? in passwords; a part cannot be read";

/// The URL of a PostgreSQL database.
pub(super) fn postgres_url(text: &str) -> Result<SecretString, String> {
    match scheme(text) {
        Some("postgresql" | "postgres") if text.parse::<tokio_postgres::Config>().is_ok() => Ok(text.into()),
        // What is wrong may be a part of the password that was taken for something else, and is not shown.
        Some("postgresql" | "postgres") => Err(POSTGRES_URL.to_owned()),
        _ => Err("a URL that starts with postgresql:// or postgres://".to_owned()),
    }
}

/// The URL of a Redis server.
pub(super) fn redis_url(text: &str) -> Result<SecretString, String> {
    match scheme(text) {
        Some("redis" | "unix" | "redis+unix") => Ok(text.into()),
        Some("rediss") => {
            Err("a redis:// or unix:// URL: this server is built without TLS for Redis, which rediss:// \
                               asks for; reach Redis through a private network or a TLS tunnel"
                .to_owned())
        }
        _ => Err("a URL that starts with redis://, unix:// or redis+unix://".to_owned()),
    }
}

/// RSA private keys in PEM, as one line with `\n` for line ends if need be.
pub(super) fn private_key(text: &str) -> Result<SecretString, String> {
    let text = text.replace("\\n", "\n");
    let blocks = pem::parse_many(&text).unwrap_or_default();
    let problem = if blocks.is_empty() { Some("there is no PEM") } else { blocks.iter().find_map(why_not_a_key) };
    match problem {
        None => Ok(text.into()),
        Some(problem) => Err(format!(
            "an RSA private key of 2048 bits or more in PEM, which starts with -----BEGIN PRIVATE KEY-----; {problem}"
        )),
    }
}

const OF_NO_USE: &str = "this one is damaged, too short or of another kind";

/// What keeps a block of PEM from signing.
fn why_not_a_key(block: &pem::Pem) -> Option<&'static str> {
    let read = match block.tag() {
        "PRIVATE KEY" => KeyPair::from_pkcs8(block.contents()),
        "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()),
        "ENCRYPTED PRIVATE KEY" => return Some("this one is encrypted"),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => return Some("this one is public"),
        _ => return Some(OF_NO_USE),
    };
    read.err().map(|_| OF_NO_USE)
}

/// Keys of 32 bytes in base64, with commas between them.
pub(super) fn encryption_keys(text: &str) -> Result<Vec<SecretString>, String> {
    let is_key = |key: &&str| STANDARD.decode(key).is_ok_and(|key| key.len() == 32);
    let keys: Vec<_> = text.split(',').map(str::trim).collect();
    if keys.iter().all(is_key) {
        Ok(keys.into_iter().map(Into::into).collect())
    } else {
        Err("32 bytes in base64, or several of them with commas; `mercato keys generate --kind data` makes them"
            .to_owned())
    }
}

/// How much in what time.
pub(super) fn quota(text: &str) -> Result<Quota, String> {
    Quota::parse(text)
        .ok_or_else(|| "a number and a period, like 100/s, 6000/m or 50000/h; at most a million a second".to_owned())
}

/// The least that may be had at once of what requests cost: with less, a page of a hundred orders would never be answered.
const LEAST_BUDGET: u32 = 5_000;

/// A quota of costs.
pub(super) fn budget(text: &str) -> Result<Quota, String> {
    let quota = quota(text)?;
    if quota.units() < LEAST_BUDGET {
        return Err(format!(
            "at least {LEAST_BUDGET} units, like {LEAST_BUDGET}/m: the dearest request costs that much"
        ));
    }
    Ok(quota)
}

/// Addresses and networks, with commas between them. What they say is believed, so that not everybody can be one.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    let networks: Option<Vec<IpNet>> = text.split(',').map(|text| network(text.trim())).collect();
    let networks = networks.filter(|networks| networks.iter().all(|network| network.prefix_len() > 0));
    networks.ok_or_else(|| "addresses or networks with commas between them, like 10.0.0.0/8,192.168.1.7".to_owned())
}

fn from_str<T: FromStr>(text: &str, right: impl fmt::Display) -> Result<T, String> {
    text.parse().map_err(|_| right.to_string())
}

/// What stands before `://`, if something stands behind it.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    (!rest.is_empty()).then_some(scheme)
}
