//! Stripe, as far as payments need it: `PaymentIntent`s and refunds (<https://docs.stripe.com/api>).
//!
//! A thin client of our own over reqwest, because we want base URL, timeouts, retries and API version under our control,
//! and answers read tolerantly; docs/decisions.md has the figures.

mod event;
#[cfg(test)]
mod tests;
mod webhook;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use uuid::Uuid;

pub use event::{Event, Subject};
pub use webhook::{SignatureError, WebhookSecrets};

use crate::domain::payments::RefundStatus;

/// The version of Stripe's API that requests ask for, whatever the account's own is.
const API_VERSION: &str = "2024-06-20";
/// How often a request is sent at most.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; the third waits twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How Stripe is reached.
#[derive(Clone, Debug)]
pub struct StripeSettings {
    /// The account's secret key.
    pub secret_key: SecretString,
    /// Where the API is: `https://api.stripe.com`.
    pub api_base: String,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// A client of Stripe's API. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Stripe {
    http: reqwest::Client,
    settings: StripeSettings,
}

/// Why Stripe did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// It understood and refused: asking again is of no use.
    #[error("Stripe refused with status {status}, code {code:?}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stripe's code, like `charge_already_refunded`.
        code: Option<String>,
        /// Stripe's explanation.
        message: String,
    },
    /// It had troubles of its own, and remembers this answer under the idempotency key. What was asked may have been done.
    #[error("Stripe answered with status {0}")]
    Broken(u16),
    /// It could not be reached, had troubles of its own, or did not let us in: a wrong key says nothing against a refund,
    /// which stays to be made. What was asked may have been done all the same.
    #[error("Stripe cannot be reached")]
    Unreachable(#[source] anyhow::Error),
}

/// What an intent or refund is for; Stripe keeps it and sends it back in webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// The shop.
    pub tenant_id: Uuid,
    /// The order.
    pub order_id: Uuid,
    /// The order's payment.
    pub payment_id: Uuid,
}

/// A `PaymentIntent` to be made.
#[derive(Clone, Debug)]
pub struct NewIntent {
    /// How much, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// With the same key, Stripe makes one intent however often it is asked, for a day at least.
    pub idempotency_key: String,
    /// What it is for.
    pub metadata: Metadata,
}

/// A `PaymentIntent`. What Stripe leaves out is none.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Stripe's id.
    pub id: String,
    /// What the customer's browser needs to pay.
    pub client_secret: Option<String>,
    /// Where it stands.
    pub status: IntentStatus,
    /// What it asks for, in the currency's smallest unit.
    pub amount: Option<i64>,
    /// What it brought.
    pub amount_received: Option<i64>,
    /// ISO 4217 code, in capitals.
    pub currency: Option<String>,
}

/// Where a `PaymentIntent` stands, as far as that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentStatus {
    /// It can be paid, and cancelled.
    Open,
    /// Its fate is with the customer's bank.
    Processing,
    /// The money was taken.
    Succeeded,
    /// It can never be paid.
    Cancelled,
}

/// A refund to be made.
#[derive(Clone, Debug)]
pub struct NewRefund {
    /// The intent that captured the money.
    pub intent: String,
    /// How much, in the currency's smallest unit; none for all that is left.
    pub amount: Option<i64>,
    /// Our own id of it. It makes the idempotency key, with which Stripe makes one refund however often it is asked, for a
    /// day at least; [`Stripe::refund_made`] finds it after that.
    pub refund_id: Uuid,
    /// What it is for.
    pub metadata: Metadata,
}

/// A refund.
#[derive(Clone, Debug)]
pub struct Refund {
    /// Stripe's id.
    pub id: String,
    /// Where it stands.
    pub status: RefundStatus,
    /// How much, in the currency's smallest unit.
    pub amount: Option<i64>,
    /// What all refunds of the charge come to, in the currency's smallest unit.
    pub total: Option<i64>,
    /// Why it failed, in a word.
    pub failure: Option<String>,
}

