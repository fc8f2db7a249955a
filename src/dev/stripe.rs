//! A stand-in for Stripe: an HTTP server that speaks the part of its API that Mercato uses, and sends signed webhooks.
//!
//! The real client talks to it, in `mercato dev` and in tests, so that there is one way to ask for money. People pay, decline
//! and refund on its page.

mod account;
mod page;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Form, OriginalUri, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use account::Intent;
use account::{Account, Form as Fields, IDEMPOTENCY_ERROR, Outcome, Refusal};

use crate::clients::stripe::WebhookSecrets;
use crate::domain::sources::SharedSources;

/// How often an event is posted until somebody takes it.
const DELIVERIES: u32 = 40;

/// Where webhooks are posted.
type Webhooks = Arc<Mutex<Option<String>>>;

/// The simulated account. Clones are the same account.
#[derive(Clone)]
pub struct Simulator(Arc<Shared>);

struct Shared {
    account: Mutex<Account>,
    sources: SharedSources,
    /// Where the account is kept between runs.
    file: Option<PathBuf>,
    /// Where webhooks are posted; nowhere while there is none.
    webhooks: Webhooks,
    events: UnboundedSender<String>,
    /// How many events wait to be taken.
    untold: Arc<AtomicUsize>,
}

impl Simulator {
    /// An account that signs webhooks with the first of these secrets, and that goes on with what its file holds. Must be
    /// called where tokio runs: a task of its own posts the webhooks.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub fn start(secrets: WebhookSecrets, sources: SharedSources, file: Option<PathBuf>) -> anyhow::Result<Self> {
        let account = match &file {
            Some(path) if path.exists() => {
                let unreadable = || format!("cannot read {}; delete it to start without payments", path.display());
                let kept = std::fs::read(path).with_context(unreadable)?;
                serde_json::from_slice(&kept).with_context(unreadable)?
            }
            _ => Account::default(),
        };
        let (events, waiting) = unbounded_channel();
        // Webhooks stay on this machine, where no proxy that the environment names would find them.
        let http = reqwest::Client::builder().no_proxy().build()?;
        let untold = Arc::default();
        let webhooks = Webhooks::default();
        let post = Post { http, webhooks: Arc::clone(&webhooks), secrets, sources: Arc::clone(&sources) };
        tokio::spawn(deliver(post, waiting, Arc::clone(&untold)));
        Ok(Self(Arc::new(Shared { account: Mutex::new(account), sources, file, webhooks, events, untold })))
    }

    /// Posts webhooks there from now on, or nowhere.
    pub fn deliver_to(&self, url: Option<String>) {
        *self.0.webhooks.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// Every intent as it is now, oldest first.
    #[must_use]
    pub fn intents(&self) -> Vec<Intent> {
        self.account().intents.clone()
    }

    /// How many webhooks wait to be taken.
    #[must_use]
    pub fn untold(&self) -> usize {
        self.0.untold.load(Ordering::SeqCst)
    }

    /// The API, and the page for people.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(show))
            .route("/v1/payment_intents", post(create))
            .route("/v1/payment_intents/{id}", get(find))
            .route("/v1/payment_intents/{id}/confirm", post(confirm))
            .route("/v1/payment_intents/{id}/cancel", post(cancel))
            .route("/v1/refunds", get(refunds).post(refund))
            .route("/page/{id}/{action}", post(press))
            .with_state(self.clone())
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the account, keeps it, and tells of it, in the order in which it was done.
    fn act(&self, act: impl FnOnce(&mut Account) -> Outcome) -> Result<Value, Refusal> {
        let mut account = self.account();
        let (answer, event) = act(&mut account)?;
        self.keep(&account);
        if let Some((kind, object)) = event {
            self.tell(kind, &object);
        }
        drop(account);
        Ok(answer)
    }

    /// Writes the account down, in one step. It is a simulation: when that fails, it is told and goes on.
    fn keep(&self, account: &Account) {
        let Some(file) = &self.0.file else { return };
        let fresh = file.with_extension("new");
        let kept = serde_json::to_vec(account).map_err(std::io::Error::other);
        let kept = kept.and_then(|text| std::fs::write(&fresh, text)).and_then(|()| std::fs::rename(&fresh, file));
        if let Err(error) = kept {
            tracing::warn!(%error, "the simulated payments cannot be kept");
        }
    }

    fn tell(&self, kind: &str, object: &Value) {
        if self.0.webhooks.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return;
        }
        let id = format!("evt_sim{}", self.0.sources.id().simple());
        let created = self.0.sources.now().timestamp();
        let event = json!({"id": id, "object": "event", "type": kind, "created": created, "data": {"object": object}});
        self.0.untold.fetch_add(1, Ordering::SeqCst);
        // The receiver lives as long as tokio does.
        let _ = self.0.events.send(event.to_string());
    }
}

