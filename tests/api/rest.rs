//! What all REST routes have in common. The routes are read from the OpenAPI document, so that none is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, As, TestServer, answer};

/// A documented route, with ids that nothing has.
struct Route {
    method: Method,
    path: String,
    template: String,
    parameters: Vec<String>,
    has_body: bool,
    needs_user: bool,
}

fn routes() -> Vec<Route> {
    let document: Value = serde_json::from_str(&mercato::rest::openapi_json().expect("a document")).expect("JSON");
    // Stripe's route speaks Stripe's language; stripe_webhooks.rs tries it.
    let paths = document["paths"].as_object().expect("paths").iter().filter(|(path, _)| *path != "/webhooks/stripe");
    let routes = paths.flat_map(|(template, methods)| {
        let of_method = move |(method, operation): (&String, &Value)| {
            let named = |place: &str| {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let named = parameters.filter(|parameter| parameter["in"] == place);
                named.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
            };
            let id = "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42";
            let path =
                named("path").iter().fold(template.clone(), |path, name| path.replace(&format!("{{{name}}}"), id));
            Route {
                method: method.to_uppercase().parse().expect("a method"),
                path,
                template: template.clone(),
                parameters: named("path"),
                has_body: operation.get("requestBody").is_some(),
                needs_user: operation["security"] == json!([{"bearer": []}]),
            }
        };
        methods.as_object().expect("methods").iter().map(of_method)
    });
    routes.collect()
}

