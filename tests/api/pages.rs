//! Pages of a list, whichever way they are turned, are the list: nothing twice, nothing lost, in its order, whatever is added
//! meanwhile.

use std::cell::Cell;
use std::collections::HashMap;

use futures_util::future::join;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::text_rows;
use crate::support::{Shop, TestServer};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const CASES: u32 = 5;
/// More than any list here has rows: who turns so many pages walks in a circle.
const MOST_PAGES: usize = 500;

/// Each sort of products, with what PostgreSQL sorts by for it, and what REST calls it.
const SORTS: [(&str, &str, Option<&str>); 4] = [
    ("NAME", "name", Some("name")),
    ("PRICE", "price", Some("price")),
    ("CREATED_AT", "created_at", Some("createdAt")),
    ("RELEVANCE", "rank", None),
];

/// The lists that have one order, and what PostgreSQL sorts by for it.
const OTHERS: [(&str, &str); 6] = [
    ("orders", "orders order by created_at desc, id desc"),
    ("users", "users order by created_at desc, id desc"),
    ("inventory", "inventory order by product_id, id"),
    ("payments", "payments order by created_at desc, id desc"),
    ("serviceAccounts", "service_accounts order by created_at desc, id desc"),
    ("auditLogs", "audit_logs order by timestamp desc, id desc"),
];

/// One more of everything that there are lists of.
#[derive(Clone, Debug)]
struct Row {
    id: Uuid,
    name: &'static str,
    description: &'static str,
    price: &'static str,
    microsecond: u8,
}

impl Row {
    fn insert(&self, shop: &Shop) -> String {
        let (Self { id, name, description, price, microsecond }, tenant) = (self, shop.id);
        let moment = format!("'2026-01-01T00:00:00.00000{microsecond}Z'");
        format!(
            "insert into products (id, tenant_id, name, price, sku, description, created_at)
                 values ('{id}', '{tenant}', '{name}', {price}, '{id}', '{description}', {moment});
             insert into inventory (id, tenant_id, product_id, quantity) values ('{id}', '{tenant}', '{id}', 1);
             insert into users (id, tenant_id, email, password_hash, role, created_at)
                 values ('{id}', '{tenant}', '{id}@example.com', '', 'CUSTOMER', {moment});
             insert into orders (id, tenant_id, customer_id, status, total_amount, customer_name, customer_email,
                     shipping_address, created_at)
                 values ('{id}', '{tenant}', '{id}', 'PENDING', 0, 'Ada', 'ada@example.com',
                     '{{\"street\": \"1\", \"city\": \"London\", \"state\": \"\", \"zip\": \"\", \"country\": \"GB\"}}',
                     {moment});
             insert into payments (id, tenant_id, order_id, amount, currency, status, created_at)
                 values ('{id}', '{tenant}', '{id}', 1, 'USD', 'PENDING', {moment});
             insert into service_accounts (id, tenant_id, name, key_hash, scopes, expires_at, created_at)
                 values ('{id}', '{tenant}', '{name}', '', '{{ORDERS_READ}}', '2100-01-01', {moment});
             insert into audit_logs (id, tenant_id, action, resource, resource_id, changes, timestamp)
                 values ('{id}', '{tenant}', 'CREATE', 'products', '{id}', '{{}}', {moment});"
        )
    }
}

/// So many rows at most, of which many have the same name, rank, price or moment. Their ids are in no order.
fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let name = select(["mug", "Mug", "mug, red", "Äpfel-mug", "zebra"].as_slice());
    let description = select(["", "mug", "a mug is a mug"].as_slice());
    let price = select(["1", "1.00", "2.5", "99"].as_slice());
    let row =
        (any::<u128>(), name, description, price, 0..3_u8).prop_map(|(id, name, description, price, microsecond)| {
            Row { id: Uuid::from_u128(id), name, description, price, microsecond }
        });
    prop::collection::vec(row, 0..=most)
}

