//! Pages of a list, whichever way they are turned, are the list: nothing twice, nothing lost, in its order.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::text_rows;
use crate::support::{Shop, TestServer};

/// Each sort of products, with what PostgreSQL sorts by for it.
const SORTS: [(&str, &str); 4] =
    [("NAME", "name"), ("PRICE", "price"), ("CREATED_AT", "created_at"), ("RELEVANCE", "rank")];

const DIRECTIONS: [&str; 2] = ["ASC", "DESC"];

/// What a list is asked with, beside the page: its root field, and the `filter` and `sort` of products.
#[derive(Clone, Debug)]
struct List {
    field: &'static str,
    filter: Value,
    sort: Value,
}

impl List {
    const fn plain(field: &'static str) -> Self {
        Self { field, filter: Value::Null, sort: Value::Null }
    }

    fn products(field: &str, direction: &str) -> Self {
        let filter = if field == "RELEVANCE" { json!({"search": "mug"}) } else { Value::Null };
        Self { field: "products", filter, sort: json!({"field": field, "direction": direction}) }
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

    async fn page(&self, server: &TestServer, shop: &Shop, page: Value) -> Page {
        let data = server.data(&shop.admin, &self.query(), self.variables(page)).await;
        let connection = &data[self.field];
        let edges = connection["edges"].as_array().expect("edges");
        let page = Page {
            ids: edges.iter().map(|edge| edge["node"]["id"].as_str().expect("an id").to_owned()).collect(),
            info: connection["pageInfo"].clone(),
        };
        let cursor = |edge: Option<&Value>| edge.map_or(Value::Null, |edge| edge["cursor"].clone());
        assert_eq!(page.info["startCursor"], cursor(edges.first()));
        assert_eq!(page.info["endCursor"], cursor(edges.last()));
        page
    }

    /// All ids from front to back, or from back to front, page by page; `between` runs after each page.
    async fn walk(
        &self,
        server: &TestServer,
        shop: &Shop,
        size: usize,
        back: bool,
        between: impl AsyncFn(),
    ) -> Vec<String> {
        let mut pages = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let arguments =
                if back { json!({"last": size, "before": cursor}) } else { json!({"first": size, "after": cursor}) };
            let page = self.page(server, shop, arguments).await;
            assert!(page.ids.len() <= size);
            let (ahead, behind) =
                if back { ("hasPreviousPage", "hasNextPage") } else { ("hasNextPage", "hasPreviousPage") };
            assert_eq!(page.info[behind], !pages.is_empty(), "{self:?}");
            let has_more = page.info[ahead] == true;
            assert!(!has_more || page.ids.len() == size, "a page that is not the last is full");
            cursor = page.info[if back { "startCursor" } else { "endCursor" }].clone();
            pages.push(page.ids);
            if !has_more {
                break;
            }
            between().await;
        }
        if back {
            pages.reverse();
        }
        pages.concat()
    }
}

struct Page {
    ids: Vec<String>,
    info: Value,
}

/// A shop with 40 products that share few names, prices, moments and ranks.
async fn shop_of_ties(server: &TestServer) -> Shop {
    let shop = server.shop("ties").await;
    let products = format!(
        "insert into products (id, tenant_id, name, price, sku, description, created_at)
         select uuid_v7(), '{}', (array['mug', 'Mug', 'mug, red', 'Äpfel-mug', 'zebra'])[1 + i % 5],
             (array[1, 1, 2.5, 99])[1 + i % 4], 'S-' || i, case when i % 3 = 0 then 'a mug is a mug' else 'mug' end,
             '2026-01-01T00:00:00Z'::timestamptz + make_interval(secs => i % 3 * 0.000001)
         from generate_series(1, 40) i order by md5(i::text)",
        shop.id
    );
    server.database.as_superuser().await.batch_execute(&products).await.expect("products");
    shop
}

