//! GraphiQL in the browser, served whole from the binary.
//!
//! `GET /graphql` answers a browser with [`page`] (see [`wants_html`] and [`response`]); what the page
//! loads comes from [`routes`]. Nothing is fetched from another origin, and the page's
//! Content-Security-Policy forbids it, so that GraphiQL works offline and a production network sees no
//! surprise traffic.
//!
//! The files are in `assets/graphiql`: vendored releases compressed (`scripts/update-graphiql` refetches
//! them), our own plain.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What the page knows about the shop behind it. The default, for production, is nothing at all.
///
/// Whoever can open the page can read all of this, passwords included: fill it for a demo shop only.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphiqlConfig {
    /// The shops that `logins` name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<DemoTenant>,
    /// One-click logins, in the order of the bar's buttons. Empty means no bar.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<DemoLogin>,
    /// The publishable key that an anonymous shopper's requests carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// A product in stock, for the example that places an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo_product_id: Option<Uuid>,
}

/// A shop that the page can name.
#[derive(Clone, Serialize)]
pub struct DemoTenant {
    /// What `login` calls the shop.
    pub subdomain: String,
    /// What people call it.
    pub name: String,
}

/// An account of a demo shop that one click logs in to.
#[derive(Clone, Serialize)]
pub struct DemoLogin {
    /// The button's text, such as "Merchant".
    pub label: String,
    /// The subdomain of the account's shop.
    pub tenant: String,
    /// The account's e-mail address.
    pub email: String,
    /// Its password, in clear.
    pub password: String,
}

/// An operation that the page opens in a tab of its own.
#[derive(Clone, Serialize)]
pub struct Example {
    /// What it shows, in a few words.
    pub title: &'static str,
    /// The GraphQL document: one operation, named, because GraphiQL titles the tab with that name.
    pub query: &'static str,
    /// Its variables as JSON text, laid out for reading; empty when it takes none.
    pub variables: String,
}

/// Stands in the order's variables where the product's id belongs, and tells a reader where to find one.
const PRODUCT_ID_HINT: &str = "an id from BrowseProducts";

/// The examples, in the order of their tabs. With `product`, the order that one of them places is real.
#[must_use]
pub fn examples(product: Option<Uuid>) -> Vec<Example> {
    let order = include_str!("../../assets/graphiql/examples/place-an-order.variables.json");
    let order = match product {
        Some(id) => order.replace(PRODUCT_ID_HINT, &id.to_string()),
        None => order.to_owned(),
    };
    let pay = include_str!("../../assets/graphiql/examples/pay-an-order.variables.json");
    let advance = include_str!("../../assets/graphiql/examples/move-an-order.variables.json");
    let example = |title, query, variables| Example { title, query, variables };
    vec![
        example(
            "Browse products",
            include_str!("../../assets/graphiql/examples/browse-products.graphql"),
            String::new(),
        ),
        example("Place an order", include_str!("../../assets/graphiql/examples/place-an-order.graphql"), order),
        example("Pay an order", include_str!("../../assets/graphiql/examples/pay-an-order.graphql"), pay.to_owned()),
        example(
            "Move an order",
            include_str!("../../assets/graphiql/examples/move-an-order.graphql"),
            advance.to_owned(),
        ),
        example("Who am I", include_str!("../../assets/graphiql/examples/who-am-i.graphql"), String::new()),
        example("My orders", include_str!("../../assets/graphiql/examples/my-orders.graphql"), String::new()),
    ]
}

/// Builds the page for `config`. It never changes while the server runs: build it once.
#[must_use]
pub fn page(config: &GraphiqlConfig) -> String {
    #[derive(Serialize)]
    struct PageConfig<'a> {
        #[serde(flatten)]
        shop: &'a GraphiqlConfig,
        examples: Vec<Example>,
    }

    let config = PageConfig { shop: config, examples: examples(config.demo_product_id) };
    // Strings and lists of strings always serialise; were that to change, the page opens without them.
    let json = serde_json::to_string(&config).unwrap_or_else(|_| "{}".to_owned());
    include_str!("../../assets/graphiql/index.html")
        .replace("{{version}}", version())
        .replace("{{config}}", &escape_for_script(&json))
}

