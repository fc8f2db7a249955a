//! What happens to those who come with a token: let in, or kept out without a trace.

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::forger::{Forger, parts, unsigned};
use super::operations::percent_encoded;
use super::samples::unique;
use super::{Answer, As, Shop, TestServer, answer};

/// What is no token.
pub const GARBAGE: &str = "Bearer x";

/// What is sent as `Authorization`, and what it is.
pub type Case = (String, Vec<u8>);

/// A token, and what it is.
pub fn case(what: impl Into<String>, token: impl AsRef<str>) -> Case {
    (what.into(), format!("Bearer {}", token.as_ref()).into_bytes())
}

const ACCEPT: &str = "application/graphql-response+json, application/json";

const VIEWER: &str = "{ viewer { id email } }";

/// The object with this member changed.
pub fn with(value: &Value, name: &str, change: Value) -> Value {
    let mut value = value.clone();
    value[name] = change;
    value
}

/// The object without this member.
pub fn without(value: &Value, name: &str) -> Value {
    let mut value = value.clone();
    value.as_object_mut().expect("an object").remove(name);
    value
}

/// A shop with a genuine token of its admin, taken apart.
pub struct Target {
    pub server: TestServer,
    pub shop: Shop,
    pub ours: Forger,
    pub header: Value,
    pub claims: Value,
}

impl Target {
    pub async fn open() -> Self {
        let server = TestServer::start().await;
        let shop = server.shop("target").await;
        let (header, claims) = parts(shop.admin.token());
        Self { server, shop, ours: Forger::with_our_key(), header, claims }
    }

    /// A token as the server makes them, but for this claim.
    pub fn claiming(&self, name: &str, value: Value) -> String {
        self.ours.sign(&self.header, &with(&self.claims, name, value))
    }

    /// A token as the server makes them, but for this member of its header.
    pub fn headed(&self, name: &str, value: Value) -> String {
        self.ours.sign(&with(&self.header, name, value), &self.claims)
    }

    /// The genuine token's signature behind something else.
    pub fn with_old_signature(&self, header: &Value, claims: &Value) -> String {
        let signature = self.shop.admin.token().rsplit('.').next().expect("a signature");
        format!("{}.{signature}", unsigned(&header.to_string(), &claims.to_string()))
    }

    /// Reads and writes, by both transports, and asks for a websocket. The writes would leave traces.
    pub async fn ask(&self, authorize: impl Fn(RequestBuilder) -> RequestBuilder) -> [Answer; 5] {
        let product = || json!({"name": "Forged", "sku": unique(), "price": "1.00", "quantity": 1});
        let create = "mutation($input: ProductCreateInput!) { productCreate(input: $input) { product { id } } }";
        let send = |method: Method, path: &str, body: Option<Value>| {
            let request = self.server.request(method, path, &As::Nobody);
            let request = authorize(request.header("accept", ACCEPT));
            answer(match body {
                Some(body) => request.json(&body),
                None => request,
            })
        };
        let operation = json!({"query": create, "variables": {"input": product()}});
        [
            send(Method::POST, "/graphql", Some(operation)).await,
            send(Method::GET, &format!("/graphql?query={}", percent_encoded(VIEWER)), None).await,
            send(Method::POST, "/api/v1/products", Some(product())).await,
            send(Method::GET, "/api/v1/orders", None).await,
            answer(authorize(self.handshake())).await,
        ]
    }

    /// What opens a websocket (RFC 6455, section 4.1), where there are any.
    fn handshake(&self) -> RequestBuilder {
        let request = self.server.request(Method::GET, "/graphql", &As::Nobody);
        let request = request.header("connection", "Upgrade").header("upgrade", "websocket");
        let request =
            request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.header("sec-websocket-protocol", "graphql-transport-ws").header("accept", ACCEPT)
    }

    pub async fn ask_with(&self, authorization: &[u8]) -> [Answer; 5] {
        let value = HeaderValue::from_bytes(authorization).expect("a header's value");
        self.ask(|request| request.header("authorization", value.clone())).await
    }

    /// A token that is genuine, or as good as that, opens everything.
    pub async fn lets_in(&self, token: &str) {
        let before = self.server.database.contents(None).await.len();
        let answers = self.ask_with(format!("Bearer {token}").as_bytes()).await;
        let told = answers.each_ref().map(|answer| (answer.status, answer.outcome()));
        // There are no websockets: whoever is let in is told that a query is missing.
        let no_query = (400, "VALIDATION_ERROR");
        assert_eq!(told, [(200, "OK"), (200, "OK"), (201, "OK"), (200, "OK"), no_query], "{answers:#?}");
        assert_eq!(answers[1].body["data"]["viewer"]["email"], "admin@example.com");
        assert!(self.server.database.contents(None).await.len() > before, "a write shows");
    }

    /// All of these are refused, exactly like garbage, and write nothing.
    pub async fn keeps_out(&self, garbage: &str, cases: &[Case]) {
        self.lets_in(self.shop.admin.token()).await;
        self.lets_in(&self.claiming("jti", json!(Uuid::now_v7()))).await;
        let expected = self.ask_with(garbage.as_bytes()).await.map(|answer| essence(&answer));
        for refused in &expected {
            assert!(refused.0 == 401 && refused.1.to_string().contains("\"UNAUTHENTICATED\""), "{refused:?}");
            assert_eq!(refused.1.get("data"), None, "{refused:?}");
            assert!(refused.2.contains(&("www-authenticate".into(), "Bearer".into())), "{refused:?}");
        }
        let mut before = self.server.database.contents(None).await;
        let mut wrongs = vec![];
        for (what, authorization) in cases {
            let answers = self.ask_with(authorization).await;
            if answers.each_ref().map(essence) != expected {
                let told = answers.each_ref().map(|answer| format!("{} {}", answer.status, answer.body));
                wrongs.push(format!("{what}: {}", told.join(", ")));
            }
            let after = self.server.database.contents(None).await;
            if after != before {
                wrongs.push(format!("{what}: something was written"));
                before = after;
            }
        }
        assert!(wrongs.is_empty(), "{} of {}:\n{}", wrongs.len(), cases.len(), wrongs.join("\n"));
        // What was refused has not made the server forget what is right.
        self.lets_in(self.shop.admin.token()).await;
    }
}

/// An answer but for what differs from one request to the next.
fn essence(answer: &Answer) -> (u16, Value, Vec<(String, String)>) {
    let mut body = answer.body.clone();
    if body["errors"].is_array() {
        body["errors"][0]["extensions"]["requestId"] = Value::Null;
    }
    let differs = |name: &str| matches!(name, "x-request-id" | "date");
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| !differs(name));
    headers.sort();
    (answer.status, body, headers)
}