/// How a list is read, and what is added meanwhile.
#[derive(Clone, Debug)]
struct Turn {
    size: usize,
    meanwhile: Vec<Row>,
}

/// A shop, and a turn for every list, forwards and backwards.
#[derive(Clone, Debug)]
struct Case {
    rows: Vec<Row>,
    turns: Vec<[Turn; 2]>,
}

fn cases() -> impl Strategy<Value = Case> {
    let size = prop_oneof![1..=12_usize, 1..=100_usize];
    let meanwhile = prop_oneof![1 => Just(Vec::new()), 2 => rows(10)];
    let turn = (size, meanwhile).prop_map(|(size, meanwhile)| Turn { size, meanwhile });
    let turns = prop::collection::vec([turn.clone(), turn], lists().len());
    (prop_oneof![2 => rows(30), 1 => rows(110)], turns).prop_map(|(rows, turns)| Case { rows, turns })
}

/// A list: how it is asked for, and what it is to be.
#[derive(Clone, Debug)]
struct List {
    field: &'static str,
    filter: Value,
    sort: Value,
    /// What PostgreSQL selects the ids from, and in which order.
    sorted: String,
    /// The same list in REST, if there is one: its path, up to where the page is named.
    rest: Option<String>,
}

fn lists() -> Vec<List> {
    let products = SORTS.iter().flat_map(|sort| ["ASC", "DESC"].map(|direction| List::products(*sort, direction)));
    let others = OTHERS.iter().map(|(field, sorted)| List {
        field,
        filter: Value::Null,
        sort: Value::Null,
        sorted: (*sorted).to_owned(),
        rest: ["orders", "inventory"].contains(field).then(|| format!("/{field}?")),
    });
    products.chain(others).collect()
}

impl List {
    fn products((field, column, rest): (&str, &str, Option<&str>), direction: &str) -> Self {
        let (filter, from) = match field {
            "RELEVANCE" => (json!({"search": "mug"}), "search_products('mug') join products on id = product_id"),
            _ => (Value::Null, "products"),
        };
        let sign = if direction == "DESC" { "-" } else { "" };
        Self {
            field: "products",
            filter,
            sort: json!({"field": field, "direction": direction}),
            sorted: format!("{from} order by {column} {direction}, id {direction}"),
            rest: rest.map(|name| format!("/products?sort={sign}{name}&")),
        }
    }

    fn query(&self) -> String {
        let field = self.field;
        let (declared, passed) = match field {
            "products" => (", $filter: ProductFilter, $sort: ProductSort", ", filter: $filter, sort: $sort"),
            _ => ("", ""),
        };
        format!(
            "query($first: Int, $after: String, $last: Int, $before: String, $offset: Int{declared}) {{
                {field}(first: $first, after: $after, last: $last, before: $before, offset: $offset{passed}) {{
                    edges {{ cursor node {{ id }} }}
                    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
        )
    }

    fn variables(&self, page: Value) -> Value {
        let mut variables = page;
        variables["filter"] = self.filter.clone();
        variables["sort"] = self.sort.clone();
        variables
    }
}

struct Page {
    ids: Vec<String>,
    info: Value,
}

/// A shop that fills while its lists are read.
struct Reader<'a> {
    server: &'a TestServer,
    shop: Shop,
    /// Reads the lists as they are.
    app: Client,
    /// Adds rows, without triggers and foreign keys: one in each table, and quickly.
    filler: Client,
}

impl<'a> Reader<'a> {
    async fn open(server: &'a TestServer, rows: &[Row]) -> Self {
        let shop = server.shop(&format!("ties-{}", Uuid::now_v7())).await;
        let app = server.database.as_app().await;
        app.batch_execute(&format!("set app.current_tenant_id = '{}'", shop.id)).await.expect("the tenant is set");
        let filler = server.database.as_superuser().await;
        filler.batch_execute("set session_replication_role = replica").await.expect("the superuser may");
        let rows: Vec<_> = rows.iter().map(|row| row.insert(&shop)).collect();
        filler.batch_execute(&rows.concat()).await.expect("rows");
        Self { server, shop, app, filler }
    }

