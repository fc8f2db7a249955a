use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

fn demo() -> GraphiqlConfig {
    GraphiqlConfig {
        tenants: vec![DemoTenant {
            subdomain: "demo".to_owned(),
            name: "</script><script>alert(1)</script><!--".to_owned(),
        }],
        logins: vec![DemoLogin {
            label: "Admin".to_owned(),
            tenant: "demo".to_owned(),
            email: "admin@demo.test".to_owned(),
            password: "correct horse {{version}}".to_owned(),
        }],
        api_key: Some("pk_demo".to_owned()),
        demo_product_id: Some(Uuid::from_u128(7)),
    }
}

/// What a browser would find in the page's configuration element.
fn config_in(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"id="mercato-config">"#).unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

async fn fetch(file: &str, if_none_match: Option<&str>) -> Response {
    let mut request = Request::get(format!("/graphiql/assets/{file}"));
    if let Some(tag) = if_none_match {
        request = request.header(IF_NONE_MATCH, tag);
    }
    let request = request.body(Body::empty()).unwrap();
    routes::<()>().oneshot(request).await.unwrap()
}

fn accepts(accept: &str) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accept.parse().unwrap());
    wants_html(&headers)
}

#[test]
fn the_configuration_survives_the_page_and_cannot_leave_its_element() {
    let page = page(&demo());
    let config = config_in(&page);
    assert_eq!(config["tenants"][0]["name"], "</script><script>alert(1)</script><!--");
    assert_eq!(config["logins"][0]["password"], "correct horse {{version}}");
    assert_eq!(config["apiKey"], "pk_demo");
    assert!(!page.contains("<script>alert") && !page.contains("<!--"));
}

#[test]
fn production_tells_the_page_nothing_but_the_examples() {
    let config = config_in(&page(&GraphiqlConfig::default()));
    let keys: Vec<_> = config.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["examples"]);
}

#[test]
fn examples_are_named_and_order_the_demo_product() {
    let id = Uuid::from_u128(7);
    for example in examples(Some(id)) {
        let operation = example.query.lines().find(|line| !line.starts_with('#')).unwrap();
        assert!(operation.split([' ', '(']).nth(1).is_some_and(|name| name.len() > 2), "{operation}");
        if !example.variables.is_empty() {
            let variables: Value = serde_json::from_str(&example.variables).unwrap();
            let product = &variables["input"]["items"][0]["productId"];
            assert!(*product == id.to_string() || !operation.contains("PlaceOrder"), "{variables}");
        }
    }
    assert!(examples(None).iter().any(|example| example.variables.contains(PRODUCT_ID_HINT)));
}

#[test]
fn the_page_names_only_assets_that_exist_and_no_other_origin() {
    let page = page(&GraphiqlConfig::default());
    let linked: Vec<_> = page
        .split("/graphiql/assets/")
        .skip(1)
        .filter_map(|rest| rest.split_once("?v="))
        .map(|(name, rest)| (name, rest.starts_with(version())))
        .collect();
    assert_eq!(linked.len(), ASSETS.len());
    for asset in &ASSETS {
        assert!(linked.contains(&(asset.name, true)), "{} is not linked", asset.name);
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http") && !page.contains("{{"));
}

#[test]
fn the_page_forbids_other_origins_and_is_never_stored() {
    let response = response(Bytes::from(page(&demo())));
    let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("http"));
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
}

#[tokio::test]
async fn every_asset_is_served_whole_and_typed() {
    for asset in &ASSETS {
        let response = fetch(asset.name, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], asset.content_type);
        assert_eq!(response.headers().contains_key(CONTENT_ENCODING), asset.gzipped);
        assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=86400");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(body.len() > 300, "{} is empty", asset.name);
        assert_eq!(body.starts_with(&[0x1f, 0x8b]), asset.gzipped, "{}", asset.name);
    }
}

#[tokio::test]
async fn a_known_asset_is_not_sent_again_and_an_unknown_one_is_not_found() {
    let etag = fetch("mercato.js", None).await.headers()[ETAG].to_str().unwrap().to_owned();
    let again = fetch("mercato.js", Some(&format!("W/\"other\", {etag}"))).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(fetch("mercato.js", Some("\"other\"")).await.status(), StatusCode::OK);
    assert_eq!(fetch("..%2Findex.html", None).await.status(), StatusCode::NOT_FOUND);
}

#[test]
fn only_browsers_get_the_page() {
    assert!(accepts(BROWSER));
    assert!(accepts("text/html;q=0.5, application/json;q=0.4"));
    assert!(accepts("TEXT/*"));
    assert!(!wants_html(&HeaderMap::new()));
    assert!(!accepts("*/*"));
    assert!(!accepts("application/json"));
    assert!(!accepts("application/graphql-response+json, application/json;q=0.9"));
    assert!(!accepts("text/event-stream"));
    assert!(!accepts("text/html, application/json"));
    assert!(!accepts("text/html;q=0, */*"));
    assert!(!accepts("text/html;q=high"));
}
