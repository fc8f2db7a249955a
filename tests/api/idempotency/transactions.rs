//! The effect and its answer are one: under races, when clients go away, when a part fails, and at Stripe.

use std::time::Duration;

use futures_util::future::{join, join_all};
use mercato::db::{SystemReason, idempotency};
use serde_json::{Value, json};

use super::world::{CANCEL, World, assert_once, assert_same, graphql, patient};
use crate::support::shop::{ORDER_CREATE, id};
use crate::support::try_answer;

const INTENT: &str = "mutation($order: ID!) { paymentIntentCreate(input: {orderId: $order}) {
    payment { stripePaymentIntent } clientSecret userErrors { code } } }";

#[tokio::test(flavor = "multi_thread")]
async fn race_of_one_key_runs_once() {
    let world = World::with(2, patient).await;
    assert_once(&join_all((0..50).map(|_| world.order("one", 1))).await);
    assert_once(&join_all((0..50).map(|_| world.rest_order("two", 1))).await);
    assert_eq!((world.orders().await.len(), world.stock().await.as_str()), (2, "0"));
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_one_key_on_one_connection_runs_once() {
    let world = World::with(1, |config| {
        patient(config);
        config.server.database_pool_size = 1;
    })
    .await;
    assert_once(&join_all((0..20).map(|_| world.order("key", 1))).await);
    assert_eq!(world.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_two_requests_under_one_key_runs_one() {
    let world = World::with(100, patient).await;
    let told = join_all((0..20).map(|n| world.order("key", 1 + n % 2))).await;
    assert_eq!(world.orders().await.len(), 1);
    assert_eq!(told.iter().filter(|told| told.outcome() == "IDEMPOTENCY_KEY_REUSED").count(), 10);
    assert_eq!(told.iter().filter(|told| told.outcome() == "OK" && told.is_replayed()).count(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_waits_for_the_first() {
    let world = World::start().await;
    let owner = world.server.database.as_owner().await;
    owner.batch_execute("begin; lock table orders in access exclusive mode").await.expect("a lock");
    let meanwhile = async {
        world.server.database.until_blocked(2).await;
        owner.batch_execute("commit").await.expect("the lock is released");
    };
    let ((one, other), ()) = join(join(world.order("key", 1), world.order("key", 1)), meanwhile).await;
    assert_once(&[one, other]);
    assert_eq!(world.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_can_ask_again() {
    let world = World::with(100, |config| config.server.database_pool_size = 1).await;
    let owner = world.server.database.as_owner().await;
    let request = || graphql(&world.server, &world.shop.customer, "key", ORDER_CREATE, world.basket(1));
    owner.batch_execute("begin; lock table orders in access exclusive mode").await.expect("a lock");
    tokio::select! {
        answer = try_answer(request()) => panic!("nobody can answer yet: {answer:?}"),
        () = world.server.database.until_blocked(1) => {}
    }
    owner.batch_execute("commit").await.expect("the lock is released");
    let told = world.order("key", 1).await;
    assert_eq!((told.outcome(), told.is_replayed()), ("OK", false), "{}", told.text);
    assert_same(&told, &world.order("key", 1).await);
    assert_eq!((world.orders().await.len(), world.stock().await.as_str()), (1, "99"));
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_ours_undo_everything_and_are_not_kept() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let before = server.database.contents(Some(shop.id)).await;
    // Half-way through, and when the order is written but its answer cannot be read.
    let told = ORDER_CREATE.replace("order { id", "order { statusHistory { to } id");
    let harms = [("insert on orders", "one", false), ("select on order_status_history", "two", true)];
    for (right, key, retryable) in harms {
        let superuser = server.database.as_superuser().await;
        superuser.batch_execute(&format!("revoke {right} from mercato_app")).await.expect("harm is done");
        for _ in 0..2 {
            let failed = world.graphql(&shop.customer, key, &told, world.basket(1)).await;
            assert_eq!((failed.outcome(), failed.is_replayed()), ("INTERNAL", false), "{}", failed.text);
            assert_eq!(failed.answer.body["errors"][0]["extensions"]["retryable"], retryable);
            assert_eq!(failed.answer.body["data"], Value::Null);
        }
        assert_eq!(server.database.contents(Some(shop.id)).await, before);
        superuser.batch_execute(&format!("grant {right} to mercato_app")).await.expect("harm is undone");
    }
    for (_, key, _) in harms {
        let done = world.graphql(&shop.customer, key, &told, world.basket(1)).await;
        assert_eq!((done.outcome(), done.is_replayed()), ("OK", false), "{}", done.text);
        assert_same(&done, &world.graphql(&shop.customer, key, &told, world.basket(1)).await);
    }
    assert_eq!((world.orders().await.len(), world.stock().await.as_str()), (2, "98"));
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_given_again() {
    let world = World::with(1, |_| {}).await;
    let World { server, shop, product } = &world;
    let (refused, rest_refused) = (world.order("one", 5).await, world.rest_order("two", 5).await);
    assert_eq!((refused.outcome(), rest_refused.answer.status), ("INSUFFICIENT_STOCK", 409), "{}", rest_refused.text);
    let adjust = "mutation($id: ID!) { inventoryAdjust(input: {productId: $id, delta: 50}) { userErrors { code } } }";
    server.mutate(&shop.merchant, adjust, json!({ "id": product })).await;
    assert_same(&refused, &world.order("one", 5).await);
    assert_same(&rest_refused, &world.rest_order("two", 5).await);
    assert_eq!((world.orders().await.len(), world.order("three", 5).await.outcome()), (0, "OK"));
    world.assert_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_had_its_day_is_swept() {
    let world = World::start().await;
    let services = mercato::app::services(&world.server.database.config()).expect("the services");
    for key in ["old", "new"] {
        assert_eq!(world.order(key, 1).await.outcome(), "OK");
    }
    let old = "update idempotency_keys set created_at = now() - interval '24 hours 1 second' where key = 'old';
        insert into idempotency_keys (tenant_id, actor_id, operation, key, fingerprint, created_at)
        select gen_random_uuid(), gen_random_uuid(), 'any', i::text, 'any', now() - interval '2 days'
        from generate_series(1, 12000) i";
    world.server.database.as_superuser().await.batch_execute(old).await.expect("old rows");
    // The server's own job may be quicker with some of them.
    let tx = services.db.system(SystemReason::Sweep, None).await.expect("a transaction");
    let swept = idempotency::sweep(&tx).await.expect("it may");
    tx.commit().await.expect("swept");
    assert!(swept <= 12_001, "{swept}");
    assert_eq!(world.superuser("select key from idempotency_keys").await, ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_asked_for_once() {
    let world = World::start().await;
    let World { server, shop, .. } = &world;
    let order = id(&world.order("order", 1).await.answer.body["data"]["orderCreate"]["order"]["id"]);
    let ask = async |key: &str| world.graphql(&shop.customer, key, INTENT, json!({ "order": order })).await;
    let told = join_all((0..10).map(|_| ask("one"))).await;
    assert_once(&told);
    let payment = &told[0].answer.body["data"]["paymentIntentCreate"]["payment"];
    let intent = payment["stripePaymentIntent"].as_str().expect("an intent").to_owned();
    assert_eq!(server.stripe.intents(), 1);

    // Cancelled at Stripe's side, and nobody has told us yet: another key gets another intent.
    server.stripe.hold_webhooks();
    let cancel = format!("{}/v1/payment_intents/{intent}/cancel", server.stripe.url);
    assert!(server.http.post(cancel).send().await.expect("the stand-in answers").status().is_success());
    let other = ask("two").await;
    assert_eq!(other.outcome(), "OK", "{}", other.text);
    assert!(!other.text.contains(&intent), "{}", other.text);
    assert_same(&other, &ask("two").await);
    assert_same(&told.into_iter().find(|told| !told.is_replayed()).expect("the first"), &ask("one").await);
    assert_eq!(server.stripe.intents(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_begins_when_its_cause_is_committed() {
    // Nothing is looked for: what the job does it was told of.
    let world = World::with(100, |config| config.server.jobs_poll = Duration::from_hours(1)).await;
    let paying = world.server.paying(&world.shop, world.product).await;
    let cancelled = world.graphql(&world.shop.customer, "key", CANCEL, json!({ "id": paying.order })).await;
    assert_eq!(cancelled.outcome(), "OK", "{}", cancelled.text);
    world.server.until_settled().await;
    assert_eq!(world.server.stripe.discrepancies(&world.server, &world.shop).await, Vec::<String>::new());
}
