//! What a client was told of is there, whatever is killed and when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use uuid::Uuid;

use crate::support::process::ServerProcess;
use crate::support::shop::{ORDER_CREATE, id, order_input};
use crate::support::{Answer, Shop, TestDatabase, TestServer, answer, tally, try_answer};

const CANCEL: &str = "mutation($id: ID!) { orderCancel(id: $id) { order { id } userErrors { code } } }";
const BUYERS: usize = 6;
const SEED: u64 = 0x6d65_7263_6174_6f21;

/// What a client was told: this order exists, in this state.
type Told = (Uuid, &'static str);

/// The numbers that decide when something is killed, the same in every run (Knuth's MMIX generator).
fn random_numbers() -> impl Iterator<Item = u64> {
    let next = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(SEED), next).skip(1).map(|x| x >> 33)
}

/// Checks that everything that clients were told of is in the database, and that all of it adds up.
async fn assert_kept(database: &TestDatabase, shop: &Shop, told: &[Told]) {
    // An order that was cancelled is told of twice, the later word last.
    let told: BTreeMap<String, &str> = told.iter().map(|(order, status)| (order.to_string(), *status)).collect();
    let rows = database.rows(shop.id, "select id, status from orders").await;
    let kept: BTreeMap<_, _> = rows.iter().filter_map(|row| row.split_once('|')).collect();
    // A cancellation may have been done though its answer was lost; the contrary may not happen.
    let lost: Vec<_> = told
        .iter()
        .filter(|(order, status)| {
            !matches!((**status, kept.get(order.as_str())), ("PENDING", Some(_)) | (_, Some(&"CANCELLED")))
        })
        .collect();
    assert!(lost.is_empty(), "seed {SEED:#x}: {lost:?} of {} orders", told.len());
    assert_eq!(database.violations(shop.id).await, Vec::<String>::new(), "seed {SEED:#x}");
}

/// Somebody who buys the same things again and again, and passes on what the server says.
struct Buyer<'a> {
    server: &'a TestServer,
    shop: &'a Shop,
    basket: Vec<(Uuid, i64)>,
    told: UnboundedSender<Told>,
}

impl Buyer<'_> {
    fn tell(&self, order: &Value, status: &'static str) {
        // When the test has failed, nobody listens.
        let _ = self.told.send((id(order), status));
    }

    /// The answer to a mutation, which is a good one, or none when the server breaks off.
    async fn ask(&self, mutation: &str, variables: Value) -> Option<Answer> {
        let body = json!({"query": mutation, "variables": variables});
        let request = self.server.request(Method::POST, "/graphql", &self.shop.customer);
        let answer = try_answer(request.json(&body)).await.ok()?;
        assert_eq!(answer.outcome(), "OK", "{:#}", answer.body);
        Some(answer)
    }

    /// Orders, and cancels every second order, until the server breaks off.
    async fn buy_until_the_end(self) {
        for turn in 0.. {
            let input = json!({ "input": order_input(&self.basket) });
            let Some(placed) = self.ask(ORDER_CREATE, input).await else { return };
            let order = &placed.body["data"]["orderCreate"]["order"]["id"];
            self.tell(order, "PENDING");
            if turn % 2 == 0 {
                let Some(_) = self.ask(CANCEL, json!({ "id": order })).await else { return };
                self.tell(order, "CANCELLED");
            }
        }
    }

    /// Orders, by GraphQL and REST in turn, until it is time to stop, and returns all answers.
    async fn buy_until(self, stop: &AtomicBool) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let input = order_input(&self.basket);
            let answer = if answers.len().is_multiple_of(2) {
                self.server.graphql(&self.shop.customer, ORDER_CREATE, json!({ "input": input })).await
            } else {
                self.server.rest(&self.shop.customer, Method::POST, "/orders", Some(input)).await
            };
            let data = &answer.body["data"];
            let order = data.pointer("/orderCreate/order/id").unwrap_or(&data["id"]);
            if answer.outcome() == "OK" {
                self.tell(order, "PENDING");
            }
            answers.push(answer);
        }
        answers
    }
}