    /// The ids as PostgreSQL sorts them.
    async fn sorted(&self, list: &List) -> Vec<String> {
        text_rows(&self.app, &format!("select id from {}", list.sorted)).await
    }

    async fn page(&self, list: &List, page: Value) -> Page {
        let data = self.server.data(&self.shop.admin, &list.query(), list.variables(page)).await;
        let connection = &data[list.field];
        let edges = connection["edges"].as_array().expect("edges");
        let page = Page { ids: ids(edges.iter().map(|edge| &edge["node"])), info: connection["pageInfo"].clone() };
        let cursor = |edge: Option<&Value>| edge.map_or(Value::Null, |edge| edge["cursor"].clone());
        assert_eq!(page.info["startCursor"], cursor(edges.first()));
        assert_eq!(page.info["endCursor"], cursor(edges.last()));
        page
    }

    /// All ids from front to back, or from back to front, page by page.
    async fn walk(&self, list: &List, size: usize, back: bool) -> Vec<String> {
        let mut pages = Vec::new();
        let mut cursor = Value::Null;
        while pages.len() < MOST_PAGES {
            let arguments =
                if back { json!({"last": size, "before": cursor}) } else { json!({"first": size, "after": cursor}) };
            let page = self.page(list, arguments).await;
            assert!(page.ids.len() <= size);
            assert!(pages.is_empty() || !page.ids.is_empty(), "an empty page was promised: {list:?} by {size}");
            let (ahead, behind) =
                if back { ("hasPreviousPage", "hasNextPage") } else { ("hasNextPage", "hasPreviousPage") };
            assert_eq!(page.info[behind], !pages.is_empty(), "{list:?}");
            let has_more = page.info[ahead] == true;
            assert!(!has_more || page.ids.len() == size, "a page that is not the last is full");
            cursor = page.info[if back { "startCursor" } else { "endCursor" }].clone();
            pages.push(page.ids);
            if !has_more {
                if back {
                    pages.reverse();
                }
                return pages.concat();
            }
        }
        panic!("no end of {list:?} by {size}, back: {back}");
    }

    /// Walks while PostgreSQL is given the turn's rows, one by one, until there are no more or the walk ends. What was there
    /// before is all there, and what came meanwhile is in its place or absent. Gives how many rows came, and how many of them
    /// were met.
    async fn walk_meanwhile(&self, list: &List, turn: &Turn, back: bool) -> (usize, usize) {
        let before = self.sorted(list).await;
        let (arrived, added) = (Cell::new(false), Cell::new(0));
        let walk = async {
            let walked = self.walk(list, turn.size, back).await;
            arrived.set(true);
            walked
        };
        let fill = async {
            for row in turn.meanwhile.iter().take_while(|_| !arrived.get()) {
                self.filler.batch_execute(&row.insert(&self.shop)).await.expect("a row");
                added.set(added.get() + 1);
            }
        };
        let (walked, ()) = join(walk, fill).await;
        let after = self.sorted(list).await;
        let places: HashMap<_, _> = after.iter().zip(0..).collect();
        let places: Vec<usize> = walked.iter().map(|id| places[id]).collect();
        let how = format!("{list:?} by {}, back: {back}", turn.size);
        assert!(places.is_sorted_by(|one, next| one < next), "not in order or twice, {how}: {places:?}");
        let kept: Vec<_> = walked.iter().filter(|id| before.contains(id)).cloned().collect();
        assert_eq!(kept, before, "{how}");
        (added.get(), walked.len() - before.len())
    }