/// What it takes to post an event.
struct Post {
    http: reqwest::Client,
    webhooks: Webhooks,
    secrets: WebhookSecrets,
    sources: SharedSources,
}

impl Post {
    /// Posts an event to where webhooks go now, and tells whether it was taken, or nobody is there to take it.
    async fn is_taken(&self, body: &str) -> bool {
        let Some(url) = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return true };
        let signature = self.secrets.sign(body.as_bytes(), self.sources.now());
        let request = self.http.post(url).header("Stripe-Signature", signature).timeout(Duration::from_secs(10));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned());
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// Posts events in their order, each until it is taken.
async fn deliver(post: Post, mut waiting: UnboundedReceiver<String>, untold: Arc<AtomicUsize>) {
    while let Some(body) = waiting.recv().await {
        for attempt in 1..=DELIVERIES {
            if post.is_taken(&body).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20) * attempt).await;
        }
        untold.fetch_sub(1, Ordering::SeqCst);
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let kind = if self.code == IDEMPOTENCY_ERROR { IDEMPOTENCY_ERROR } else { "invalid_request_error" };
        let error = json!({"type": kind, "code": self.code, "message": self.message});
        (status, Json(json!({ "error": error }))).into_response()
    }
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get("idempotency-key").and_then(|value| value.to_str().ok())
}

async fn create(
    State(simulator): State<Simulator>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Result<Json<Value>, Refusal> {
    let (id, now) = (simulator.0.sources.id(), simulator.0.sources.now().timestamp());
    simulator.act(|account| account.once(key(&headers), &form, |account| account.create(&form, id, now))).map(Json)
}

async fn find(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    simulator.account().find(&id).map(|intent| Json(intent.json()))
}

/// Stripe.js would do this in the customer's browser. The field `simulate=failure` declines the card.
async fn confirm(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    Form(form): Form<Fields>,
) -> Result<Json<Value>, Refusal> {
    let is_declined = form.iter().any(|(name, value)| name == "simulate" && value == "failure");
    simulator.act(|account| account.confirm(&id, is_declined)).map(Json)
}

async fn cancel(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    simulator.act(|account| account.cancel(&id)).map(Json)
}

async fn refund(
    State(simulator): State<Simulator>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Result<Json<Value>, Refusal> {
    let id = simulator.0.sources.id();
    simulator.act(|account| account.once(key(&headers), &form, |account| account.refund(&form, id))).map(Json)
}

#[derive(Deserialize)]
struct OfIntent {
    payment_intent: String,
}

async fn refunds(State(simulator): State<Simulator>, Query(of): Query<OfIntent>) -> Json<Value> {
    Json(simulator.account().refunds_of(&of.payment_intent))
}

async fn show(State(simulator): State<Simulator>, OriginalUri(uri): OriginalUri) -> Html<String> {
    Html(page::render(&simulator.intents(), uri.path().trim_end_matches('/')))
}

/// A button of the page. Whatever comes of it shows on the page.
async fn press(
    State(simulator): State<Simulator>,
    Path((id, action)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Result<Redirect, Refusal> {
    let refund_id = simulator.0.sources.id();
    simulator.act(|account| match action.as_str() {
        "pay" => account.confirm(&id, false),
        "decline" => account.confirm(&id, true),
        "refund" => account.refund(&vec![("payment_intent".into(), id.clone())], refund_id),
        _ => Err(Refusal { status: 404, code: "resource_missing", message: "no such button".into() }),
    })?;
    Ok(Redirect::to(uri.path().split_once("/page/").map_or("/", |(base, _)| base)))
}