async fn send(
    server: &TestServer,
    who: &As,
    route: &Route,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let request = server.request(route.method.clone(), &format!("/api/v1{}", route.path), who);
    answer(request.header("content-type", content_type).body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_must_be_json_objects_of_known_fields() {
    // Small enough to be sent whole before the server can refuse it.
    let server = TestServer::start_with(|config| config.server.max_body_bytes = 1000).await;
    let shop = server.shop("engines").await;
    let json = "application/json";
    for route in routes().iter().filter(|route| route.has_body) {
        let send = |content_type, body: String| send(&server, &shop.admin, route, content_type, body);
        let at = &route.template;
        for malformed in ["", "{", "nonsense", "{\"a\": \"\\ud800\"}", "[]", "null", "7", "\"{}\"", "{} {}"] {
            assert_eq!(send(json, malformed.into()).await.failure(), (400, "VALIDATION_ERROR"), "{at} {malformed}");
        }
        assert_eq!(send(json, "{\"unheardOf\": 1}".into()).await.wrong_fields(), ["unheardOf"], "{at}");
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
            assert_eq!(send(other, "{}".into()).await.failure(), (415, "UNSUPPORTED_MEDIA_TYPE"), "{at} {other}");
        }
        let giant = format!("{{\"a\": \"{}\"}}", "x".repeat(1000));
        assert_eq!(send(json, giant).await.failure(), (413, "PAYLOAD_TOO_LARGE"), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_wrong_type_are_named_by_their_path() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let product = shop.product(&server, "A", "1.00", 5).await;
    let address = json!({"street": "1 Main St", "city": "London", "country": "GB"});
    let order = |field: &str, value: Value| {
        let item = json!({"productId": product, "quantity": 1});
        let mut order = json!({"customerName": "Ada", "customerEmail": "ada@example.com", "shippingAddress": address,
            "items": [item]});
        *order.pointer_mut(field).expect("a field") = value;
        order
    };
    let login = |field: &str, value: Value| {
        let mut login = json!({"subdomain": "engines", "email": "a@example.com", "password": "secret"});
        login[field] = value;
        login
    };
    let product_path = format!("/products/{product}");
    let stock_path = format!("/inventory/{product}");
    let status_path = format!("/orders/{product}/status");
    for (method, path, body, field) in [
        (Method::POST, "/tenants", json!({"name": 1}), "name"),
        (Method::POST, "/tenants", json!({}), "name"),
        (Method::POST, "/auth/login", login("email", json!(["a@example.com"])), "email"),
        (Method::POST, "/auth/login", login("password", Value::Null), "password"),
        (Method::POST, "/auth/login", login("subdomain", json!(7)), "subdomain"),
        (Method::POST, "/products", json!({"name": "A", "sku": "B"}), "price"),
        (Method::POST, "/products", json!({"name": "A", "sku": "B", "price": true}), "price"),
        (Method::POST, "/products", json!({"name": "A", "sku": "B", "price": 1, "quantity": 1.5}), "quantity"),
        (Method::POST, "/products", json!({"name": "A", "sku": "B", "price": 1, "imageUrls": [7]}), "imageUrls.0"),
        (Method::PATCH, &product_path, json!({"name": null}), "name"),
        (Method::PATCH, &product_path, json!({"price": null}), "price"),
        (Method::PATCH, &product_path, json!({"isActive": "no"}), "isActive"),
        (Method::PATCH, &product_path, json!({"category": {}}), "category"),
        (Method::PATCH, &stock_path, json!({"delta": "1"}), "delta"),
        (Method::PATCH, &stock_path, json!({"delta": 3_000_000_000_i64}), "delta"),
        (Method::PATCH, &status_path, json!({"status": {}}), "status"),
        (Method::POST, "/orders", order("/items", json!({})), "items"),
        (Method::POST, "/orders", order("/items/0", json!([])), "items.0"),
        (Method::POST, "/orders", order("/items/0/quantity", json!("1")), "items.0.quantity"),
        (Method::POST, "/orders", order("/items/0/productId", json!("7")), "items.0.productId"),
        (Method::POST, "/orders", order("/shippingAddress", json!("London")), "shippingAddress"),
        (Method::POST, "/orders", order("/shippingAddress/city", json!(7)), "shippingAddress.city"),
    ] {
        let answer = server.rest(&shop.customer, method, path, Some(body.clone())).await;
        assert_eq!(answer.wrong_fields(), [field], "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_parameters_are_checked_on_every_route() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for route in &routes() {
        let at = &route.template;
        let path = format!("{}?unheardOf=1", route.path);
        let answer = server.rest(&shop.admin, route.method.clone(), &path, None).await;
        assert_eq!(answer.wrong_fields(), ["unheardOf"], "{} {at}", route.method);
        for name in &route.parameters {
            for bad in ["7", "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e4", "%00", "%27%20or%201=1"] {
                let path = at.replace(&format!("{{{name}}}"), bad);
                let body = route.has_body.then(|| json!({}));
                let answer = server.rest(&shop.admin, route.method.clone(), &path, body).await;
                assert_eq!(answer.wrong_fields(), [name], "{} {path}", route.method);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_refused_with_those_that_exist() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let mut by_path = BTreeMap::<_, BTreeSet<_>>::new();
    for route in routes() {
        by_path.entry(route.path).or_default().insert(route.method.to_string());
    }
    assert!(by_path.len() >= 8, "{by_path:?}");
    for (path, methods) in by_path {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if methods.contains(method.as_str()) {
                continue;
            }
            let answer = server.rest(&shop.admin, method.clone(), &path, None).await;
            assert_eq!(answer.failure(), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
            let allowed = answer.header("allow").expect("Allow").split(',').map(str::to_owned);
            let allowed: BTreeSet<_> = allowed.filter(|method| method != "HEAD").collect();
            assert_eq!(allowed, methods, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_not_found() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for path in ["", "/", "/nothing", "/products/", "/products//", "/orders/x/y/z", "/Products", "/users"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = server.rest(&shop.admin, method.clone(), path, None).await;
            assert_eq!(answer.failure(), (404, "NOT_FOUND"), "{method} {path}");
            assert!(answer.body["error"].get("details").is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_need_a_user_refuse_everybody_else() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let guarded: Vec<_> = routes().into_iter().filter(|route| route.needs_user && !route.has_body).collect();
    assert!(guarded.len() >= 5);
    for route in &guarded {
        server.refuses_rest(shop.but_users(), route.method.clone(), &route.path, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_the_request_id_and_are_not_stored() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    for (path, status) in [("/products", StatusCode::OK), ("/nothing", StatusCode::NOT_FOUND)] {
        let request = server.request(Method::GET, &format!("/api/v1{path}"), &shop.shopper);
        let answer = answer(request.header("x-request-id", "from-a-client")).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-request-id"), Some("from-a-client"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
}
