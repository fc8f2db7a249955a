use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::*;
use crate::clients::stripe::{
    Event, IntentStatus, Metadata, NewIntent, NewRefund, Stripe, StripeError, StripeSettings,
};
use crate::domain::payments::RefundStatus;
use crate::domain::sources::{Sources, SystemSources};

fn secrets() -> WebhookSecrets {
    WebhookSecrets::new(vec!["whsec_one".into()])
}

/// Serves on a free port: its address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A simulator below `/dev/stripe` as in `mercato dev`, and a client of it.
async fn simulator(file: Option<PathBuf>) -> (Simulator, Stripe, String) {
    let simulator = Simulator::start(secrets(), Arc::new(SystemSources), file).unwrap();
    let api_base = serve(Router::new().nest("/dev/stripe", simulator.router())).await + "/dev/stripe";
    let timeout = Duration::from_secs(5);
    let client = Stripe::new(StripeSettings { secret_key: "sk".into(), api_base: api_base.clone(), timeout }).unwrap();
    (simulator, client, api_base)
}

/// Takes webhooks, every other one only when it is posted again: the types of events, as they are taken.
async fn webhooks() -> (String, mpsc::UnboundedReceiver<String>) {
    let (taken, events) = mpsc::unbounded_channel();
    let mut posted = 0;
    let take = move |headers: HeaderMap, body: String| {
        let signature = headers["stripe-signature"].to_str().unwrap();
        secrets().verify(signature, body.as_bytes(), SystemSources.now()).unwrap();
        posted += 1;
        let is_taken = posted % 2 == 0;
        if is_taken {
            taken.send(Event::parse(body.as_bytes()).unwrap().kind).unwrap();
        }
        std::future::ready(if is_taken { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    };
    let take = Arc::new(Mutex::new(take));
    let handler = move |headers: HeaderMap, body: String| (take.lock().unwrap())(headers, body);
    (serve(Router::new().route("/", post(handler))).await, events)
}

fn metadata() -> Metadata {
    Metadata { tenant_id: Uuid::from_u128(1), order_id: Uuid::from_u128(2), payment_id: Uuid::from_u128(3) }
}

fn new_intent(amount: i64, key: &str) -> NewIntent {
    NewIntent { amount, currency: "USD".into(), idempotency_key: key.into(), metadata: metadata() }
}

fn new_refund(intent: &str, amount: Option<i64>, number: u128) -> NewRefund {
    NewRefund { intent: intent.into(), amount, refund_id: Uuid::from_u128(number), metadata: metadata() }
}

async fn submit(url: &str, form: &[(&str, &str)]) -> reqwest::Response {
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    http.post(url).form(form).send().await.unwrap()
}

#[tokio::test]
async fn the_client_pays_refunds_and_cancels_and_hears_of_it_in_order() {
    let (simulator, client, base) = simulator(None).await;
    let (url, mut events) = webhooks().await;
    simulator.deliver_to(Some(url));

    let intent = client.create_intent(new_intent(1999, "a")).await.unwrap();
    let again = client.create_intent(new_intent(1999, "a")).await.unwrap();
    assert_eq!((&again.id, again.client_secret), (&intent.id, intent.client_secret));
    // The same key with other parameters is a mistake of the client, and no word on what was asked for.
    let other = client.create_intent(new_intent(100, "a")).await.unwrap_err();
    assert!(matches!(&other, StripeError::Unreachable(_)), "{other:?}");

    let confirm = format!("{base}/v1/payment_intents/{}/confirm", intent.id);
    assert_eq!(submit(&confirm, &[("simulate", "failure")]).await.status(), 200);
    assert_eq!(client.intent(&intent.id).await.unwrap().status, IntentStatus::Open);
    assert_eq!(submit(&confirm, &[]).await.status(), 200);
    let paid = client.cancel_intent(&intent.id).await.unwrap();
    assert_eq!((paid.status, paid.amount_received), (IntentStatus::Succeeded, Some(1999)));

    let part = client.refund(new_refund(&intent.id, Some(999), 2)).await.unwrap();
    assert_eq!((part.status, part.total), (RefundStatus::Succeeded, Some(999)));
    assert_eq!(client.refund(new_refund(&intent.id, Some(999), 2)).await.unwrap().id, part.id);
    assert_eq!(client.refund(new_refund(&intent.id, None, 3)).await.unwrap().total, Some(1999));

    let intent = client.create_intent(new_intent(500, "d")).await.unwrap();
    assert_eq!(client.cancel_intent(&intent.id).await.unwrap().status, IntentStatus::Cancelled);
    assert_eq!(client.cancel_intent(&intent.id).await.unwrap().status, IntentStatus::Cancelled);

    for kind in [
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
        "charge.refunded",
        "charge.refunded",
        "payment_intent.canceled",
    ] {
        assert_eq!(events.recv().await.as_deref(), Some(kind));
    }
}

#[tokio::test]
async fn people_pay_and_refund_on_its_page() {
    let (simulator, client, base) = simulator(None).await;
    let page = || async { reqwest::get(&base).await.unwrap().text().await.unwrap() };
    assert!(page().await.contains("Nothing was asked for yet"));
    let id = client.create_intent(new_intent(1999, "a")).await.unwrap().id;
    for (action, shown) in [("decline", "waits for its payment"), ("pay", "paid"), ("refund", "refunded")] {
        let before = page().await;
        assert!(before.contains("19.99 USD") && before.contains(&metadata().order_id.to_string()), "{before}");
        let target = format!("/dev/stripe/page/{id}/{action}");
        assert!(before.contains(&format!("action=\"{target}\"")), "{before}");
        let answer = submit(&format!("{base}/page/{id}/{action}"), &[]).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (303, "/dev/stripe"));
        assert!(page().await.contains(&format!("<td>{shown}<td>")), "{action}");
    }
    assert!(!page().await.contains("<form"), "there is nothing left to do");
    assert_eq!(simulator.intents()[0].refunded, 1999);
}

#[tokio::test]
async fn the_account_outlives_its_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stripe.json");
    let (first, client, _) = simulator(Some(file.clone())).await;
    let made = client.create_intent(new_intent(1999, "a")).await.unwrap();
    drop(first);

    let (second, client, _) = simulator(Some(file.clone())).await;
    assert_eq!(second.intents().len(), 1);
    assert_eq!(client.create_intent(new_intent(1999, "a")).await.unwrap().id, made.id);
    assert_eq!(client.intent(&made.id).await.unwrap().amount, Some(1999));

    std::fs::write(&file, "{").unwrap();
    let error = Simulator::start(secrets(), Arc::new(SystemSources), Some(file)).err().unwrap();
    assert!(error.to_string().contains("stripe.json; delete it"), "{error}");
}
