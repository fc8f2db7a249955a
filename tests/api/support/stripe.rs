//! A stand-in for Stripe, in front of which things go wrong when a test says so. The server's real client talks to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use mercato::clients::stripe::WebhookSecrets;
use mercato::config::Config;
use mercato::dev::stripe::{Intent, Simulator};
use mercato::domain::sources::SystemSources;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::expect::pause;
use super::payments::{Paying, SECRETS};
use super::{Shop, TestServer};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Status 500, and nothing is done.
    Error,
    /// The connection breaks, and nothing is done.
    Drop,
    /// It is done, late.
    Slow(Duration),
    /// It is done, and answered with status 500.
    ActThenError,
    /// It is done, and the connection breaks.
    ActThenDrop,
    /// It is done, and never answered.
    ActThenHang,
}

/// A call as it came in.
#[derive(Clone, Debug)]
pub struct Called {
    pub path: String,
    pub idempotency_key: Option<String>,
    pub form: String,
}

/// The account, and what is to go wrong.
#[derive(Clone)]
pub struct StandIn {
    pub url: String,
    simulator: Simulator,
    front: Arc<Mutex<Front>>,
}

#[derive(Default)]
struct Front {
    faults: Vec<(String, Fault)>,
    forgets_keys: bool,
    called: Vec<Called>,
}