    /// Numbered pages, of both kinds, up to one behind the last. Nothing is added meanwhile: they could not bear it.
    async fn turn_numbered_pages(&self, list: &List, size: usize) {
        let expected = self.sorted(list).await;
        let (mut by_offset, mut by_number) = (Vec::new(), Vec::new());
        for number in 0..=expected.len().div_ceil(size) {
            let page = self.page(list, json!({"first": size, "offset": number * size})).await;
            assert_eq!(page.info["hasNextPage"], (number + 1) * size < expected.len());
            by_offset.extend(page.ids);
            if let Some(path) = &list.rest {
                let number = number + 1;
                let path = format!("{path}page={number}&limit={size}");
                let answer = self.server.rest(&self.shop.admin, Method::GET, &path, None).await;
                assert_eq!(
                    answer.body["meta"],
                    json!({"page": number, "limit": size, "total": expected.len()}),
                    "{path}"
                );
                by_number.extend(ids(answer.body["data"].as_array().expect("rows")));
            }
        }
        assert_eq!(by_offset, expected, "{list:?} by {size}");
        if list.rest.is_some() {
            assert_eq!(by_number, expected, "{list:?} by {size}");
        }
    }
}

/// The ids of what is listed. Stock in REST goes by its product's, which is the same here.
fn ids<'a>(nodes: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let id = |node: &Value| node["id"].as_str().or(node["productId"].as_str()).expect("an id").to_owned();
    nodes.into_iter().map(id).collect()
}

/// Turns the pages of every list in every way, and gives how many rows were added meanwhile, and how many of them were met.
async fn turn_all_pages(server: &TestServer, case: &Case) -> (usize, usize) {
    let reader = Reader::open(server, &case.rows).await;
    let (mut added, mut met) = (0, 0);
    for (list, turns) in lists().iter().zip(&case.turns) {
        reader.turn_numbered_pages(list, turns[0].size).await;
        for (turn, back) in turns.iter().zip([false, true]) {
            let (more_added, more_met) = reader.walk_meanwhile(list, turn, back).await;
            added += more_added;
            met += more_met;
        }
    }
    (added, met)
}

#[test]
fn pages_are_the_list_whatever_is_added_meanwhile() {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let (added, met) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&cases(), |case| {
        let (more_added, more_met) = runtime.block_on(turn_all_pages(&server, &case));
        added.set(added.get() + more_added);
        met.set(met.get() + more_met);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("seed {SEED:#x}: {error}"));
    let (added, met) = (added.get(), met.get());
    assert!(0 < met && met < added, "rows came before and behind the readers: {met} of {added}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_its_own_list_only() {
    let server = TestServer::start().await;
    let row = Row { id: Uuid::from_u128(1), name: "mug", description: "", price: "1", microsecond: 0 };
    let reader = Reader::open(&server, &[row]).await;
    let mut lists: Vec<_> = lists().into_iter().filter(|list| list.field == "products").collect();
    for filter in
        [json!({"search": "mu"}), json!({"category": "x"}), json!({"minPrice": "1"}), json!({"isActive": true})]
    {
        lists.push(List { filter, ..List::products(SORTS[0], "ASC") });
    }
    for made_by in &lists {
        let cursor = reader.page(made_by, json!({"first": 1})).await.info["endCursor"].clone();
        if cursor.is_null() {
            continue;
        }
        for (index, used_by) in lists.iter().enumerate() {
            for (size, place) in [("first", "after"), ("last", "before")] {
                let variables = used_by.variables(json!({ (size): 1, (place): cursor }));
                let answer = server.graphql(&reader.shop.admin, &used_by.query(), variables).await;
                let is_own = std::ptr::eq(made_by, used_by);
                let expected = if is_own { "OK" } else { "VALIDATION_ERROR" };
                assert_eq!(answer.outcome(), expected, "{index}: {made_by:?} in {used_by:?}: {:#}", answer.body);
                let named = answer.body["errors"][0]["extensions"]["details"]["fields"][0]["field"] == place;
                assert!(is_own || named, "{:#}", answer.body);
            }
        }
    }
}
