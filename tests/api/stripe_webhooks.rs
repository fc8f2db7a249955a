//! What Stripe says by webhook: who may say it, how often, and in whatever order.

use std::time::Duration;

use chrono::Utc;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::payments::{Paying, SECRETS, event, signature};
use crate::support::{Shop, TestServer, tally};

const PATH: &str = "a new product costs 19.99";

/// A shop with a product for 19.99, and an order of it that waits for its payment.
async fn start() -> (TestServer, Shop, Paying) {
    let server = TestServer::start().await;
    let shop = server.shop("paid").await;
    let product = shop.product(&server, "PAID", "19.99", 1000).await;
    let paying = server.paying(&shop, product).await;
    (server, shop, paying)
}

async fn another(server: &TestServer, shop: &Shop) -> Paying {
    let find = "{ products(first: 1) { nodes { id } } }";
    let product = server.data(&shop.admin, find, json!({})).await["products"]["nodes"][0]["id"].clone();
    server.paying(shop, product.as_str().and_then(|id| id.parse().ok()).expect(PATH)).await
}

async fn events_applied(server: &TestServer, shop: &Shop) -> usize {
    server.database.rows(shop.id, "select event_id from processed_events").await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_pays_its_order() {
    let (server, shop, paying) = start().await;
    assert_eq!(server.standing(&shop, paying.order).await, "PENDING PENDING");
    let received = server.stripe_says(&paying.succeeded(1999)).await;
    assert_eq!((received.status, &received.body["data"]), (200, &json!({"received": true})));
    assert_eq!(server.standing(&shop, paying.order).await, "PAID PAID");
    assert_eq!(server.database.violations(shop.id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_now_by_stripe_is_refused() {
    let (server, shop, paying) = start().await;
    let before = server.database.contents(None).await;
    let body = paying.succeeded(1999).to_string();
    let (now, minute) = (Utc::now(), chrono::Duration::minutes(1));
    let good = signature(SECRETS[0], &body, now);
    let (time, v1) = good.split_once(',').expect("t and v1");
    let edited = body.replace("1999", "2000");
    let cases = [
        ("another secret", body.clone(), signature("whsec_other", &body, now)),
        ("stale", body.clone(), signature(SECRETS[0], &body, now - minute * 6)),
        ("from the future", body.clone(), signature(SECRETS[0], &body, now + minute * 6)),
        ("an edited body", edited, good.clone()),
        ("another time", body.clone(), format!("t={},{v1}", now.timestamp() + 1)),
        ("no signature", body.clone(), time.to_owned()),
        ("no time", body.clone(), v1.to_owned()),
        ("an old scheme", body.clone(), good.replace("v1=", "v0=")),
        ("garbage", body.clone(), "garbage".to_owned()),
        ("nothing", body.clone(), String::new()),
        ("half a signature", body.clone(), good[..good.len() - 2].to_owned()),
    ];
    for (case, body, signature) in cases {
        let refused = server.post_event(&body, &signature).await;
        assert_eq!((refused.status, refused.outcome()), (401, "UNAUTHENTICATED"), "{case}: {:#}", refused.body);
    }
    let unsigned = server.rest(&shop.admin, reqwest::Method::POST, "/webhooks/stripe", Some(json!({}))).await;
    assert_eq!((unsigned.status, unsigned.outcome()), (401, "UNAUTHENTICATED"));
    assert_eq!(server.database.contents(None).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_secret_and_a_clock_that_is_off_are_honoured() {
    let (server, shop, first) = start().await;
    let second = another(&server, &shop).await;
    for (paying, secret, off) in [(&first, SECRETS[1], -4), (&second, SECRETS[0], 4)] {
        let body = paying.succeeded(1999).to_string();
        let received =
            server.post_event(&body, &signature(secret, &body, Utc::now() + chrono::Duration::minutes(off))).await;
        assert_eq!(received.status, 200, "{:#}", received.body);
        assert_eq!(server.standing(&shop, paying.order).await, "PAID PAID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_often_has_one_effect() {
    let (server, shop, paying) = start().await;
    let event = paying.succeeded(1999);
    let answers = join_all((0..24).map(|_| server.stripe_says(&event))).await;
    assert_eq!(tally(&answers), [("OK", 24)].into());
    assert_eq!(events_applied(&server, &shop).await, 1);
    let paid = "select count(*) from order_status_history where to_status = 'PAID'";
    assert_eq!(server.database.rows(shop.id, paid).await, ["1"]);
    // Another event about the same is applied too, and changes nothing.
    assert_eq!(server.stripe_says(&paying.succeeded(1999)).await.status, 200);
    assert_eq!(server.database.rows(shop.id, paid).await, ["1"]);
    assert_eq!(server.standing(&shop, paying.order).await, "PAID PAID");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_of_events_has_the_same_end() {
    let (server, shop, _) = start().await;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let paying = another(&server, &shop).await;
        let events = [paying.failed(), paying.succeeded(1999), paying.refunded(1999, 1999)];
        for number in order {
            assert_eq!(server.stripe_says(&events[number]).await.status, 200, "{order:?}");
        }
        assert_eq!(server.standing(&shop, paying.order).await, "PAID REFUNDED", "{order:?}");
    }
    // Without a refund, and with one of a part.
    for (events, end) in
        [(vec!["failed"], "PENDING FAILED"), (vec!["succeeded", "failed"], "PAID PAID"), (vec!["part"], "PAID PAID")]
    {
        let paying = another(&server, &shop).await;
        for name in &events {
            let event = match *name {
                "failed" => paying.failed(),
                "succeeded" => paying.succeeded(1999),
                _ => paying.refunded(500, 1999),
            };
            assert_eq!(server.stripe_says(&event).await.status, 200);
        }
        assert_eq!(server.standing(&shop, paying.order).await, end, "{events:?}");
    }
    assert_eq!(server.database.violations(shop.id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_no_concern_is_received_and_changes_nothing() {
    let (server, _, paying) = start().await;
    let before = server.database.contents(None).await;
    let stranger = Paying { payment: Uuid::now_v7(), intent: "pi_of_somebody_else".into(), ..paying.clone() };
    let unknown = event("customer.created", &json!({"id": "cus_1", "object": "customer"}));
    let without_object = json!({"id": "evt_1", "type": "payment_intent.succeeded"});
    for event in [stranger.succeeded(1999), stranger.refunded(1, 1999), stranger.failed(), unknown, without_object] {
        let received = server.stripe_says(&event).await;
        assert_eq!((received.status, &received.body["data"]["received"]), (200, &json!(true)), "{event}");
    }
    assert_eq!(server.database.contents(None).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_events_are_refused() {
    let (server, ..) = start().await;
    let huge = format!("{{\"id\": \"{}\"}}", "x".repeat(2_000_000));
    for (body, status) in
        [("", 400), ("{", 400), ("[]", 400), ("{}", 400), (r#"{"id": 1, "type": "x"}"#, 400), (&huge, 413)]
    {
        let refused = server.post_event(body, &signature(SECRETS[0], body, Utc::now())).await;
        let code = if status == 413 { "PAYLOAD_TOO_LARGE" } else { "VALIDATION_ERROR" };
        assert_eq!((refused.status, refused.outcome()), (status, code), "{:.40}: {:#}", body, refused.body);
    }
}

/// Stripe can tell of an intent before its id was written here, and after a crash nobody else would.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_was_never_recorded_is_found_by_its_payment() {
    let (server, shop, paying) = start().await;
    let forget = format!("update payments set stripe_payment_intent = null where id = '{}'", paying.payment);
    server.database.as_superuser().await.batch_execute(&forget).await.expect("the superuser may");
    assert_eq!(server.stripe_says(&paying.succeeded(1999)).await.status, 200);
    assert_eq!(server.standing(&shop, paying.order).await, "PAID PAID");
    let recorded = server.database.rows(shop.id, "select stripe_payment_intent from payments").await;
    assert_eq!(recorded, [paying.intent]);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_does_not_fit_is_flagged_and_given_back() {
    let (server, shop, _) = start().await;
    let cancel = "mutation($id: ID!) { orderCancel(id: $id) { userErrors { code } } }";
    for (case, end) in [
        ("less", "PENDING REFUNDED AMOUNT_MISMATCH"),
        ("more", "PENDING REFUNDED AMOUNT_MISMATCH"),
        ("currency", "PENDING REFUNDED CURRENCY_MISMATCH"),
        ("cancelled", "CANCELLED REFUNDED ORDER_CANCELLED"),
    ] {
        let paying = another(&server, &shop).await;
        // The stand-in captures what was asked for; what Stripe says of it is made up.
        server.stripe.hold_webhooks();
        server.stripe.confirm(&paying.intent).await;
        let event = match case {
            "less" => paying.succeeded(1998),
            "more" => paying.succeeded(2000),
            "currency" => {
                let mut event = paying.succeeded(1999);
                event["data"]["object"]["currency"] = json!("eur");
                event
            }
            _ => {
                server.mutate(&shop.customer, cancel, json!({ "id": paying.order })).await;
                paying.succeeded(1999)
            }
        };
        assert_eq!(server.stripe_says(&event).await.status, 200, "{case}");
        server.until_standing(&shop, paying.order, end).await;
        let query = "query($id: ID!) { order(id: $id) { payment { refunds { status reason } } } }";
        let order = server.data(&shop.admin, query, json!({ "id": paying.order })).await["order"].clone();
        let refunds: &Value = &order["payment"]["refunds"];
        let reason = end.rsplit(' ').next();
        assert_eq!(refunds, &json!([{"status": "SUCCEEDED", "reason": reason}]), "{case}");
        assert_eq!(server.stripe.refunded(&paying.intent), 1999, "{case}");
    }
    let flagged = "{ payments(filter: {hasProblem: true}) { totalCount } }";
    assert_eq!(server.data(&shop.merchant, flagged, json!({})).await["payments"]["totalCount"], 4);
    assert_eq!(server.database.violations(shop.id).await, Vec::<String>::new());
}

/// Nothing is applied while the order is locked by somebody else for too long, and Stripe is asked to try again.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_stays_locked_is_a_503() {
    let (server, shop, paying) = start().await;
    let superuser = server.database.as_superuser().await;
    superuser.batch_execute("begin; lock table orders in exclusive mode").await.expect("a lock");
    let late = server.stripe_says(&paying.succeeded(1999)).await;
    assert_eq!((late.status, late.outcome()), (503, "SERVICE_UNAVAILABLE"));
    superuser.batch_execute("rollback").await.expect("no lock");
    assert_eq!(events_applied(&server, &shop).await, 0);
    assert_eq!(server.stripe_says(&paying.succeeded(1999)).await.status, 200);
    tokio::time::timeout(Duration::from_secs(30), server.until_standing(&shop, paying.order, "PAID PAID"))
        .await
        .expect("paid");
}
