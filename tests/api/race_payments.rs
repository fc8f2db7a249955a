//! Money at once: however paying, cancelling, expiring and refunding fall together, nobody is charged for nothing and nothing
//! is given back twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join_all};
use mercato::config::Config;
use serde_json::json;
use uuid::Uuid;

use crate::support::expect::pause;
use crate::support::payments::Paying;
use crate::support::process::ServerProcess;
use crate::support::shop::id;
use crate::support::{Shop, TestDatabase, TestServer, tally};

const CANCEL: &str = "mutation($id: ID!) { orderCancel(id: $id) { order { status } userErrors { code } } }";
const REFUND: &str = "mutation($id: ID!, $amount: Decimal) {
    refundCreate(input: {paymentId: $id, amount: $amount}) { refund { id } userErrors { code } } }";
const ROUNDS: usize = 100;
/// How many rounds run at the same time.
const AT_ONCE: usize = 10;

struct World {
    server: TestServer,
    shop: Shop,
    product: Uuid,
}

impl World {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start_with(|config| {
            config.server.database_pool_wait = Duration::from_mins(1);
            config.server.jobs_poll = Duration::from_millis(20);
            change(config);
        })
        .await;
        let shop = server.shop("racing").await;
        let product = shop.product(&server, "PIECE", "19.99", 10_000).await;
        Self { server, shop, product }
    }

    /// Runs all rounds and says how their orders stand once nothing moves any more.
    async fn rounds(&self, round: impl AsyncFn(usize) -> Uuid) -> BTreeMap<String, usize> {
        let mut orders = Vec::new();
        for first in (0..ROUNDS).step_by(AT_ONCE) {
            orders.extend(join_all((first..first + AT_ONCE).map(|n| round(n))).await);
        }
        self.server.stripe.until_told().await;
        self.assert_in_order().await;
        let ends = "select concat_ws(' ', o.status, p.status, p.problem) from orders o left join payments p on p.order_id = o.id";
        let ends = self.server.database.rows(self.shop.id, ends).await;
        assert_eq!(ends.len(), orders.len());
        ends.into_iter().fold(BTreeMap::new(), |mut ends, end| {
            *ends.entry(end).or_default() += 1;
            ends
        })
    }

    async fn paying(&self) -> Paying {
        self.server.paying(&self.shop, self.product).await
    }

    async fn paid(&self) -> Paying {
        let paying = self.paying().await;
        assert_eq!(self.server.stripe.confirm(&paying.intent).await, 200);
        self.server.until_standing(&self.shop, paying.order, "PAID PAID").await;
        paying
    }

    async fn assert_in_order(&self) {
        self.server.until_settled().await;
        assert_eq!(self.server.database.violations(self.shop.id).await, Vec::<String>::new());
        assert_eq!(self.server.stripe.discrepancies(&self.server, &self.shop).await, Vec::<String>::new());
    }
}

