use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method as Verb};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

const KEY: &str = "sk_hunter2";

/// A request as it came in.
struct Asked {
    verb: Verb,
    path: String,
    headers: HeaderMap,
    form: String,
}

/// An HTTP server that gives the answers it was told, in that order, and never answers after the last.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(VecDeque<Response>, Vec<Asked>)>>);

impl Script {
    async fn client(answers: impl IntoIterator<Item = Response>) -> (Self, Stripe) {
        let script = Self(Arc::new(Mutex::new((answers.into_iter().collect(), Vec::new()))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_base = format!("http://{}/base/", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (script, client(api_base))
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let asked = Asked { verb: parts.method, path: parts.uri.path().to_owned(), headers: parts.headers, form };
    let next = {
        let mut script = script.0.lock().unwrap();
        script.1.push(asked);
        script.0.pop_front()
    };
    match next {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

fn client(api_base: String) -> Stripe {
    Stripe::new(StripeSettings { secret_key: KEY.into(), api_base, timeout: Duration::from_millis(300) }).unwrap()
}

fn says(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

fn refuses(status: u16, code: &str) -> Response {
    says(status, json!({"error": {"type": "invalid_request_error", "code": code, "message": "no"}}))
}

fn advises(mut answer: Response, again: &'static str) -> Response {
    answer.headers_mut().insert("stripe-should-retry", axum::http::HeaderValue::from_static(again));
    answer
}

fn metadata() -> Metadata {
    Metadata { tenant_id: Uuid::from_u128(1), order_id: Uuid::from_u128(2), payment_id: Uuid::from_u128(3) }
}

fn new_intent() -> NewIntent {
    NewIntent { amount: 1999, currency: "USD".into(), idempotency_key: "key-1".into(), metadata: metadata() }
}

#[tokio::test]
async fn an_intent_is_asked_for_once_per_key() {
    let made = json!({"id": "pi_1", "client_secret": "pi_1_secret", "status": "requires_payment_method", "amount": 1999,
        "currency": "usd", "something": {"new": []}});
    let (script, stripe) = Script::client([says(200, made)]).await;
    let intent = stripe.create_intent(new_intent()).await.unwrap();
    assert_eq!((intent.id.as_str(), intent.client_secret.as_deref()), ("pi_1", Some("pi_1_secret")));
    assert_eq!((intent.status, intent.amount, intent.amount_received), (IntentStatus::Open, Some(1999), None));
    assert_eq!(intent.currency.as_deref(), Some("USD"));

    let asked = script.asked();
    assert_eq!((&asked[0].verb, asked[0].path.as_str(), asked.len()), (&Verb::POST, "/base/v1/payment_intents", 1));
    let header = |name| asked[0].headers.get(name).and_then(|value| value.to_str().ok()).unwrap();
    assert_eq!((header("authorization"), header("idempotency-key")), ("Bearer sk_hunter2", "key-1"));
    assert_eq!(header("stripe-version"), API_VERSION);
    for field in ["amount=1999", "currency=usd", "metadata%5Bpayment_id%5D=00000000-0000-0000-0000-000000000003"] {
        assert!(asked[0].form.split('&').any(|one| one == field), "{field}: {}", asked[0].form);
    }
}

#[tokio::test]
async fn troubles_that_pass_are_waited_out_with_the_same_key() {
    let intent = || says(200, json!({"id": "pi_1"}));
    for (trouble, other) in [(500, 429), (409, 503)] {
        let (script, stripe) =
            Script::client([refuses(trouble, "x"), says(other, Value::Null), intent(), intent()]).await;
        assert_eq!(stripe.create_intent(new_intent()).await.unwrap().id, "pi_1");
        let asked = script.asked();
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|asked| asked.headers["idempotency-key"] == "key-1"));
    }
    let (script, stripe) = Script::client((0..4).map(|_| refuses(500, "x"))).await;
    assert!(matches!(stripe.create_intent(new_intent()).await, Err(StripeError::Broken(500))));
    assert_eq!(script.asked().len(), 3);
}

#[tokio::test]
async fn stripes_advice_on_another_attempt_counts() {
    let (script, stripe) = Script::client([advises(refuses(500, "x"), "false")]).await;
    assert!(matches!(stripe.create_intent(new_intent()).await, Err(StripeError::Broken(500))));
    assert_eq!(script.asked().len(), 1);

    let (script, stripe) = Script::client([advises(refuses(400, "x"), "true"), refuses(402, "y")]).await;
    let refusal = stripe.create_intent(new_intent()).await;
    assert!(matches!(refusal, Err(StripeError::Refused { status: 402, .. })), "{refusal:?}");
    assert_eq!(script.asked().len(), 2);
}

/// A refund that counts as refused is never tried again: nothing but Stripe's word on that very refund may do that.
#[tokio::test]
async fn only_stripe_refuses() {
    let refund =
        || NewRefund { intent: "pi_1".into(), amount: None, refund_id: Uuid::from_u128(4), metadata: metadata() };
    let (script, stripe) = Script::client([refuses(400, "charge_already_refunded")]).await;
    match stripe.refund(refund()).await {
        Err(StripeError::Refused { status: 400, code, message }) => {
            assert_eq!((code.as_deref(), message.as_str()), (Some("charge_already_refunded"), "no"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(script.asked().len(), 1);

    let page = |status: u16| (StatusCode::from_u16(status).unwrap(), "<h1>Proxy</h1>").into_response();
    for answer in [refuses(401, "api_key_expired"), refuses(403, "x"), page(302), page(400), page(407)] {
        let (script, stripe) = Script::client([answer]).await;
        let answer = stripe.refund(refund()).await;
        assert!(matches!(answer, Err(StripeError::Unreachable(_))), "{answer:?}");
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn refunds_tell_what_they_come_to() {
    let made = json!({"id": "re_1", "status": "failed", "failure_reason": "expired_or_canceled_card",
        "charge": {"id": "ch_1", "amount_refunded": 1400}});
    let (script, stripe) = Script::client([says(200, made), says(200, json!({"id": "re_2", "charge": "ch_1"}))]).await;
    let ask = |amount| {
        stripe.refund(NewRefund { intent: "pi_1".into(), amount, refund_id: Uuid::from_u128(4), metadata: metadata() })
    };
    let refund = ask(Some(400)).await.unwrap();
    assert_eq!((refund.id.as_str(), refund.status, refund.total), ("re_1", RefundStatus::Failed, Some(1400)));
    assert_eq!(refund.failure.as_deref(), Some("expired_or_canceled_card"));
    let refund = ask(None).await.unwrap();
    assert_eq!((refund.status, refund.total, refund.failure), (RefundStatus::Pending, None, None));
    let forms: Vec<_> = script.asked().into_iter().map(|asked| asked.form).collect();
    assert!(forms[0].contains("&amount=400&") && !forms[1].contains("amount="), "{forms:?}");
    assert!(forms.iter().all(|form| form.starts_with("payment_intent=pi_1&expand%5B%5D=charge")), "{forms:?}");
}

#[tokio::test]
async fn what_cannot_be_cancelled_is_answered_as_it_is() {
    let paid = json!({"id": "pi_1", "status": "succeeded", "amount_received": 1999});
    let (script, stripe) = Script::client([refuses(400, "payment_intent_unexpected_state"), says(200, paid)]).await;
    assert_eq!(stripe.cancel_intent("pi_1").await.unwrap().status, IntentStatus::Succeeded);
    let asked: Vec<_> = script.asked().into_iter().map(|asked| (asked.verb, asked.path)).collect();
    let intent = "/base/v1/payment_intents/pi_1";
    assert_eq!(asked, [(Verb::POST, format!("{intent}/cancel")), (Verb::GET, intent.to_owned())]);

    let (_, stripe) = Script::client([refuses(404, "resource_missing")]).await;
    // What is not there can never be paid.
    assert_eq!(stripe.cancel_intent("pi_1").await.unwrap().status, IntentStatus::Cancelled);
}

#[tokio::test]
async fn what_stripe_would_never_call_an_intent_is_not_asked_for() {
    let (script, stripe) = Script::client([]).await;
    for id in ["", "..", ".", "pi_1/confirm", "pi_1?expand", "pi%2f", "pi\n", "ä"] {
        for answer in [stripe.intent(id).await, stripe.cancel_intent(id).await] {
            assert!(matches!(answer, Err(StripeError::Refused { status: 404, .. })), "{id:?}");
        }
    }
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn statuses_are_read_with_care() {
    let known = [
        ("requires_action", IntentStatus::Open),
        ("requires_capture", IntentStatus::Open),
        ("processing", IntentStatus::Processing),
        ("succeeded", IntentStatus::Succeeded),
        ("canceled", IntentStatus::Cancelled),
        ("something_new", IntentStatus::Processing),
    ];
    for (status, expected) in known {
        assert_eq!(intent(&json!({"id": "pi_1", "status": status})).unwrap().status, expected, "{status}");
    }
    for strange in [json!({}), json!({"id": 1}), json!({"id": ""}), json!({"id": "pi_\u{0}"}), json!([]), Value::Null] {
        assert!(intent(&strange).is_err(), "{strange}");
    }
}

#[tokio::test]
async fn endless_and_missing_answers_end() {
    let (script, stripe) = Script::client([says(200, json!({"id": "pi_1", "more": "x".repeat(MAX_ANSWER)}))]).await;
    assert!(matches!(stripe.intent("pi_1").await, Err(StripeError::Unreachable(_))));
    assert_eq!(script.asked().len(), 1);

    let (script, stripe) = Script::client([]).await;
    let error = stripe.intent("pi_1").await.unwrap_err();
    assert_eq!(script.asked().len(), 3);
    let nobody = client("http://127.0.0.1:1".to_owned());
    for error in [error, nobody.intent("pi_1").await.unwrap_err()] {
        assert!(error.source().is_some());
        assert!(!format!("{error} {error:?} {stripe:?}").contains("hunter2"), "{error:?}");
    }
}
