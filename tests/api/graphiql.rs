//! What explorers find: GraphiQL with its examples, and the REST documentation, all from our own origin.

use mercato::app::App;
use mercato::dev::demo;
use mercato::http::graphiql::examples;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::expect::user_errors;
use crate::support::{As, TestDatabase, TestServer, answer};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// Fetches a page or file as a browser does.
async fn browse(server: &TestServer, path: &str) -> (u16, String, String) {
    let answer = answer(server.request(Method::GET, path, &As::Nobody).header("accept", BROWSER)).await;
    let content_type = answer.header("content-type").unwrap_or_default().to_owned();
    let text = answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
    (answer.status, content_type, text)
}

/// What a page loads: the values of `src` and `href`.
fn links(page: &str) -> Vec<&str> {
    let values = |name: &'static str| page.split(name).skip(1).filter_map(|rest| rest.split('"').next());
    values("src=\"").chain(values("href=\"")).filter(|link| !link.starts_with("data:")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_in_the_demo_shop() {
    let database = TestDatabase::create().await;
    let app = App::build(&database.config(), mercato::app::services(&database.config()).expect("the services"), None)
        .expect("the app is built");
    let shop = demo::ensure(&app.services).await.expect("the demo shop");
    let again = demo::ensure(&app.services).await.expect("the demo shop, found again");
    assert_eq!((shop.tenant.id, shop.product_id), (again.tenant.id, again.product_id));
    let server = TestServer::on_database(database, |_| {}).await;

    let examples = examples(shop.product_id);
    assert_eq!(examples.len(), 6);
    for (label, email) in demo::ACCOUNTS {
        let body = json!({"subdomain": demo::SUBDOMAIN, "email": email, "password": demo::PASSWORD});
        let login = server.rest(&As::Nobody, Method::POST, "/auth/login", Some(body)).await;
        let who = As::Token(login.body["data"]["token"].as_str().expect("a token").to_owned());
        let mut order_id = String::new();
        for example in &examples {
            if label == "Customer" && example.title == "Move an order" {
                continue;
            }
            let mut variables = match example.variables.replace("an id from PlaceOrder", &order_id).as_str() {
                "" => json!({}),
                text => serde_json::from_str(text).expect("variables"),
            };
            if label != "Customer" && example.title == "Place an order" {
                // Its comment says whose example it is; others would have to name a customer.
                variables["input"]["customerId"] = customer(&server, &who).await;
            }
            let data = server.data(&who, example.query, variables).await;
            let result = data.as_object().expect("data").values().next().expect("a root field");
            assert!(!result.is_null(), "{label}: {}", example.title);
            if let Some(order) = result.get("order") {
                assert_eq!(user_errors(result), [""; 0], "{label}");
                let status = if example.title == "Place an order" { "PENDING" } else { "FULFILLED" };
                assert_eq!(order["status"], status);
                order["id"].as_str().expect("an id").clone_into(&mut order_id);
            }
            if let Some(payment) = result.get("payment") {
                server.stripe.confirm(payment["stripePaymentIntent"].as_str().expect("an intent")).await;
                server.stripe.until_told().await;
            }
        }
    }
    let shopper = As::Shopper(shop.tenant.api_key);
    let found = server.data(&shopper, examples[0].query, json!({})).await;
    assert_eq!(found["products"]["totalCount"], 3);
}

/// Some customer of the shop, from its orders.
async fn customer(server: &TestServer, staff: &As) -> Value {
    let query = "{ orders(first: 1) { nodes { customerId } } }";
    server.data(staff, query, json!({})).await["orders"]["nodes"][0]["customerId"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_graphiql_and_all_that_it_loads() {
    let server = TestServer::start().await;
    let (status, content_type, page) = browse(&server, "/graphql").await;
    assert_eq!((status, content_type.as_str()), (200, "text/html; charset=utf-8"));
    let links = links(&page);
    assert!(links.len() >= 8, "{links:?}");
    for link in links {
        assert!(link.starts_with("/graphiql/assets/"), "{link}");
        let (status, content_type, text) = browse(&server, link).await;
        let expected = if link.contains(".css") { "text/css" } else { "text/javascript" };
        assert!(
            status == 200 && content_type.starts_with(expected) && text.len() > 300,
            "{link}: {status} {content_type}"
        );
    }
    // Programs ask the same address, and get JSON.
    let query = answer(server.request(Method::GET, "/graphql?query=%7B__typename%7D", &As::Nobody)).await;
    assert_eq!(query.body["data"], json!({"__typename": "Query"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn graphiql_is_served_only_where_it_is_wanted() {
    let server = TestServer::start_with(|config| config.server.graphiql_enabled = false).await;
    let (status, content_type, text) = browse(&server, "/graphql").await;
    assert_eq!(status, 400, "{text}");
    assert!(content_type.contains("json") && text.contains("VALIDATION_ERROR"), "{text}");
    let (_, _, page) = browse(&server, "/").await;
    assert!(page.contains("swagger"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_documentation_is_served_with_all_that_it_loads() {
    let server = TestServer::start().await;
    let (status, content_type, page) = browse(&server, "/docs").await;
    assert!(status == 200 && content_type.starts_with("text/html"), "{status} {content_type}");
    let links = links(&page);
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        let (status, _, text) = browse(&server, &format!("/docs/{}", link.trim_start_matches("./"))).await;
        assert!(status == 200 && !text.is_empty(), "{link}: {status}");
    }
    let (status, content_type, text) = browse(&server, "/openapi.json").await;
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    let served: Value = serde_json::from_str(&text).expect("JSON");
    let committed = mercato::rest::openapi_json().expect("a document");
    assert_eq!(served, serde_json::from_str::<Value>(&committed).expect("JSON"));
}
