//! Content negotiation: which media type a client would rather have (RFC 9110, section 12.5.1).

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue};

/// How much a client wants a media type.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Preference {
    /// The weight that the Accept headers give it, 0 (refused) to 1.
    pub weight: f32,
    /// Whether it is named itself, and not only covered by a wildcard.
    pub named: bool,
}

/// What the Accept headers say of a media type: the most specific range that covers it decides.
/// A range whose weight cannot be read counts as refused.
#[must_use]
pub fn preference(headers: &HeaderMap, media_type: &str) -> Preference {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let specificity = specificity(parts.next()?, media_type)?;
            let weight = parts.find_map(|parameter| parameter.strip_prefix("q="));
            Some((specificity, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0))))
        })
        .max_by_key(|&(specificity, _)| specificity)
        .map_or_else(Preference::default, |(specificity, weight)| Preference { weight, named: specificity == NAMED })
}

const NAMED: u8 = 2;

/// How closely a media range of an Accept header names a media type; none when it does not cover it.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    if range == "*/*" {
        return Some(0);
    }
    let (group, _) = media_type.split_once('/')?;
    match range.strip_suffix("/*") {
        Some(any_of) => any_of.eq_ignore_ascii_case(group).then_some(1),
        None => range.eq_ignore_ascii_case(media_type).then_some(NAMED),
    }
}

/// The media type of a GraphQL response whose HTTP status says how the request went.
pub const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";
/// The media type of a GraphQL response for clients that expect 200 whatever happened.
pub const JSON: &str = "application/json";

/// The media types that GraphQL answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/graphql-response+json`, for clients that ask for it by name.
    GraphqlResponse,
    /// `application/json`, for all others.
    Json,
}

impl Format {
    /// The format that the client would rather have, or none when it takes neither.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Option<Self> {
        if headers.get_all(ACCEPT).iter().all(HeaderValue::is_empty) {
            return Some(Self::Json);
        }
        let graphql = preference(headers, GRAPHQL_RESPONSE);
        let json = preference(headers, JSON);
        if graphql.weight > json.weight || (graphql.weight >= json.weight && graphql.weight > 0.0 && graphql.named) {
            return Some(Self::GraphqlResponse);
        }
        (json.weight > 0.0).then_some(Self::Json)
    }

    /// The Content-Type of a body in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Format::accepted(&headers)
    }

    #[test]
    fn json_is_for_clients_that_do_not_say() {
        assert_eq!(Format::accepted(&HeaderMap::new()), Some(Format::Json));
        for accept in ["", "*/*", "application/*", "application/json", "text/html, */*;q=0.1", "application/json, */*"]
        {
            assert_eq!(accepted(accept), Some(Format::Json), "{accept}");
        }
    }

    #[test]
    fn the_new_media_type_is_for_clients_that_name_it() {
        for accept in [
            "application/graphql-response+json",
            "application/graphql-response+json; charset=utf-8",
            "Application/GraphQL-Response+JSON",
            "application/graphql-response+json, application/json;q=0.9",
            "application/json, application/graphql-response+json",
            "application/json;q=0, */*",
        ] {
            assert_eq!(accepted(accept), Some(Format::GraphqlResponse), "{accept}");
        }
        let older = "application/graphql-response+json;q=0.5, application/json;q=0.6";
        assert_eq!(accepted(older), Some(Format::Json));
        assert_eq!(accepted("application/graphql-response+json;q=0, */*"), Some(Format::Json));
    }

    #[test]
    fn a_client_that_takes_neither_gets_neither() {
        for accept in ["text/html", "text/event-stream", "*/*;q=0", "application/json;q=high"] {
            assert_eq!(accepted(accept), None, "{accept}");
        }
    }
}
