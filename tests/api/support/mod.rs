//! A server, a database and shops for tests.

pub mod clients;
pub mod counter;
pub mod database;
pub mod expect;
pub mod forger;
pub mod operations;
pub mod payments;
pub mod process;
pub mod quotas;
pub mod redis_line;
pub mod samples;
pub mod shop;
pub mod stripe;
pub mod token_target;

use std::collections::BTreeMap;
use std::time::Duration;

use mercato::app::App;
use mercato::config::Config;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::database::TestDatabase;
pub use self::shop::{As, Shop};
use self::stripe::StandIn;

/// The real server, in this process, on a free port and a database of its own.
pub struct TestServer {
    pub url: String,
    pub database: TestDatabase,
    pub http: reqwest::Client,
    /// Where the server asks for money.
    pub stripe: StandIn,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// An HTTP answer, read to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What came of it: `OK`, or the code of the first error, wherever GraphQL or REST put it.
    pub fn outcome(&self) -> &str {
        let payload = self.body["data"].as_object().and_then(|data| data.values().next());
        let codes = [
            &self.body["errors"][0]["extensions"]["code"],
            &self.body["error"]["code"],
            payload.map_or(&Value::Null, |payload| &payload["userErrors"][0]["code"]),
        ];
        codes.into_iter().find_map(Value::as_str).unwrap_or("OK")
    }
}

/// How often each outcome came.
pub fn tally(answers: &[Answer]) -> BTreeMap<&str, usize> {
    answers.iter().fold(BTreeMap::new(), |mut tally, answer| {
        *tally.entry(answer.outcome()).or_default() += 1;
        tally
    })
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts the server with some settings changed.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        Self::on_database(database, change).await
    }

    /// Starts another server on a database that is there already.
    pub async fn on_database(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        let stripe = StandIn::start().await;
        let server = Self::with_stripe(database, stripe, change).await;
        server.stripe.deliver_to(&server.url);
        server
    }

    /// Starts another server that asks a Stripe for money which is there already.
    pub async fn with_stripe(database: TestDatabase, stripe: StandIn, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = database.config();
        stripe.configure(&mut config);
        change(&mut config);
        let app = App::build(&config, mercato::app::services(&config).expect("the services"), None)
            .expect("the app is built");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let router = app.router();
        let running = tokio::spawn(mercato::app::serve(app, router, listener, shutdown, Duration::from_secs(5)));
        Self { stop: Some(stop), running: Some(running), ..Self::at(url, database, stripe) }
    }

    /// A server that runs elsewhere.
    pub fn at(url: String, database: TestDatabase, stripe: StandIn) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().expect("a client");
        Self { url, database, http, stripe, stop: None, running: None }
    }

    /// Asks the server to stop and waits until it has.
    pub async fn stop(&mut self) {
        self.stop.take();
        if let Some(running) = self.running.take() {
            running.await.expect("no panic");
        }
    }

    pub fn request(&self, method: Method, path: &str, who: &As) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        who.headers().into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends a request of the REST layer; `path` is relative to `/api/v1`.
    pub async fn rest(&self, who: &As, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, &format!("/api/v1{path}"), who);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        answer(request).await
    }

    /// Sends a GraphQL operation.
    pub async fn graphql(&self, who: &As, query: &str, variables: Value) -> Answer {
        let body = json!({ "query": query, "variables": variables });
        answer(self.request(Method::POST, "/graphql", who).json(&body)).await
    }

    /// Sends a GraphQL operation to a server that may break off; none when it does.
    pub async fn try_graphql(&self, who: &As, query: &str, variables: Value) -> Option<Answer> {
        let body = json!({ "query": query, "variables": variables });
        try_answer(self.request(Method::POST, "/graphql", who).json(&body)).await.ok()
    }

    /// Sends a GraphQL operation that must succeed, and returns its `data`.
    pub async fn data(&self, who: &As, query: &str, variables: Value) -> Value {
        let answer = self.graphql(who, query, variables).await;
        assert_eq!(answer.body.get("errors"), None, "{query}: {:#}", answer.body);
        answer.body["data"].clone()
    }

    /// Sends a mutation with one root field, and returns that field's payload. There must be no top-level errors.
    pub async fn mutate(&self, who: &As, mutation: &str, variables: Value) -> Value {
        let data = self.data(who, mutation, variables).await;
        data.as_object().and_then(|data| data.values().next().cloned()).expect("a root field")
    }

    /// Opens a new shop with an admin, a merchant and a customer, all logged in.
    pub async fn shop(&self, subdomain: &str) -> Shop {
        Shop::open(self, subdomain).await
    }
}

/// Sends a request and reads the answer to its end.
pub async fn answer(request: RequestBuilder) -> Answer {
    try_answer(request).await.expect("an answer")
}

/// The same, from a server that may break off.
pub async fn try_answer(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.collect();
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, headers, body })
}
