//! Logging in, tokens, and how requests name their shop.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::expect::shape;
use crate::support::shop::{PASSWORD, id};
use crate::support::{Answer, As, Shop, TestServer, answer};

const LOGIN: &str = "mutation($input: LoginInput!) { login(input: $input) {
    accessToken expiresAt viewer { id email role tenantId } userErrors { code message field details } } }";

fn key(shop: &Shop) -> &str {
    match &shop.shopper {
        As::Shopper(key) => key,
        other => panic!("no key: {other:?}"),
    }
}

fn token(who: &As) -> &str {
    match who {
        As::Token(token) => token,
        other => panic!("no token: {other:?}"),
    }
}

/// Asks who asks, with these headers, by both transports: GraphQL's answer and that of `GET /products`.
async fn ask(server: &TestServer, headers: &[(&str, &str)]) -> (Answer, Answer) {
    let send = |method: Method, path: &str, body: Option<Value>| {
        let request = server.request(method, path, &As::Nobody);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
    };
    let query = json!({"query": "{ tenant { subdomain } viewer { email } }"});
    (send(Method::POST, "/graphql", Some(query)).await, send(Method::GET, "/api/v1/products", None).await)
}

/// Both transports let these headers in, to this shop.
async fn lets_in(server: &TestServer, headers: &[(&str, &str)], subdomain: &str) {
    let (graphql, rest) = ask(server, headers).await;
    assert_eq!(graphql.body["data"]["tenant"]["subdomain"], subdomain, "{headers:?}: {:#}", graphql.body);
    assert_eq!(rest.status, 200, "{headers:?}: {:#}", rest.body);
}

/// Both transports refuse these headers with this code.
async fn keeps_out(server: &TestServer, headers: &[(&str, &str)], status: u16, code: &str) {
    let (graphql, rest) = ask(server, headers).await;
    assert_eq!((graphql.codes(), graphql.body.get("data")), (vec![code.to_owned()], None), "{headers:?}");
    assert_eq!(rest.failure(), (status, code), "{headers:?}");
}

