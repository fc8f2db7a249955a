//! Which products a list has, and in which order.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Shop, TestServer};

const LIST: &str = "query($filter: ProductFilter, $sort: ProductSort, $first: Int, $offset: Int) {
    products(filter: $filter, sort: $sort, first: $first, offset: $offset) {
        totalCount nodes { sku } edges { cursor node { sku } } pageInfo { hasNextPage hasPreviousPage } } }";

/// Name, SKU, price, category and whether it is on sale, in the order in which they are added.
const PRODUCTS: [(&str, &str, &str, &str, bool); 5] = [
    ("apple mug", "A", "5.00", "kitchen", true),
    ("Banana bowl", "B", "3.00", "kitchen", true),
    ("cherry mug", "C", "9.00", "outdoor", true),
    ("Damson jar", "D", "7.00", "outdoor", true),
    ("elder mug", "E", "1.00", "outdoor", false),
];

async fn fill(server: &TestServer, shop: &Shop) {
    for (name, sku, price, category, is_active) in PRODUCTS {
        let body = json!({"name": name, "sku": sku, "price": price, "category": category});
        let created = server.rest(&shop.merchant, Method::POST, "/products", Some(body)).await;
        if !is_active {
            let id = created.body["data"]["id"].as_str().expect("an id");
            server.rest(&shop.admin, Method::DELETE, &format!("/products/{id}"), None).await;
        }
    }
}