type Form = Vec<(&'static str, String)>;

impl Stripe {
    /// A client. Nothing connects yet.
    pub fn new(settings: StripeSettings) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("mercato/", env!("CARGO_PKG_VERSION")));
        // Without TLS it is on this machine, where no proxy that the environment names would find it.
        let http = if settings.api_base.starts_with("http://") { http.no_proxy() } else { http };
        Ok(Self { http: http.build()?, settings })
    }

    /// Makes a `PaymentIntent`.
    pub async fn create_intent(&self, new: NewIntent) -> Result<Intent, StripeError> {
        let mut form = vec![("amount", new.amount.to_string()), ("currency", new.currency.to_ascii_lowercase())];
        form.push(("automatic_payment_methods[enabled]", "true".into()));
        form.extend(new.metadata.form());
        intent(&self.post("/v1/payment_intents", form, &new.idempotency_key).await?)
    }

    /// The `PaymentIntent` of that id.
    pub async fn intent(&self, id: &str) -> Result<Intent, StripeError> {
        let path = intent_path(id)?;
        match self.send(id, || self.request(Method::GET, &path)).await {
            Ok(answer) => intent(&answer),
            Err(error) => gone(id, error),
        }
    }

    /// Cancels a `PaymentIntent`. One that was paid or cancelled before, or cannot be cancelled, is answered as it is.
    pub async fn cancel_intent(&self, id: &str) -> Result<Intent, StripeError> {
        // Without an idempotency key: cancelling twice is cancelling once, and a refusal must not be remembered.
        let cancel = intent_path(id)? + "/cancel";
        match self.send(id, || self.request(Method::POST, &cancel)).await {
            Ok(answer) => intent(&answer),
            Err(StripeError::Refused { code: Some(code), .. }) if code == "payment_intent_unexpected_state" => {
                self.intent(id).await
            }
            Err(error) => gone(id, error),
        }
    }

    /// Gives captured money back.
    pub async fn refund(&self, new: NewRefund) -> Result<Refund, StripeError> {
        let mut form = vec![("payment_intent", new.intent), ("expand[]", "charge".into())];
        form.extend(new.amount.map(|amount| ("amount", amount.to_string())));
        form.extend(new.metadata.form());
        form.push(("metadata[refund_id]", new.refund_id.to_string()));
        refund(&self.post("/v1/refunds", form, &format!("mercato-refund-{}", new.refund_id)).await?)
    }

    /// The refund of that id of ours, if Stripe has made it. A payment has at most a hundred that matter here.
    pub async fn refund_made(&self, intent: &str, refund_id: Uuid) -> Result<Option<Refund>, StripeError> {
        // The same check as for a path.
        intent_path(intent)?;
        let path = format!("/v1/refunds?payment_intent={intent}&limit=100&expand[]=data.charge");
        let answer = self.send(intent, || self.request(Method::GET, &path)).await?;
        let of_ours = |made: &&Value| made["metadata"]["refund_id"].as_str() == Some(&refund_id.to_string());
        answer["data"].as_array().and_then(|all| all.iter().find(of_ours)).map(refund).transpose()
    }

    async fn post(&self, path: &str, form: Form, key: &str) -> Result<Value, StripeError> {
        let request = || self.request(Method::POST, path).header("Idempotency-Key", key).form(&form);
        self.send(key, request).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.settings.api_base.trim_end_matches('/')));
        request.bearer_auth(self.settings.secret_key.expose_secret()).header("Stripe-Version", API_VERSION)
    }

    /// Sends a request until there is an answer that another attempt would not change.
    async fn send(&self, key: &str, request: impl Fn() -> RequestBuilder) -> Result<Value, StripeError> {
        let mut attempt = 1;
        loop {
            let failure = match once(request()).await {
                Ok(answer) => return Ok(answer),
                Err((failure, false)) => return Err(failure),
                Err((failure, true)) => failure,
            };
            if attempt == ATTEMPTS {
                return Err(failure);
            }
            tracing::debug!(error = %failure, attempt, "Stripe is asked again");
            tokio::time::sleep(PAUSE * attempt + jitter(key, attempt)).await;
            attempt += 1;
        }
    }
}

/// Up to an eighth of a second, from what is known, so that many who failed together do not come back together.
fn jitter(key: &str, attempt: u32) -> Duration {
    let hash = digest(&SHA256, format!("{key}{attempt}").as_bytes());
    Duration::from_millis(hash.as_ref().first().copied().unwrap_or_default().into()) / 2
}

