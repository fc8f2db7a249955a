//! Another shop's objects are as good as none: every operation, called with every id of another shop.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::operations::{Input, Operation, Schema, put};
use crate::support::samples::Goods;
use crate::support::{Answer, As, Shop, TestServer, answer};

/// Two shops with one of everything each.
struct Shops {
    server: TestServer,
    own: Shop,
    own_goods: Goods,
    other: Shop,
    other_goods: Goods,
}

impl Shops {
    async fn open() -> Self {
        let server = TestServer::start().await;
        let (own, other) = (server.shop("own").await, server.shop("other").await);
        let (own_goods, other_goods) = (Goods::new(&server, &own).await, Goods::new(&server, &other).await);
        Self { server, own, own_goods, other, other_goods }
    }

    /// All ids of the other shop.
    fn foreign_ids(&self) -> Vec<Uuid> {
        let goods = self.other_goods.by_type(&self.other).map(|(_, id)| id);
        [&goods[..], &[self.other.admin_id, self.other.customer_id]].concat()
    }

    async fn ask(&self, operation: &Operation, input: &Input, id: Uuid) -> Answer {
        let missing = format!("{} is new: say in support/samples.rs how to call it", operation.name);
        let mut arguments = self.own_goods.arguments(&operation.name, &self.own).expect(&missing);
        put(&mut arguments, &input.path, json!(id));
        operation.call(&self.server, &self.own.admin, &arguments).await
    }
}

/// What may not differ between two answers: all but the request's id, the date, and the id that was asked for.
fn essence(answer: &Answer, asked: Uuid) -> String {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date");
    let mut text = format!("{} {headers:?} {}", answer.status, answer.body);
    if let Some(request_id) = answer.header("x-request-id") {
        text = text.replace(request_id, "<request>");
    }
    text.replace(&asked.to_string(), "<id>")
}

fn assert_unchanged(before: &[String], after: &[String]) {
    let changed: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
    assert_eq!((changed, after.len()), (vec![], before.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_id_is_like_one_of_nothing() {
    let mut shops = Shops::open().await;
    let before = shops.server.database.contents(Some(shops.other.id)).await;
    assert!(before.len() > 20, "{before:?}");
    let mut asked = 0;
    for operation in Operation::all().await {
        for input in operation.inputs.iter().filter(|input| input.kind == "ID") {
            let place = format!("{} {}", operation.name, input.path.join("."));
            let nothing = Uuid::now_v7();
            let expected = essence(&shops.ask(&operation, input, nothing).await, nothing);
            for id in shops.foreign_ids() {
                assert_eq!(essence(&shops.ask(&operation, input, id).await, id), expected, "{place}");
                asked += 1;
            }
            // It does matter what is put there.
            let arguments = shops.own_goods.arguments(&operation.name, &shops.own).expect("arguments");
            let own = operation.call(&shops.server, &shops.own.admin, &arguments).await;
            assert_eq!(own.outcome(), "OK", "{place}: {:#}", own.body);
            assert_ne!(essence(&own, nothing), expected, "{place}");
            if operation.changes {
                shops.own_goods = shops.own_goods.clone().renewed(&shops.server, &shops.own).await;
            }
        }
    }
    assert!(asked > 150, "{asked}");
    assert_unchanged(&before, &shops.server.database.contents(Some(shops.other.id)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_node_is_found_by_its_own_shop_only() {
    let shops = Shops::open().await;
    let node = "query($id: ID!) { node(id: $id) { __typename id } }";
    let types: Vec<_> = shops.own_goods.by_type(&shops.own).iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(types, Schema::load().await.nodes(), "Goods has one of each type that is a Node");
    for (type_name, id) in shops.other_goods.by_type(&shops.other) {
        let found = shops.server.data(&shops.other.admin, node, json!({ "id": id })).await;
        assert_eq!(found["node"], json!({"__typename": type_name, "id": id}));
        for who in [&shops.own.admin, &shops.own.customer, &shops.own.shopper] {
            let found = shops.server.data(who, node, json!({ "id": id })).await;
            assert_eq!(found["node"], Value::Null, "{type_name}");
        }
    }
}

/// A cursor is a place in an order of rows. Another shop's may be refused or be a place in the own list, no more.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_cursors_show_own_rows_only() {
    let shops = Shops::open().await;
    let foreign: Vec<_> = shops.foreign_ids().iter().map(Uuid::to_string).collect();
    let mut lists = 0;
    for operation in Operation::all().await {
        if !operation.inputs.iter().any(|input| input.name() == "after") {
            continue;
        }
        lists += 1;
        let all = operation.call(&shops.server, &shops.other.admin, &json!({})).await;
        let cursor = &all.body["data"][&operation.name]["edges"][0]["cursor"];
        assert!(cursor.is_string(), "{}: {:#}", operation.name, all.body);
        for place in ["after", "before"] {
            let answer = operation.call(&shops.server, &shops.own.admin, &json!({ (place): cursor })).await;
            let text = answer.body.to_string();
            assert!(matches!(answer.outcome(), "OK" | "VALIDATION_ERROR"), "{}: {text}", operation.name);
            assert!(!foreign.iter().any(|id| text.contains(id)), "{}: {text}", operation.name);
        }
    }
    assert!(lists >= 5, "{lists}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_unique_in_a_shop_tell_nothing_of_another() {
    let shops = Shops::open().await;
    let Shops { server, own, other, .. } = &shops;
    let sku = "ONLY-THERE";
    other.product(server, sku, "1.00", 1).await;
    let by_sku = "query($sku: String!) { product(identifier: {sku: $sku}) { id } products(filter: {search: $sku}) { totalCount } }";
    let found = server.data(&own.admin, by_sku, json!({ "sku": sku })).await;
    assert_eq!(found, json!({"product": null, "products": {"totalCount": 0}}));
    // Neither is taken here because it is taken there.
    own.product(server, sku, "1.00", 1).await;
    other.another_customer(server, "both@example.com").await;
    own.another_customer(server, "both@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_name_another_shop_contradict_the_token() {
    let shops = Shops::open().await;
    let Shops { server, own, other, .. } = &shops;
    let As::Shopper(other_key) = &other.shopper else { panic!("a shopper has a key") };
    let contradictions = [
        (&own.admin, "x-tenant", &other.subdomain),
        (&own.customer, "x-api-key", other_key),
        (&own.shopper, "x-tenant", &other.subdomain),
    ];
    for (who, header, value) in contradictions {
        for path in ["/api/v1/products", "/graphql?query={tenant{id}}"] {
            let request = server.request(Method::GET, path, who).header(header, value);
            let answer = answer(request.header("accept", "application/graphql-response+json, */*")).await;
            assert_eq!((answer.status, answer.outcome()), (403, "FORBIDDEN"), "{header} {path}: {:#}", answer.body);
        }
    }
}