impl StandIn {
    /// Starts one on a free port. It ends with the test's runtime.
    pub async fn start() -> Self {
        let secrets = WebhookSecrets::new(SECRETS.map(Into::into).to_vec());
        let simulator = Simulator::start(secrets, Arc::new(SystemSources), None).expect("no file is read");
        let front = Arc::new(Mutex::new(Front::default()));
        let router: Router = simulator.router().layer(from_fn_with_state(Arc::clone(&front), meddle));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, simulator, front }
    }

    /// Makes this the Stripe of a server.
    pub fn configure(&self, config: &mut Config) {
        config.server.stripe_api_base.clone_from(&self.url);
        config.server.stripe_timeout = Duration::from_secs(1);
    }

    /// Tells this server of what happens.
    pub fn deliver_to(&self, server: &str) {
        self.simulator.deliver_to(Some(format!("{server}/api/v1/webhooks/stripe")));
    }

    /// Tells nobody of what happens from now on.
    pub fn hold_webhooks(&self) {
        self.simulator.deliver_to(None);
    }

    /// Lets this go wrong with the next calls of a path.
    pub fn fail(&self, path: &str, fault: Fault, times: usize) {
        self.front().faults.extend(std::iter::repeat_n((path.to_owned(), fault), times));
    }

    /// Forgets idempotency keys from now on, as Stripe does after a day.
    pub fn forget_keys(&self) {
        self.front().forgets_keys = true;
    }

    /// Every call of a path.
    pub fn calls(&self, path: &str) -> Vec<Called> {
        self.front().called.iter().filter(|call| call.path == path).cloned().collect()
    }

    /// Waits until a path is called.
    pub async fn until_called(&self, path: &str) {
        while self.calls(path).is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Pays, as the customer's browser would; the status of the answer.
    pub async fn confirm(&self, intent: &str) -> u16 {
        self.post(&format!("/v1/payment_intents/{intent}/confirm"), &[]).await
    }

    /// Lets the customer's card be declined.
    pub async fn decline(&self, intent: &str) -> u16 {
        self.post(&format!("/v1/payment_intents/{intent}/confirm"), &[("simulate", "failure")]).await
    }

    /// Cancels an intent, as the shop can in Stripe's dashboard.
    pub async fn cancel(&self, intent: &str) -> u16 {
        self.post(&format!("/v1/payment_intents/{intent}/cancel"), &[]).await
    }

    /// Makes another intent for the same payment, as a key that Stripe has forgotten would.
    pub async fn make_another(&self, paying: &Paying, shop: &Shop, cents: i64) -> String {
        let form = [
            ("amount", cents.to_string()),
            ("currency", "usd".to_owned()),
            ("metadata[payment_id]", paying.payment.to_string()),
            ("metadata[order_id]", paying.order.to_string()),
            ("metadata[tenant_id]", shop.id.to_string()),
        ];
        let request = reqwest::Client::new().post(format!("{}/v1/payment_intents", self.url)).form(&form);
        let made: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
        made["id"].as_str().expect("an intent").to_owned()
    }

    /// Gives so many cents back, as the shop can in Stripe's dashboard.
    pub async fn refund(&self, intent: &str, cents: i64) -> u16 {
        self.post("/v1/refunds", &[("payment_intent", intent), ("amount", &cents.to_string())]).await
    }

    /// What was given back of an intent.
    pub fn refunded(&self, intent: &str) -> i64 {
        self.simulator.intents().iter().find(|known| known.id == intent).map_or(0, |known| known.refunded)
    }

    /// How many intents took an order's money.
    pub fn captured(&self, order: Uuid) -> usize {
        let intents = self.simulator.intents();
        let of_order = intents.iter().filter(|intent| intent.metadata["order_id"] == order.to_string());
        of_order.filter(|intent| intent.status == "succeeded").count()
    }

    /// How many intents were made.
    pub fn intents(&self) -> usize {
        self.simulator.intents().len()
    }

    /// Waits until every webhook has been taken, or given up.
    pub async fn until_told(&self) {
        while self.simulator.untold() > 0 {
            pause().await;
        }
    }

    /// Where Stripe and the shop differ: none, once all is settled.
    pub async fn discrepancies(&self, server: &TestServer, shop: &Shop) -> Vec<String> {
        let sql = "select p.stripe_payment_intent, o.status, p.status, (p.refunded_amount * 100)::bigint
            from payments p join orders o on o.id = p.order_id where p.stripe_payment_intent is not null";
        let rows = server.database.rows(shop.id, sql).await;
        let known = |intent: &Intent| {
            let found = rows.iter().find(|row| row.starts_with(&intent.id));
            found.map(|row| row.split('|').map(str::to_owned).collect::<Vec<_>>())
        };
        let differs = |intent: &Intent| match (intent.status.as_str(), known(intent)) {
            ("succeeded", None) => intent.refunded < intent.amount,
            ("succeeded", Some(row)) => {
                let is_paid = row[2] == "PAID" && !matches!(row[1].as_str(), "PENDING" | "CANCELLED");
                let is_back = row[2] == "REFUNDED" && intent.refunded == intent.amount;
                row[3] != intent.refunded.to_string() || !(is_paid || is_back)
            }
            ("canceled", row) => row.is_some_and(|row| matches!(row[2].as_str(), "PAID" | "REFUNDED")),
            // One whose making ended in an error of Stripe's stays behind, and nobody can pay it.
            (_, row) => row.is_some_and(|row| row[1] != "PENDING"),
        };
        let intents = self.simulator.intents();
        let ours = intents.iter().filter(|intent| intent.metadata["tenant_id"] == shop.id.to_string());
        ours.filter(|intent| differs(intent)).map(|intent| format!("{intent:?} here: {:?}", known(intent))).collect()
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> u16 {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).form(form);
        request.send().await.expect("the stand-in answers").status().as_u16()
    }

    fn front(&self) -> std::sync::MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the call down, and lets it go wrong when it is to.
async fn meddle(State(front): State<Arc<Mutex<Front>>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a short body");
    let path = parts.uri.path().to_owned();
    let idempotency_key = parts.headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let form = String::from_utf8_lossy(&body).into_owned();
    let fault = {
        let mut front = front.lock().unwrap_or_else(PoisonError::into_inner);
        front.called.push(Called { path: path.clone(), idempotency_key, form });
        if front.forgets_keys {
            parts.headers.remove("idempotency-key");
        }
        let at = front.faults.iter().position(|(faulty, _)| *faulty == path);
        at.map(|at| front.faults.remove(at).1)
    };
    let act = next.run(Request::from_parts(parts, Body::from(body)));
    match fault {
        None => act.await,
        Some(Fault::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Fault::Drop) => broken(),
        Some(Fault::Slow(late)) => {
            tokio::time::sleep(late).await;
            act.await
        }
        Some(Fault::ActThenError) => {
            act.await;
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Some(Fault::ActThenDrop) => {
            act.await;
            broken()
        }
        Some(Fault::ActThenHang) => {
            act.await;
            std::future::pending().await
        }
    }
}

/// An answer that breaks off.
fn broken() -> Response {
    let cut = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    Body::from_stream(cut).into_response()
}