/// One attempt, and whether another may end better (<https://docs.stripe.com/error-low-level>).
async fn once(request: RequestBuilder) -> Result<Value, (StripeError, bool)> {
    let unreachable = |error: reqwest::Error| (StripeError::Unreachable(anyhow::Error::new(error.without_url())), true);
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    tracing::debug!(path = response.url().path(), status = status.as_u16(), "Stripe has answered");
    let advice = response.headers().get("stripe-should-retry").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err((
                StripeError::Unreachable(anyhow::anyhow!("an answer of more than {MAX_ANSWER} bytes")),
                false,
            ));
        }
    }
    let answer = serde_json::from_slice::<Value>(&body);
    if status.is_success() {
        return answer.map_err(|error| (StripeError::Unreachable(anyhow::Error::new(error)), true));
    }
    let passes = status.is_server_error() || matches!(status, StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS);
    let again = advice.map_or(passes, |advice| advice == "true");
    let error = answer.map(|answer| answer["error"].clone()).unwrap_or_default();
    let text = |field: &str| error[field].as_str().map(str::to_owned);
    // What a wrong key, a redirect or a proxy's page brings is no word on what was asked for.
    let keeps_out = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || error["type"].as_str() == Some("idempotency_error");
    if status.is_server_error() {
        return Err((StripeError::Broken(status.as_u16()), again));
    }
    if passes || keeps_out || !status.is_client_error() || !error.is_object() {
        let why = anyhow::anyhow!("status {status}, code {:?}", text("code"));
        return Err((StripeError::Unreachable(why), again));
    }
    let message = text("message").unwrap_or_default();
    Err((StripeError::Refused { status: status.as_u16(), code: text("code"), message }, again))
}

fn refund(answer: &Value) -> Result<Refund, StripeError> {
    Ok(Refund {
        id: id_of(answer)?,
        status: event::refund_status(answer["status"].as_str().unwrap_or_default()),
        amount: answer["amount"].as_i64(),
        total: answer["charge"]["amount_refunded"].as_i64(),
        failure: answer["failure_reason"].as_str().map(str::to_owned),
    })
}

fn intent(answer: &Value) -> Result<Intent, StripeError> {
    Ok(Intent {
        id: id_of(answer)?,
        client_secret: answer["client_secret"].as_str().map(str::to_owned),
        status: match answer["status"].as_str() {
            Some("succeeded") => IntentStatus::Succeeded,
            Some("canceled") => IntentStatus::Cancelled,
            Some(status) if status.starts_with("requires_") => IntentStatus::Open,
            _ => IntentStatus::Processing,
        },
        amount: answer["amount"].as_i64(),
        amount_received: answer["amount_received"].as_i64(),
        currency: answer["currency"].as_str().map(str::to_ascii_uppercase),
    })
}

/// An intent that this account does not know, like one of another account, can never be paid here.
fn gone(id: &str, error: StripeError) -> Result<Intent, StripeError> {
    match error {
        StripeError::Refused { code: Some(code), .. } if code == "resource_missing" => Ok(Intent {
            id: id.to_owned(),
            client_secret: None,
            status: IntentStatus::Cancelled,
            amount: None,
            amount_received: None,
            currency: None,
        }),
        error => Err(error),
    }
}

fn id_of(answer: &Value) -> Result<String, StripeError> {
    let id = answer["id"].as_str().filter(|id| !id.is_empty() && !id.contains(char::is_control));
    id.map(str::to_owned).ok_or_else(|| StripeError::Unreachable(anyhow::anyhow!("an answer without an id")))
}

impl Metadata {
    fn form(self) -> Form {
        vec![
            ("metadata[tenant_id]", self.tenant_id.to_string()),
            ("metadata[order_id]", self.order_id.to_string()),
            ("metadata[payment_id]", self.payment_id.to_string()),
        ]
    }
}

/// Where an intent is. What Stripe would never call one is not asked for: `..` would be another path.
fn intent_path(id: &str) -> Result<String, StripeError> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(format!("/v1/payment_intents/{id}"));
    }
    let message = "an id must be letters, digits and underscores".to_owned();
    Err(StripeError::Refused { status: 404, code: Some("resource_missing".into()), message })
}
