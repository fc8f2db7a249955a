//! A shop whose callers send keys, and answers as they came.

use std::time::Duration;

use mercato::config::Config;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::text_rows;
use crate::support::shop::{ORDER_CREATE, order_input};
use crate::support::{Answer, As, Shop, TestServer};

pub const KEY: &str = "idempotency-key";
pub const GRAPHQL_JSON: &str = "application/graphql-response+json";
pub const CANCEL: &str = "mutation($id: ID!) { orderCancel(id: $id) { order { status } userErrors { code } } }";

/// An answer, letter by letter.
#[derive(Clone, Debug)]
pub struct Told {
    pub answer: Answer,
    pub text: String,
}

impl Told {
    pub async fn by(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let text = response.text().await.expect("an answer to its end");
        let body = serde_json::from_str(&text).expect("JSON");
        Self { answer: Answer { status, headers, body }, text }
    }

    pub fn is_replayed(&self) -> bool {
        match self.answer.header("idempotent-replayed") {
            None => false,
            Some(value) => value == "true" || panic!("{value}"),
        }
    }

    pub fn outcome(&self) -> &str {
        self.answer.outcome()
    }

    /// The message of the first error, wherever it is.
    pub fn message(&self) -> &str {
        let body = &self.answer.body;
        body["errors"][0]["message"].as_str().or(body["error"]["message"].as_str()).expect("a message")
    }
}

/// A shop with a product that nobody has bought yet.
pub struct World {
    pub server: TestServer,
    pub shop: Shop,
    pub product: Uuid,
}

impl World {
    pub async fn start() -> Self {
        Self::with(100, |_| {}).await
    }

    pub async fn with(quantity: i32, change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start_with(change).await;
        let shop = server.shop("keyed").await;
        let product = shop.product(&server, "PIECE", "19.99", quantity).await;
        Self { server, shop, product }
    }

    pub fn basket(&self, quantity: i64) -> Value {
        json!({ "input": order_input(&[(self.product, quantity)]) })
    }

    /// The customer's order of so many pieces, by GraphQL.
    pub async fn order(&self, key: &str, quantity: i64) -> Told {
        self.graphql(&self.shop.customer, key, ORDER_CREATE, self.basket(quantity)).await
    }

    /// The same by REST.
    pub async fn rest_order(&self, key: &str, quantity: i64) -> Told {
        let body = order_input(&[(self.product, quantity)]);
        Told::by(self.rest(&self.shop.customer, key, Method::POST, "/orders").json(&body)).await
    }

    pub async fn graphql(&self, who: &As, key: &str, query: &str, variables: Value) -> Told {
        Told::by(graphql(&self.server, who, key, query, variables)).await
    }

    pub fn rest(&self, who: &As, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.server.request(method, &format!("/api/v1{path}"), who).header(KEY, key)
    }

    pub async fn orders(&self) -> Vec<String> {
        self.server.database.rows(self.shop.id, "select id from orders order by id").await
    }

    pub async fn stock(&self) -> String {
        let stock = format!("select quantity from inventory where product_id = '{}'", self.product);
        self.server.database.rows(self.shop.id, &stock).await.concat()
    }

    /// How many answers are kept, of all shops.
    pub async fn kept(&self) -> String {
        self.superuser("select count(*) from idempotency_keys").await.concat()
    }

    pub async fn superuser(&self, sql: &str) -> Vec<String> {
        text_rows(&self.server.database.as_superuser().await, sql).await
    }

    pub async fn assert_in_order(&self) {
        assert_eq!(self.server.database.violations(self.shop.id).await, Vec::<String>::new());
    }
}

pub fn graphql(server: &TestServer, who: &As, key: &str, query: &str, variables: Value) -> RequestBuilder {
    let body = json!({"query": query, "variables": variables});
    server.request(Method::POST, "/graphql", who).header(KEY, key).json(&body)
}

/// Checks that the second answer is the first one, given again.
pub fn assert_same(first: &Told, again: &Told) {
    assert!(!first.is_replayed(), "{}", first.text);
    assert!(again.is_replayed(), "{}", again.text);
    assert_eq!((first.answer.status, &first.text), (again.answer.status, &again.text));
}

/// Checks that all are the same good answer, and that only one of them is new.
pub fn assert_once(told: &[Told]) {
    for other in told {
        assert_eq!((other.outcome(), &other.text), ("OK", &told[0].text));
    }
    assert_eq!(told.iter().filter(|told| !told.is_replayed()).count(), 1);
}

/// Fifty at once wait for a connection; on a slow machine that takes a while, which is not the point here.
pub fn patient(config: &mut Config) {
    config.server.database_pool_wait = Duration::from_mins(1);
}
