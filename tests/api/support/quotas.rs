//! Servers with little for everybody, and requests from addresses of their own.

use mercato::config::Config;
use mercato::domain::limits::{Quota, Quotas};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use uuid::Uuid;

use super::{Answer, As, Shop, TestServer, answer};

/// So much for everybody, in an hour, so that nothing comes back while a test runs.
pub fn limited(config: &mut Config, units: u32) {
    let (quota, plenty) = (Quota::new(units, 3600), Quota::new(1_000_000, 1));
    config.server.quotas = Some(Quotas {
        anonymous: quota,
        customer: quota,
        staff: quota,
        service: quota,
        login: plenty,
        register: plenty,
        tenant: plenty,
    });
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
}

pub fn quotas(config: &mut Config) -> &mut Quotas {
    config.server.quotas.as_mut().expect("limits")
}

/// An address of a site that nobody else has: tests share a Redis.
pub fn address() -> String {
    let bits = Uuid::new_v4().as_u128();
    format!("fd{:02x}:{:x}:{:x}:{:x}::1", bits & 0xff, bits >> 16 & 0xffff, bits >> 32 & 0xffff, bits >> 96 & 0xffff)
}

/// A server with so much for everybody, on a database where a shop is open already.
pub async fn with_shop(units: u32) -> (TestServer, Shop) {
    let open = TestServer::start().await;
    let shop = open.shop("engines").await;
    (TestServer::on_database(open.database.clone(), |config| limited(config, units)).await, shop)
}

pub fn from(request: RequestBuilder, address: &str) -> RequestBuilder {
    request.header("x-forwarded-for", address)
}

/// The cheapest query.
pub async fn ask(server: &TestServer, who: &As, address: &str) -> Answer {
    let request = server.request(Method::POST, "/graphql", who).json(&json!({"query": "{ __typename }"}));
    answer(from(request, address)).await
}

pub fn seconds(answer: &Answer, header: &str) -> u64 {
    answer.header(header).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{header}: {answer:?}"))
}
