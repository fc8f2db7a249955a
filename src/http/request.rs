//! Who asks: what the headers of a request say of its caller, found once for both transports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Once};

use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, RETRY_AFTER};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::domain::actor::RequestId;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::limits::{Charge, Meter};
use crate::error::{Error, Result, whole_seconds};
use crate::http::observe::Seen;
use crate::http::{HttpState, address};
use crate::services::auth::{self, Credentials, Identified, Origin};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const TENANT: HeaderName = HeaderName::from_static("x-tenant");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Finds out who asks and leaves an [`Identified`] for the transport, which shows a failure in its own shape.
pub async fn identify(
    State(http): State<Arc<HttpState>>,
    Extension(request_id): Extension<RequestId>,
    mut request: Request,
    next: Next,
) -> Response {
    let meter = Meter::default();
    let origin = Origin { request_id, address: client(&http, &request), meter: meter.clone() };
    let host = http.settings.base_domain.as_deref().and_then(|base| subdomain(host(&request)?, base));
    let credentials = credentials(request.headers(), host.as_deref());
    let identified = auth::identify(&http.engine.services, origin, credentials).await;
    if let (Ok(caller), Some(seen)) = (&identified, request.extensions().get::<Seen>()) {
        seen.caller(caller);
    }
    let key = identified.as_ref().ok().and_then(|caller| caller.idempotency.clone());
    request.extensions_mut().insert(Identified(identified.map_err(Arc::new)));
    let mut response = next.run(request).await;
    if key.is_some_and(|key| key.is_replayed()) {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(charge) = meter.get() {
        if !charge.verdict.is_allowed {
            http.engine.services.metrics.rate_limited(charge.policy);
        }
        tell(response.headers_mut(), &charge);
    }
    response
}

/// The client's address. Requests that came by no connection are nobody's.
fn client(http: &HttpState, request: &Request) -> IpAddr {
    let peer = request.extensions().get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    let peer = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let proxies = &http.settings.trusted_proxies;
    if proxies.is_empty() && request.headers().contains_key(address::FORWARDED_FOR) {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(%peer, "X-Forwarded-For came, and is not believed: if that is a proxy, all of its clients share \
                one address's limits; name it in TRUSTED_PROXIES");
        });
    }
    address::of_client(peer, request.headers(), proxies)
}

/// Says what is left of a quota (draft-ietf-httpapi-ratelimit-headers-10), and when to come back if that is not enough.
fn tell(headers: &mut HeaderMap, charge: &Charge) {
    let Charge { policy, quota, verdict, .. } = charge;
    let limit = format!("\"{policy}\";q={};w={}", quota.units(), quota.seconds());
    let left = format!("\"{policy}\";r={};t={}", verdict.remaining, whole_seconds(verdict.reset_after));
    let later = (!verdict.retry_after.is_zero()).then(|| (RETRY_AFTER, whole_seconds(verdict.retry_after).to_string()));
    let told = [(RATE_LIMIT_POLICY, limit), (RATE_LIMIT, left)].into_iter().chain(later);
    headers.extend(told.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))));
}

/// What the headers and the host say.
fn credentials<'a>(headers: &'a HeaderMap, host_subdomain: Option<&'a str>) -> Result<Credentials<'a>> {
    const BEARER: &str = "send the token as `Authorization: Bearer <token>`, once";
    let bearer = match header(headers, &AUTHORIZATION, BEARER)? {
        Some(value) => Some(bearer(value).ok_or(Error::Unauthenticated(BEARER))?),
        None => None,
    };
    let api_key = header(headers, &API_KEY, "send the shop's key in X-API-Key, once")?;
    let tenant = header(headers, &TENANT, "send the shop's subdomain in X-Tenant, once")?;
    let idempotency = idempotency_key(headers)?;
    Ok(Credentials { bearer, api_key, subdomain: tenant, host: host_subdomain, idempotency })
}

/// A header's value, if it is sent. `expected` tells those who send it twice, empty, or with anything but ASCII in it.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName, expected: &'static str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let value = first.to_str().ok().map(str::trim).filter(|value| !value.is_empty());
    let value = value.filter(|_| values.next().is_none());
    value.map(Some).ok_or(Error::Unauthenticated(expected))
}

/// The key that makes sending the request again safe, if there is one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let once = first.to_str().ok().filter(|_| values.next().is_none());
    // What is no text, or sent twice, is refused like what is empty.
    IdempotencyKey::parse(once.unwrap_or_default()).map(Some)
}

/// The token of an Authorization header (RFC 6750, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start();
    let is_one_word = !token.is_empty() && !token.contains(' ');
    (scheme.eq_ignore_ascii_case("bearer") && is_one_word).then_some(token)
}

/// The host that the client asked for: HTTP/2 has it in the URI, HTTP/1.1 in a header.
fn host(request: &Request) -> Option<&str> {
    let header = || request.headers().get(HOST)?.to_str().ok();
    request.uri().authority().map(Authority::as_str).or_else(header)
}

/// The first label of a host right below the base domain: `acme` of `acme.example.com:3000`.
fn subdomain(host: &str, base_domain: &str) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(name, _port)| name).to_ascii_lowercase();
    let label = host.strip_suffix(&base_domain.to_ascii_lowercase())?.strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    #[test]
    fn headers_name_token_key_and_shop() {
        let headers = headers(&[("authorization", "bearer  abc.def"), ("x-api-key", "pk_1"), ("x-tenant", " demo ")]);
        let found = credentials(&headers, Some("host")).unwrap();
        assert_eq!((found.bearer, found.api_key, found.subdomain), (Some("abc.def"), Some("pk_1"), Some("demo")));
        let none = HeaderMap::new();
        let found = credentials(&none, Some("host")).unwrap();
        assert_eq!((found.bearer, found.api_key, found.subdomain, found.host), (None, None, None, Some("host")));
    }

    #[test]
    fn malformed_headers_are_refused_with_what_is_right() {
        for pairs in [
            &[("authorization", "Basic dTpw")][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer a b")],
            &[("authorization", "")],
            &[("authorization", "Bearer töken")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        ] {
            let error = credentials(&headers(pairs), None).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some("send the token as `Authorization: Bearer <token>`, once"));
        }
        assert!(credentials(&headers(&[("x-api-key", "ü")]), None).is_err());
        assert!(credentials(&headers(&[("x-tenant", "a"), ("x-tenant", "b")]), None).is_err());
    }

    #[test]
    fn a_shop_has_one_label_below_the_base_domain() {
        let shop = |host| subdomain(host, "Example.com");
        assert_eq!(shop("acme.example.com").as_deref(), Some("acme"));
        assert_eq!(shop("ACME.example.com:3000").as_deref(), Some("acme"));
        for other in
            ["example.com", ".example.com", "a.b.example.com", "acmeexample.com", "acme.example.org", "[::1]:80"]
        {
            assert_eq!(shop(other), None, "{other}");
        }
    }
}