/// Adds so many further things to what was told.
async fn listen(told: &mut UnboundedReceiver<Told>, all: &mut Vec<Told>, count: u64) {
    for _ in 0..count {
        all.push(told.recv().await.expect("buyers go on until they are stopped"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_server_loses_nothing_that_was_told() {
    let database = TestDatabase::create().await;
    let mut process = ServerProcess::start(database.clone()).await;
    let shop = process.server.shop("crashing").await;
    let a = shop.product(&process.server, "A", "1.00", 100_000).await;
    let b = shop.product(&process.server, "B", "2.50", 100_000).await;
    let mut all = Vec::new();
    for kill_after in random_numbers().map(|x| 1 + x % 80).take(5) {
        let server = TestServer::at(process.server.url.clone(), database.clone(), process.server.stripe.clone());
        let (tell, mut told) = mpsc::unbounded_channel();
        let buyer = |n: usize| {
            let basket = if n.is_multiple_of(2) { vec![(a, 1), (b, 2)] } else { vec![(b, 1), (a, 2)] };
            Buyer { server: &server, shop: &shop, basket, told: tell.clone() }.buy_until_the_end()
        };
        let buyers = join_all((0..BUYERS).map(buyer));
        let killer = async {
            listen(&mut told, &mut all, kill_after).await;
            process.kill().await;
        };
        join(buyers, killer).await;
        drop(tell);
        while let Some(late) = told.recv().await {
            all.push(late);
        }
        assert_kept(&database, &shop, &all).await;

        let restarted = Instant::now();
        process = ServerProcess::start(database.clone()).await;
        let ready = answer(process.server.http.get(format!("{}/ready", process.server.url))).await;
        assert_eq!(ready.body, json!({"status": "ready", "db": "ok", "redis": "ok"}));
        assert!(restarted.elapsed() < Duration::from_secs(5), "{:?}", restarted.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_connections_is_a_503_and_passes() {
    let server = TestServer::start().await;
    let shop = server.shop("crashing").await;
    let product = shop.product(&server, "A", "1.00", 100_000).await;
    let superuser = server.database.as_superuser().await;
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and usename = 'mercato_app'";
    let (tell, mut told) = mpsc::unbounded_channel();
    let (stop, mut all) = (AtomicBool::new(false), Vec::new());
    let buyer = |_| {
        let basket = vec![(product, 1)];
        Buyer { server: &server, shop: &shop, basket, told: tell.clone() }.buy_until(&stop)
    };
    let buyers = join_all((0..BUYERS).map(buyer));
    let killer = async {
        for kill_after in random_numbers().map(|x| 1 + x % 20).take(8) {
            listen(&mut told, &mut all, kill_after).await;
            superuser.simple_query(terminate).await.expect("the superuser may");
        }
        // Orders go on being placed after the last blow.
        listen(&mut told, &mut all, 20).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = join(buyers, killer).await;
    drop(tell);
    while let Some(late) = told.recv().await {
        all.push(late);
    }
    let answers = answers.concat();
    let outcomes = tally(&answers);
    let wrong = |answer: &&Answer| {
        !matches!((answer.outcome(), answer.status), ("OK", 200 | 201) | ("SERVICE_UNAVAILABLE", 200 | 503))
    };
    assert_eq!(answers.iter().find(wrong), None, "{outcomes:?}");
    assert!(outcomes.contains_key("SERVICE_UNAVAILABLE"), "nothing was hit");
    assert_kept(&server.database, &shop, &all).await;
    let after = join_all((0..20).map(|_| server.rest(&shop.customer, Method::GET, "/orders", None))).await;
    assert_eq!(tally(&after), [("OK", 20)].into());
}