fn only(ends: &BTreeMap<String, usize>, allowed: &[&str]) {
    assert!(ends.keys().all(|end| allowed.contains(&end.as_str())), "{ends:?}");
    assert_eq!(ends.values().sum::<usize>(), ROUNDS, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_paying_and_cancelling() {
    let world = World::start(|_| {}).await;
    let World { server, shop, .. } = &world;
    let ends = world
        .rounds(async |_| {
            let paying = world.paying().await;
            let cancel = server.graphql(&shop.customer, CANCEL, json!({ "id": paying.order }));
            let (_, cancelled) = join(server.stripe.confirm(&paying.intent), cancel).await;
            assert_eq!(cancelled.outcome(), "OK");
            paying.order
        })
        .await;
    only(&ends, &["CANCELLED PENDING", "CANCELLED REFUNDED", "CANCELLED REFUNDED ORDER_CANCELLED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_paying_and_expiring() {
    let impatient = |config: &mut Config| {
        config.server.order_payment_ttl = Duration::from_millis(60);
        config.server.jobs_poll = Duration::from_millis(20);
    };
    let world = World::start(impatient).await;
    let World { server, shop, product } = &world;
    // Two replicas look for the same work.
    let _replica = TestServer::with_stripe(server.database.clone(), server.stripe.clone(), impatient).await;
    let ends = world
        .rounds(async |_| {
            let order = id(&shop.order(server, &shop.customer, &[(*product, 1)]).await["order"]["id"]);
            let asked = server.try_intend(&shop.customer, order).await;
            // The order may have expired by now, and the intent may be cancelled.
            if let Some(intent) = asked.body.pointer("/data/paymentIntentCreate/payment/stripePaymentIntent") {
                server.stripe.confirm(intent.as_str().expect("an intent")).await;
            }
            while server.standing(shop, order).await.starts_with("PENDING") {
                pause().await;
            }
            order
        })
        .await;
    only(&ends, &["PAID PAID", "CANCELLED", "CANCELLED PENDING", "CANCELLED REFUNDED ORDER_CANCELLED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_refunds() {
    let world = World::start(|_| {}).await;
    let World { server, shop, .. } = &world;
    let ends = world
        .rounds(async |_| {
            let paying = world.paid().await;
            let part = json!({"id": paying.payment, "amount": "7.00"});
            let answers = join_all((0..6).map(|_| server.graphql(&shop.merchant, REFUND, part.clone()))).await;
            // What Stripe has told and what we are about to write down may be counted twice for a moment: never too much.
            let tally = tally(&answers);
            assert!(
                tally["OK"] == 2 && tally.keys().all(|it| ["OK", "VALIDATION_ERROR", "CONFLICT"].contains(it)),
                "{tally:?}"
            );
            paying.order
        })
        .await;
    only(&ends, &["PAID PAID"]);
    let back = server.database.rows(shop.id, "select distinct refunded_amount from payments").await;
    assert_eq!(back, ["14.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_refunding_cancelling_and_stripes_own_refund() {
    let world = World::start(|_| {}).await;
    let World { server, shop, .. } = &world;
    let ends = world
        .rounds(async |_| {
            let paying = world.paid().await;
            let all = server.graphql(&shop.merchant, REFUND, json!({ "id": paying.payment }));
            let cancel = server.graphql(&shop.admin, CANCEL, json!({ "id": paying.order }));
            let (_, (cancelled, _)) = join(all, join(cancel, server.stripe.refund(&paying.intent, 1999))).await;
            assert_eq!(cancelled.outcome(), "OK");
            paying.order
        })
        .await;
    only(&ends, &["CANCELLED REFUNDED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_intents() {
    let world = World::start(|_| {}).await;
    let World { server, shop, product } = &world;
    let ends = world
        .rounds(async |_| {
            let order = id(&shop.order(server, &shop.customer, &[(*product, 1)]).await["order"]["id"]);
            let answers = join_all((0..4).map(|_| server.try_intend(&shop.customer, order))).await;
            assert_eq!(tally(&answers), [("OK", 4)].into());
            assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:#?}");
            order
        })
        .await;
    only(&ends, &["PENDING PENDING"]);
    assert_eq!(server.stripe.intents(), ROUNDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn race_of_intents_and_cancelling() {
    let world = World::start(|_| {}).await;
    let World { server, shop, product } = &world;
    let ends = world
        .rounds(async |_| {
            let order = id(&shop.order(server, &shop.customer, &[(*product, 1)]).await["order"]["id"]);
            let cancel = server.graphql(&shop.customer, CANCEL, json!({ "id": order }));
            let (asked, cancelled) = join(server.try_intend(&shop.customer, order), cancel).await;
            assert_eq!(cancelled.outcome(), "OK");
            assert!(matches!(asked.outcome(), "OK" | "INVALID_STATUS_TRANSITION"), "{:#}", asked.body);
            order
        })
        .await;
    only(&ends, &["CANCELLED", "CANCELLED PENDING"]);
}

/// Killed at fifty moments of fifty payments: the next server brings every order to a legal end.
#[tokio::test(flavor = "multi_thread")]
async fn crash_in_the_middle_of_payments() {
    const KILLS: u64 = 50;
    let database = TestDatabase::create().await;
    let mut process = ServerProcess::start(database.clone()).await;
    let shop = process.server.shop("crashing").await;
    let product = shop.product(&process.server, "PIECE", "19.99", 10_000).await;
    for kill in 0..KILLS {
        let (url, stripe) = (process.server.url.clone(), process.server.stripe.clone());
        let server = TestServer::at(url, database.clone(), stripe.clone());
        let flow = async {
            // Each step may fail, because the server goes away.
            let create = crate::support::shop::ORDER_CREATE;
            let input = json!({"input": crate::support::shop::order_input(&[(product, 1)])});
            let Some(placed) = server.try_graphql(&shop.customer, create, input).await else { return };
            let order = id(&placed.body["data"]["orderCreate"]["order"]["id"]);
            let Some(asked) =
                server.try_graphql(&shop.customer, crate::support::payments::CREATE, json!({ "order": order })).await
            else {
                return;
            };
            let intent = asked.body["data"]["paymentIntentCreate"]["payment"]["stripePaymentIntent"].clone();
            let Some(intent) = intent.as_str() else { return };
            stripe.confirm(intent).await;
            if kill % 2 == 0 {
                server.try_graphql(&shop.customer, CANCEL, json!({ "id": order })).await;
            }
        };
        let moment = Duration::from_millis(kill * 3 % 70);
        let killer = async {
            // The moment is what is tried; nothing is waited for.
            tokio::time::sleep(moment).await;
            process.kill().await;
        };
        join(async { tokio::join!(flow, killer) }, async {}).await;
        process = ServerProcess::with_stripe(database.clone(), stripe).await;
    }
    // What nobody pays any more is let go at once.
    let patient = process;
    let stripe = patient.server.stripe.clone();
    stripe.until_told().await;
    patient.kill().await;
    let server = TestServer::with_stripe(database.clone(), stripe.clone(), |config| {
        config.server.order_payment_ttl = Duration::ZERO;
        config.server.jobs_poll = Duration::from_millis(20);
    })
    .await;
    stripe.deliver_to(&server.url);
    // The dead hold their tasks for a while; nobody has to wait for that here.
    let forget = "update payment_tasks set due_at = now()";
    database.as_superuser().await.batch_execute(forget).await.expect("the superuser may");
    let waiting = "select 1 from orders where status = 'PENDING'";
    while !database.rows(shop.id, waiting).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.until_settled().await;
    assert_eq!(database.violations(shop.id).await, Vec::<String>::new());
    assert_eq!(stripe.discrepancies(&server, &shop).await, Vec::<String>::new());
}