/// These headers are well-formed, but name no shop: whatever needs one is refused.
async fn names_nothing(server: &TestServer, headers: &[(&str, &str)]) {
    let (graphql, rest) = ask(server, headers).await;
    assert_eq!(graphql.errors(), ["UNAUTHENTICATED tenant"], "{headers:?}");
    assert_eq!(rest.failure(), (401, "UNAUTHENTICATED"), "{headers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_by_graphql() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let login = |tenant: Value| {
        let input = json!({"tenant": tenant, "email": "Customer@Example.COM", "password": PASSWORD});
        json!({"query": LOGIN, "variables": {"input": input}})
    };
    for (tenant, headers) in [
        (json!("engines"), vec![]),
        (json!("ENGINES"), vec![]),
        (Value::Null, vec![("x-tenant", "engines")]),
        (Value::Null, vec![("x-api-key", key(&shop))]),
    ] {
        let request = server.request(Method::POST, "/graphql", &As::Nobody);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let payload = answer(request.json(&login(tenant))).await.body["data"]["login"].clone();
        let viewer = json!({"id": "<id>", "email": "customer@example.com", "role": "CUSTOMER", "tenantId": "<id>"});
        let token = payload["accessToken"].clone();
        let expected = json!({"accessToken": token, "expiresAt": "<time>", "viewer": viewer, "userErrors": []});
        assert_eq!(shape(&payload), expected, "{headers:?}");
        assert!(token.is_string());
        assert_eq!((id(&payload["viewer"]["id"]), id(&payload["viewer"]["tenantId"])), (shop.customer_id, shop.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_by_rest() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let mut body = json!({"subdomain": "engines", "email": "admin@example.com", "password": PASSWORD});
    for headers in [vec![], vec![("x-tenant", "engines")], vec![("x-api-key", key(&shop))]] {
        let request = server.request(Method::POST, "/api/v1/auth/login", &As::Nobody);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = answer(request.json(&body)).await;
        let token = answer.body["data"]["token"].clone();
        let user = json!({"id": "<id>", "email": "admin@example.com", "role": "ADMIN", "tenantId": "<id>"});
        let refresh_token = answer.body["data"]["refreshToken"].clone();
        assert!(refresh_token.as_str().is_some_and(|token| token.starts_with("rt_")), "{refresh_token}");
        let data = json!({"token": token, "tokenType": "Bearer", "expiresIn": 3600, "refreshToken": refresh_token, "user": user});
        let envelope = json!({"success": true, "data": data, "error": null});
        assert_eq!((answer.status, shape(&answer.body)), (200, envelope), "{headers:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let who = As::Token(token.as_str().expect("a token").to_owned());
        assert_eq!(server.rest(&who, Method::GET, "/inventory", None).await.status, 200);
        // From the second round on, a header names the shop.
        body.as_object_mut().expect("an object").remove("subdomain");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_does_not_tell_what_was_wrong() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    server.shop("other").await;
    shop.another_customer(&server, "gone@example.com").await;
    let sql = "{ users(first: 1) { nodes { id email } } }";
    let gone = server.data(&shop.admin, sql, json!({})).await["users"]["nodes"][0]["id"].clone();
    let deactivate = "mutation($id: ID!) { userDeactivate(id: $id) { user { isActive } } }";
    let payload = server.mutate(&shop.admin, deactivate, json!({ "id": gone })).await;
    assert_eq!(payload["user"]["isActive"], false);

    let mut answers = Vec::new();
    for (tenant, email, password) in [
        (json!("engines"), "customer@example.com", "the-wrong-password"),
        (json!("engines"), "customer@example.com", ""),
        (json!("engines"), "nobody@example.com", PASSWORD),
        (json!("engines"), "gone@example.com", PASSWORD),
        (json!("engines"), "not an address", PASSWORD),
        (json!("other"), "gone@example.com", PASSWORD),
        (json!("nowhere"), "customer@example.com", PASSWORD),
        (json!(""), "customer@example.com", PASSWORD),
        (Value::Null, "customer@example.com", PASSWORD),
    ] {
        let input = json!({"input": {"tenant": tenant, "email": email, "password": password}});
        let payload = server.mutate(&As::Nobody, LOGIN, input).await;
        let body = json!({"subdomain": tenant, "email": email, "password": password});
        let rest = server.rest(&As::Nobody, Method::POST, "/auth/login", Some(body)).await;
        assert_eq!(rest.failure(), (401, "UNAUTHENTICATED"), "{tenant} {email}");
        answers.push((payload, rest.body));
    }
    let message = "shop, e-mail address or password is wrong, or too many were tried: wait a few minutes then";
    let error = json!({"code": "UNAUTHENTICATED", "message": message, "field": null, "details": null});
    let graphql = json!({"accessToken": null, "expiresAt": null, "viewer": null, "userErrors": [error]});
    let rest = json!({"success": false, "error": {"code": "UNAUTHENTICATED", "message": message}});
    assert_eq!(answers, vec![(graphql, rest); answers.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_say_who_and_verify_with_the_published_key() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let published = answer(server.request(Method::GET, "/.well-known/jwks.json", &As::Nobody)).await;
    let keys = published.body["keys"].as_array().expect("keys");
    let fields: Vec<_> = keys[0].as_object().expect("a key").keys().map(String::as_str).collect();
    assert_eq!((keys.len(), fields), (1, vec!["alg", "e", "kid", "kty", "n", "use"]), "nothing private");
    assert_eq!((&keys[0]["alg"], &keys[0]["kty"], &keys[0]["use"]), (&json!("RS256"), &json!("RSA"), &json!("sig")));
    let keys: JwkSet = serde_json::from_value(published.body.clone()).expect("a key set");

    for (who, id, role) in [(&shop.admin, shop.admin_id, "ADMIN"), (&shop.customer, shop.customer_id, "CUSTOMER")] {
        let header = jsonwebtoken::decode_header(token(who)).expect("a header");
        assert_eq!(header.alg, Algorithm::RS256);
        let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["mercato-api"]);
        validation.set_issuer(&["mercato"]);
        let key = DecodingKey::from_jwk(key).expect("a key");
        let claims = jsonwebtoken::decode::<Value>(token(who), &key, &validation).expect("our token").claims;
        let (issued, ends) = (claims["iat"].as_i64().expect("iat"), claims["exp"].as_i64().expect("exp"));
        assert_eq!(ends - issued, 3600);
        let expected = json!({"iss": "mercato", "aud": "mercato-api", "sub": id, "userId": id, "tenantId": shop.id,
            "role": role, "iat": issued, "exp": ends, "jti": claims["jti"], "sid": claims["sid"], "ver": 0,
            "mfa": false});
        assert_eq!(claims, expected);
        assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() == 36));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_ours_are_refused() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let [head, claims, signature] = token(&shop.customer).split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    let claims_json = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("text");
    let promoted = URL_SAFE_NO_PAD.encode(claims_json.replace("CUSTOMER", "ADMIN"));
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
    for forged in [
        format!("{head}.{promoted}.{signature}"),
        format!("{unsigned}.{claims}."),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{}", token(&shop.admin).rsplit('.').next().expect("a signature")),
        "not.a.token".to_owned(),
        "x".to_owned(),
    ] {
        keeps_out(&server, &[("authorization", &format!("Bearer {forged}"))], 401, "UNAUTHENTICATED").await;
    }
    for malformed in ["Basic YWRhOnB3", "Bearer", "Bearer a b"] {
        keeps_out(&server, &[("authorization", malformed)], 401, "UNAUTHENTICATED").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_hosts_name_the_shop() {
    let server = TestServer::start_with(|config| config.server.base_domain = Some("mercato.test".into())).await;
    let (shop, other) = (server.shop("engines").await, server.shop("other").await);
    let bearer = format!("Bearer {}", token(&shop.customer));
    let (our_key, their_key) = (key(&shop), key(&other));
    for headers in [
        &[("x-api-key", our_key)][..],
        &[("x-tenant", "engines")],
        &[("x-tenant", "Engines")],
        &[("host", "engines.mercato.test")],
        &[("host", "Engines.Mercato.Test:3000")],
        &[("x-tenant", "engines"), ("x-api-key", our_key)],
        // The header is said on purpose; the host may be any that leads here.
        &[("x-tenant", "engines"), ("host", "other.mercato.test")],
        &[("authorization", &bearer)],
        &[("authorization", &bearer), ("x-tenant", "engines"), ("x-api-key", our_key)],
        &[("authorization", &bearer), ("host", "engines.mercato.test")],
        &[("authorization", &bearer), ("host", "mercato.test")],
        &[("authorization", &bearer), ("host", "engines.elsewhere.test")],
    ] {
        lets_in(&server, headers, "engines").await;
    }
    for headers in [
        &[("authorization", bearer.as_str()), ("x-tenant", "other")][..],
        &[("authorization", &bearer), ("x-api-key", their_key)],
        &[("authorization", &bearer), ("host", "other.mercato.test")],
        &[("x-tenant", "engines"), ("x-api-key", their_key)],
        &[("host", "engines.mercato.test"), ("x-api-key", their_key)],
    ] {
        keeps_out(&server, headers, 403, "FORBIDDEN").await;
    }
    for headers in [&[("x-tenant", "nowhere")], &[("x-tenant", "a b")]] {
        keeps_out(&server, headers, 404, "NOT_FOUND").await;
    }
    for headers in [
        &[("x-api-key", "pk_nothing")][..],
        &[("x-api-key", "")],
        &[("x-tenant", "")],
        &[("x-tenant", "engines"), ("x-tenant", "engines")],
        &[("authorization", &bearer), ("x-api-key", "pk_nothing")],
    ] {
        keeps_out(&server, headers, 401, "UNAUTHENTICATED").await;
    }
    // Otherwise there is no shop to ask. Hosts of the platform itself name none, and are no mistake.
    for headers in [&[][..], &[("host", "mercato.test")], &[("host", "www.mercato.test")]] {
        names_nothing(&server, headers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_name_nothing_without_a_base_domain() {
    let server = TestServer::start().await;
    server.shop("engines").await;
    names_nothing(&server, &[("host", "engines.mercato.test")]).await;
}