/// The ids as PostgreSQL sorts them.
async fn sorted(server: &TestServer, shop: &Shop, column: &str, direction: &str) -> Vec<String> {
    let app = server.database.as_app().await;
    app.batch_execute(&format!("set app.current_tenant_id = '{}'", shop.id)).await.expect("the tenant is set");
    let from = if column == "rank" { "search_products('mug') join products on id = product_id" } else { "products" };
    text_rows(&app, &format!("select id from {from} order by {column} {direction}, id {direction}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_every_sort_are_the_sorted_list() {
    let server = TestServer::start().await;
    let shop = shop_of_ties(&server).await;
    for (field, column) in SORTS {
        for direction in DIRECTIONS {
            let list = List::products(field, direction);
            let expected = sorted(&server, &shop, column, direction).await;
            assert_eq!(expected.len(), 40);
            for size in [3, 7, 40, 100] {
                for back in [false, true] {
                    let walked = list.walk(&server, &shop, size, back, async || {}).await;
                    assert_eq!(walked, expected, "{field} {direction} by {size}, back: {back}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_between_pages_disturb_none_that_were_there() {
    let server = TestServer::start().await;
    let shop = shop_of_ties(&server).await;
    let superuser = server.database.as_superuser().await;
    // A twin of every seventh row: some come before the reader's place and some behind it.
    let insert = format!(
        "insert into products (id, tenant_id, name, price, sku, description, created_at)
         select uuid_v7(), tenant_id, name, price, gen_random_uuid(), description, created_at
         from products where tenant_id = '{}' and sku like 'S-%' and substring(sku, 3)::int % 7 = 3",
        shop.id
    );
    for (field, column) in SORTS {
        for direction in DIRECTIONS {
            for back in [false, true] {
                let before = sorted(&server, &shop, column, direction).await;
                let between = async || superuser.batch_execute(&insert).await.expect("more rows");
                let walked = List::products(field, direction).walk(&server, &shop, 20, back, between).await;
                let kept: Vec<_> = walked.iter().filter(|id| before.contains(id)).cloned().collect();
                assert_eq!(kept, before, "{field} {direction}, back: {back}");
                let cleanup = format!("delete from products where tenant_id = '{}' and sku not like 'S-%'", shop.id);
                superuser.batch_execute(&cleanup).await.expect("as before");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbered_pages_are_the_list_too() {
    let server = TestServer::start().await;
    let shop = shop_of_ties(&server).await;
    for (field, column) in SORTS {
        for direction in DIRECTIONS {
            let list = List::products(field, direction);
            let expected = sorted(&server, &shop, column, direction).await;
            let mut walked = Vec::new();
            for offset in (0..49).step_by(7) {
                walked.extend(list.page(&server, &shop, json!({"first": 7, "offset": offset})).await.ids);
            }
            assert_eq!(walked, expected, "{field} {direction} by offset");
            let (name, sign) = (["name", "price", "createdAt"], if direction == "DESC" { "-" } else { "" });
            let Some(name) = name.into_iter().find(|name| name.to_uppercase() == field.replace('_', "")) else {
                continue;
            };
            let mut walked = Vec::new();
            for page in 1..=7 {
                let path = format!("/products?page={page}&limit=7&sort={sign}{name}");
                let answer = server.rest(&shop.admin, Method::GET, &path, None).await;
                assert_eq!(answer.body["meta"], json!({"page": page, "limit": 7, "total": 40}));
                let rows = answer.body["data"].as_array().expect("rows").clone();
                walked.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
            }
            assert_eq!(walked, expected, "{field} {direction} in REST");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_lists_are_the_lists() {
    let server = TestServer::start().await;
    let shop = shop_of_ties(&server).await;
    let more = format!(
        "insert into inventory (id, tenant_id, product_id, quantity) select uuid_v7(), tenant_id, id, 1 from products;
         insert into users (id, tenant_id, email, password_hash, role)
             select uuid_v7(), '{tenant}', i || '@example.com', '', 'CUSTOMER' from generate_series(1, 30) i;
         insert into orders (id, tenant_id, customer_id, status, total_amount, customer_name, customer_email, shipping_address)
             select uuid_v7(), tenant_id, id, 'PENDING', 0, 'Ada', 'ada@example.com', '{{}}' from users",
        tenant = shop.id
    );
    server.database.as_superuser().await.batch_execute(&more).await.expect("rows");
    for field in ["orders", "users", "inventory", "auditLogs"] {
        let list = List::plain(field);
        let whole = list.walk(&server, &shop, 100, false, async || {}).await;
        assert!(whole.len() > 30, "{field}");
        let mut distinct = whole.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), whole.len(), "{field}");
        for (size, back) in [(7, false), (7, true), (13, true)] {
            let walked = list.walk(&server, &shop, size, back, async || {}).await;
            assert_eq!(walked, whole, "{field} by {size}, back: {back}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_its_own_list_only() {
    let server = TestServer::start().await;
    let shop = shop_of_ties(&server).await;
    let mut lists: Vec<_> =
        SORTS.iter().flat_map(|(field, _)| DIRECTIONS.map(|direction| List::products(field, direction))).collect();
    for filter in
        [json!({"search": "red"}), json!({"category": "x"}), json!({"minPrice": "1"}), json!({"isActive": true})]
    {
        lists.push(List { filter, ..List::products("NAME", "ASC") });
    }
    for made_by in &lists {
        let cursor = made_by.page(&server, &shop, json!({"first": 1})).await.info["endCursor"].clone();
        if cursor.is_null() {
            continue;
        }
        for (index, used_by) in lists.iter().enumerate() {
            for (size, place) in [("first", "after"), ("last", "before")] {
                let variables = used_by.variables(json!({ (size): 1, (place): cursor }));
                let answer = server.graphql(&shop.admin, &used_by.query(), variables).await;
                let is_own = std::ptr::eq(made_by, used_by);
                let expected = if is_own { "OK" } else { "VALIDATION_ERROR" };
                assert_eq!(answer.outcome(), expected, "{index}: {made_by:?} in {used_by:?}: {:#}", answer.body);
                let named = answer.body["errors"][0]["extensions"]["details"]["fields"][0]["field"] == place;
                assert!(is_own || named, "{:#}", answer.body);
            }
        }
    }
}