/// Makes JSON safe inside a script element, which `</script>` or `<!--` in a string would end or derail.
fn escape_for_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// What the page may do: load from its own origin and nothing else.
///
/// Styles may be inline, because GraphiQL's editors and dialogs make them; its fonts are `data:` URLs.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src 'self' data:; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers with the page. It is not to be stored: it may hold a demo shop's passwords, and the same URL
/// answers other clients with JSON.
#[must_use]
pub fn response(page: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (VARY, "Accept"),
    ];
    (headers, page).into_response()
}

/// Says whether a client would rather have a page than JSON, as browsers do and API clients do not.
#[must_use]
pub fn wants_html(headers: &HeaderMap) -> bool {
    let json = ["application/json", "application/graphql-response+json"]
        .map(|media_type| quality(headers, media_type))
        .into_iter()
        .fold(0.0, f32::max);
    quality(headers, "text/html") > json
}

/// The weight, 0 to 1, that the Accept headers give to a media type: the most specific range that covers
/// it decides. A range whose weight cannot be read counts as refused.
fn quality(headers: &HeaderMap, media_type: &str) -> f32 {
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
        .map_or(0.0, |(_, weight)| weight)
}

/// How closely a media range of an Accept header names a media type; none when it does not cover it.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    if range == "*/*" {
        return Some(0);
    }
    let (group, _) = media_type.split_once('/')?;
    match range.strip_suffix("/*") {
        Some(any_of) => any_of.eq_ignore_ascii_case(group).then_some(1),
        None => range.eq_ignore_ascii_case(media_type).then_some(2),
    }
}

/// A file that the page loads.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    /// Whether `body` is compressed. Such a file is only served that way, which every browser accepts,
    /// so that the binary holds it once and small.
    gzipped: bool,
    body: &'static [u8],
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Embeds a file of `assets/graphiql`, which is stored as it is or compressed.
macro_rules! asset {
    ($content_type:ident, $name:literal) => {
        asset!($content_type, $name, false, $name)
    };
    ($content_type:ident, $name:literal, gzipped) => {
        asset!($content_type, $name, true, concat!($name, ".gz"))
    };
    ($content_type:ident, $name:literal, $gzipped:literal, $file:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            gzipped: $gzipped,
            body: include_bytes!(concat!("../../assets/graphiql/", $file)),
        }
    };
}

static ASSETS: [Asset; 8] = [
    asset!(JAVASCRIPT, "react.js", gzipped),
    asset!(JAVASCRIPT, "react-dom.js", gzipped),
    asset!(JAVASCRIPT, "graphiql.js", gzipped),
    asset!(CSS, "graphiql.css", gzipped),
    asset!(JAVASCRIPT, "explorer.js", gzipped),
    asset!(CSS, "explorer.css", gzipped),
    asset!(JAVASCRIPT, "mercato.js"),
    asset!(CSS, "mercato.css"),
];

/// Names this set of assets: a digest of their content, so that it changes whenever one of them does.
/// The page puts it into their URLs, and a browser never mixes the files of two releases.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let digest = ASSETS.iter().fold(Sha256::new(), |digest, asset| digest.chain_update(asset.body)).finalize();
        let prefix = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        format!("{prefix:016x}")
    });
    &VERSION
}

/// The routes of everything that the page loads: `/graphiql/assets/{file}`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/graphiql/assets/{file}", get(asset))
}

/// Serves one asset; to a client that has it already, only the news that it is still good.
async fn asset(Path(file): Path<String>, request: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = format!("\"{}\"", version());
    let cached =
        request.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| tags.contains(&etag));
    let caching = [(ETAG, etag), (CACHE_CONTROL, "public, max-age=86400".to_owned())];
    if cached {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let headers = [(CONTENT_TYPE, asset.content_type), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let mut response = (caching, headers, asset.body).into_response();
    if asset.gzipped {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests;