/// The products' SKUs, put together.
fn skus(products: &Value) -> String {
    products.as_array().expect("a list").iter().filter_map(|product| product["sku"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_lists_what_the_filter_lets_through() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    fill(&server, &shop).await;
    let sort = |field: &str, direction: &str| json!({"sort": {"field": field, "direction": direction}});
    for (variables, listed) in [
        (json!({}), "DCBA"),
        (json!({"filter": {"category": "kitchen"}}), "BA"),
        (json!({"filter": {"category": "Kitchen"}}), ""),
        (json!({"filter": {"minPrice": "5", "maxPrice": 7}}), "DA"),
        (json!({"filter": {"search": "mug"}, "sort": {"field": "NAME"}}), "AC"),
        (json!({"filter": {"search": "MUG app"}}), "A"),
        (json!({"filter": {"search": "mug outdoor"}}), "C"),
        (json!({"filter": {"search": "  "}}), "DCBA"),
        (json!({"filter": {"isActive": true}}), "DCBA"),
        (sort("NAME", "ASC"), "ABCD"),
        (sort("NAME", "DESC"), "DCBA"),
        (sort("PRICE", "ASC"), "BADC"),
        (sort("PRICE", "DESC"), "CDAB"),
        (sort("CREATED_AT", "ASC"), "ABCD"),
    ] {
        let products = server.data(&shop.shopper, LIST, variables.clone()).await["products"].clone();
        assert_eq!(skus(&products["nodes"]), listed, "{variables}");
        assert_eq!(products["totalCount"], listed.len(), "{variables}");
    }
    let page = server.data(&shop.shopper, LIST, json!({"first": 2, "offset": 1})).await["products"].clone();
    assert_eq!(skus(&page["nodes"]), "CB");
    assert_eq!(page["totalCount"], 4);
    assert_eq!(page["pageInfo"], json!({"hasNextPage": true, "hasPreviousPage": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_lists_the_same_in_pages() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    fill(&server, &shop).await;
    for (query, listed, (page, limit, total)) in [
        ("", "DCBA", (1, 20, 4)),
        ("?page=2&limit=3", "A", (2, 3, 4)),
        ("?page=3&limit=3", "", (3, 3, 4)),
        ("?category=outdoor", "DC", (1, 20, 2)),
        ("?search=mug&sort=name", "AC", (1, 20, 2)),
        ("?minPrice=5&maxPrice=7.00", "DA", (1, 20, 2)),
        ("?isActive=true", "DCBA", (1, 20, 4)),
        ("?sort=name", "ABCD", (1, 20, 4)),
        ("?sort=-name&limit=1", "D", (1, 1, 4)),
        ("?sort=price", "BADC", (1, 20, 4)),
        ("?sort=-price", "CDAB", (1, 20, 4)),
        ("?sort=createdAt", "ABCD", (1, 20, 4)),
        ("?sort=-createdAt", "DCBA", (1, 20, 4)),
    ] {
        let mut answer = server.rest(&shop.customer, Method::GET, &format!("/products{query}"), None).await;
        assert_eq!(skus(&answer.body["data"].take()), listed, "{query}");
        let meta = json!({"page": page, "limit": limit, "total": total});
        let envelope = json!({"success": true, "data": null, "meta": meta, "error": null});
        assert_eq!((answer.status, answer.body), (200, envelope), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_products_are_for_staff() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    fill(&server, &shop).await;
    for (is_active, listed) in [(Value::Null, "EDCBA"), (json!(true), "DCBA"), (json!(false), "E")] {
        let filter = json!({"filter": {"isActive": is_active}});
        let data = server.data(&shop.merchant, LIST, filter).await;
        assert_eq!(skus(&data["products"]["nodes"]), listed, "{is_active}");
        let query = if is_active.is_null() { String::new() } else { format!("?isActive={is_active}") };
        let answer = server.rest(&shop.admin, Method::GET, &format!("/products{query}"), None).await;
        assert_eq!(skus(&answer.body["data"]), listed, "{query}");
    }
    let others = vec![(&shop.shopper, "FORBIDDEN"), (&shop.customer, "FORBIDDEN")];
    server.refuses(others.clone(), "products", LIST, &json!({"filter": {"isActive": false}})).await;
    server.refuses_rest(others, Method::GET, "/products?isActive=false", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_refused_by_name() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for (query, field) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("minPrice=-1", "minPrice"),
        ("minPrice=1.999", "minPrice"),
        ("maxPrice=much", "maxPrice"),
        ("isActive=yes", "isActive"),
        ("sort=sku", "sort"),
        ("sort=name&sort=price", "sort"),
        ("category=", "category"),
        ("search=%00", "search"),
        ("sku=A", "sku"),
    ] {
        let answer = server.rest(&shop.merchant, Method::GET, &format!("/products?{query}"), None).await;
        assert_eq!(answer.wrong_fields(), [field], "{query}");
    }
    let search = format!("/products?search={}", "x".repeat(201));
    assert_eq!(server.rest(&shop.merchant, Method::GET, &search, None).await.wrong_fields(), ["search"]);

    for variables in [
        json!({"first": -1}),
        json!({"first": 101}),
        json!({"offset": -1}),
        json!({"filter": {"minPrice": "-1"}}),
        json!({"filter": {"category": ""}}),
        json!({"filter": {"search": "x".repeat(201)}}),
        json!({"sort": {"field": "RELEVANCE"}}),
        json!({"sort": {"field": "SKU"}}),
    ] {
        let answer = server.graphql(&shop.merchant, LIST, variables.clone()).await;
        assert_eq!(answer.codes(), ["VALIDATION_ERROR"], "{variables}: {:#}", answer.body);
    }
}

/// Neither the order in which they are added nor any other sort is that in which a search finds them.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_beginnings_of_words_and_shows_the_best_match_first() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for (name, sku, price, category, description) in [
        ("Shelf", "C", "2.00", "Mugs", ""),
        ("Stone mug", "N", "1.00", "kitchen", ""),
        ("Coaster", "D", "3.00", "kitchen", "Goes under a mug: any mug, and every mug."),
        ("Smug cat", "X", "4.00", "pets", ""),
    ] {
        let body = json!({"name": name, "sku": sku, "price": price, "category": category, "description": description});
        let created = server.rest(&shop.merchant, Method::POST, "/products", Some(body)).await;
        assert_eq!(created.status, 201, "{:#}", created.body);
    }
    let worst_first = json!({"field": "RELEVANCE", "direction": "ASC"});
    let worst = server.data(&shop.shopper, LIST, json!({"filter": {"search": "mug"}, "sort": worst_first})).await;
    assert_eq!(skus(&worst["products"]["nodes"]), "DCN");
    // A word in the name counts most, then the category, then the description, however often it is there.
    for (search, listed) in
        [("mug", "NCD"), ("MU", "NCD"), ("mugs", "C"), ("st mu", "N"), ("mug stone", "N"), ("tone", ""), ("mug x", "")]
    {
        let found = server.data(&shop.shopper, LIST, json!({"filter": {"search": search}})).await;
        assert_eq!(skus(&found["products"]["nodes"]), listed, "{search}");
        let path = format!("/products?search={}", search.replace(' ', "%20"));
        let found = server.rest(&shop.customer, Method::GET, &path, None).await;
        assert_eq!(skus(&found.body["data"]), listed, "{path}");
    }
    let second = server.rest(&shop.customer, Method::GET, "/products?search=mug&page=2&limit=1", None).await;
    assert_eq!(skus(&second.body["data"]), "C");
}

/// PostgreSQL's own parser takes `SKU-123` for a word and a negative number.
#[tokio::test(flavor = "multi_thread")]
async fn every_product_is_found_by_its_own_sku() {
    let server = TestServer::start().await;
    let shop = server.shop("finder").await;
    for sku in ["SKU-123", "MUG-001", "ABC/12", "red-1", "v2.1", "3.5 mm", "foo.com case", "ÄÖ-7", "SEED-0000042"] {
        shop.product(&server, sku, "1.00", 1).await;
        let query = "query($search: String!) { products(filter: {search: $search}) { nodes { sku } } }";
        let found = server.data(&shop.shopper, query, json!({ "search": sku })).await;
        assert_eq!(found["products"]["nodes"], json!([{ "sku": sku }]));
    }
}
