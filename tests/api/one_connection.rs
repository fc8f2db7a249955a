//! Two shops on one connection, and clients that go away at any moment: no row, lock or transaction is left behind.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::response::Response;
use futures_util::future::join_all;
use mercato::app::App;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::support::clients::abandoned_after;
use crate::support::shop::order_input;
use crate::support::{As, Shop, TestServer};

const SEED: u64 = 0x2545_F491_4F6C_DD1D;
/// So many of each kind, whatever the machine is busy with; and an end, should one kind never come.
const FINISHED: usize = 150;
const ABANDONED: usize = 100;
const MOST_ROUNDS: usize = 1_000;
const AT_ONCE: usize = 8;

/// Numbers that look random and are the same every time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("a small number")
    }
}

/// A shop whose things all have its name in theirs.
struct Stall {
    shop: Shop,
    product: Uuid,
}

impl Stall {
    async fn open(server: &TestServer, name: &str) -> Self {
        let shop = server.shop(name).await;
        let product = shop.product(server, &format!("{name}-1"), "1.00", 10_000).await;
        shop.product(server, &format!("{name}-2"), "2.00", 5).await;
        Self { shop, product }
    }

    fn request(&self, kind: usize) -> Request<Body> {
        let list = "{ tenant { name } products { totalCount nodes { sku inventory { quantity } } }
            orders { nodes { items { sku } } } users { totalCount } }";
        let order = "mutation($input: OrderCreateInput!) { orderCreate(input: $input) { order { items { sku } } userErrors { code } } }";
        let adjust = "mutation($input: InventoryAdjustInput!) { inventoryAdjust(input: $input) { inventory { product { sku } } } }";
        let (who, query, input) = match kind {
            0 => (&self.shop.customer, order, order_input(&[(self.product, 1)])),
            1 => (&self.shop.merchant, adjust, json!({"productId": self.product, "delta": 1})),
            _ => (&self.shop.admin, list, Value::Null),
        };
        let As::Token(token) = who else { panic!("logged in") };
        let body = json!({"query": query, "variables": {"input": input}}).to_string();
        let request = Request::post("/graphql").header("authorization", format!("Bearer {token}"));
        request.header("content-type", "application/json").body(Body::from(body)).expect("a request")
    }

    /// An answer has data, and nothing but this shop's.
    fn check(&self, text: &str) {
        let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(answer.get("errors"), None, "{text}");
        let own = format!("\"{}", self.shop.subdomain);
        let skus = text.matches("\"sku\":\"").count();
        assert_eq!(text.matches(&format!("\"sku\":{own}-")).count(), skus, "{text}");
        assert!(skus > 0, "{text}");
        if let Some(tenant) = answer["data"].get("tenant") {
            assert_eq!(tenant["name"], self.shop.subdomain, "{text}");
            assert_eq!(answer["data"]["products"]["totalCount"], 2, "{text}");
            assert_eq!(answer["data"]["users"]["totalCount"], 3, "{text}");
        }
    }
}

async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shops_share_one_connection_with_clients_that_go_away() {
    let server = TestServer::start().await;
    let stalls = [Stall::open(&server, "left").await, Stall::open(&server, "right").await];
    let mut config = server.database.config();
    config.server.database_pool_size = 1;
    config.server.database_pool_wait = Duration::from_secs(30);
    let router =
        App::build(&config, mercato::app::services(&config).expect("the services"), None).expect("the app").router();
    let mut numbers = Numbers(SEED);
    let (mut finished, mut abandoned) = (0, 0);
    let mut rounds = 0;
    while (finished < FINISHED || abandoned < ABANDONED) && rounds < MOST_ROUNDS {
        rounds += 1;
        let requests = (0..AT_ONCE).map(|_| {
            let stall = &stalls[numbers.below(2)];
            let request = stall.request(numbers.below(4));
            // Every second client stays, whatever it takes.
            let polls = if numbers.below(2) == 0 { usize::MAX } else { numbers.below(12) };
            let answered = router.clone().oneshot(request);
            async move { (stall, abandoned_after(polls, answered).await) }
        });
        for (stall, answer) in join_all(requests).await {
            match answer {
                Some(Ok(response)) => {
                    stall.check(&text(response).await);
                    finished += 1;
                }
                None => abandoned += 1,
            }
        }
    }
    assert!(rounds < MOST_ROUNDS, "{finished} finished, {abandoned} abandoned; seed {SEED:#x}");
    // Rollbacks of abandoned requests may still be on their way.
    server.database.until_idle().await;
    for stall in &stalls {
        let response = router.clone().oneshot(stall.request(2)).await.expect("an answer");
        stall.check(&text(response).await);
        assert_eq!(server.database.violations(stall.shop.id).await, Vec::<String>::new());
    }
}
