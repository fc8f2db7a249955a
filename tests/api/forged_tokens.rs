//! Tokens that nobody was given, in every way that was ever tried: all are refused alike, and nothing happens.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::forger::{Forger, RSA_ALGORITHMS, hmac_signed, parts, unsigned};
use crate::support::token_target::{GARBAGE, Target, case, with, without};
use crate::support::{As, answer};

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_signed_or_nobody_is_refused() {
    let target = Target::open().await;
    let (header, claims) = (&target.header, &target.claims);
    let theirs = Forger::with_another_key();
    let mut cases = vec![];
    for none in ["none", "None", "NONE", "nOnE", "", "null"] {
        let head = with(header, "alg", json!(none));
        let message = unsigned(&head.to_string(), &claims.to_string());
        cases.push(case(format!("alg {none:?}, no signature"), format!("{message}.")));
        cases.push(case(format!("alg {none:?}, two parts"), message));
        cases.push(case(format!("alg {none:?}, the old signature"), target.with_old_signature(&head, claims)));
    }
    cases.push(case("no alg", target.ours.sign(&without(header, "alg"), claims)));
    cases.push(case("alg null", target.headed("alg", Value::Null)));
    cases.push(case("alg twice", {
        let head = header.to_string().replacen('{', r#"{"alg":"none","#, 1);
        target.ours.sign_by(RSA_ALGORITHMS[0].1, &head, &claims.to_string())
    }));
    let published = answer(target.server.request(Method::GET, "/.well-known/jwks.json", &As::Nobody)).await;
    let published = published.body["keys"][0].clone();
    assert_eq!(target.ours.jwk(header["kid"].as_str().expect("a kid"))["n"], published["n"], "it is the server's key");
    for (form, secret) in target.ours.public_forms(&published) {
        for (name, hash) in [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)] {
            let token = hmac_signed(hash, &secret, &with(header, "alg", json!(name)), claims);
            cases.push(case(format!("{name} with the public key: {form}"), token));
        }
        cases.push(case(
            format!("RS256 that is an HMAC with the public key: {form}"),
            hmac_signed(HMAC_SHA256, &secret, header, claims),
        ));
    }
    for (name, algorithm) in &RSA_ALGORITHMS[1..] {
        let head = with(header, "alg", json!(name));
        cases.push(case(
            format!("{name} with our key"),
            target.ours.sign_by(*algorithm, &head.to_string(), &claims.to_string()),
        ));
        let token = target.ours.sign_by(*algorithm, &header.to_string(), &claims.to_string());
        cases.push(case(format!("RS256 that is {name}"), token));
    }
    for name in ["RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "HS256", "rs256", "RSA"] {
        let head = with(header, "alg", json!(name));
        cases.push(case(format!("{name} with the old signature"), target.with_old_signature(&head, claims)));
        cases.push(case(format!("{name} with a signature of RS256"), target.ours.sign(&head, claims)));
    }
    cases.push(case("another key, our kid", theirs.sign(header, claims)));
    cases.push(case("another key, its kid", theirs.sign(&with(header, "kid", json!("theirs")), claims)));
    target.keeps_out(GARBAGE, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_bring_or_name_a_key_change_nothing() {
    let target = Target::open().await;
    let (header, claims) = (&target.header, &target.claims);
    let theirs = Forger::with_another_key();
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
    elsewhere.set_nonblocking(true).expect("a listener");
    let address = elsewhere.local_addr().expect("an address");
    let our_kid = header["kid"].as_str().expect("a kid");
    let certificate = STANDARD.encode(theirs.public_der());
    let mut cases = vec![];
    for kid in [our_kid, "theirs"] {
        for (name, value) in [
            ("jwk", theirs.jwk(kid)),
            ("jku", json!(format!("http://{address}/jwks.json"))),
            ("x5u", json!(format!("http://{address}/certificate.pem"))),
            ("x5c", json!([certificate])),
            ("x5t", json!("AAAA")),
            ("url", json!(format!("http://{address}/"))),
        ] {
            let head = with(&with(header, "kid", json!(kid)), name, value);
            cases.push(case(format!("{name} of another key, kid {kid}"), theirs.sign(&head, claims)));
            cases.push(case(format!("{name}, kid {kid}, the old signature"), target.with_old_signature(&head, claims)));
            if kid != our_kid {
                cases.push(case(format!("{name}, kid {kid}, our signature"), target.ours.sign(&head, claims)));
            }
        }
    }
    cases.push(case("no kid", target.ours.sign(&without(header, "kid"), claims)));
    for kid in [
        json!(""),
        json!("other"),
        json!(format!("{our_kid} ")),
        json!(format!("{our_kid}\0")),
        json!(our_kid.to_uppercase()),
        json!("../../dev/null"),
        json!("../../../../../../etc/passwd"),
        json!("file:///dev/null"),
        json!(format!("http://{address}/key")),
        json!("x' or '1'='1"),
        json!("x' union select 'secret' -- "),
        json!("| id"),
        json!([our_kid]),
        json!({"kid": our_kid}),
        json!(0),
        json!(true),
        Value::Null,
        json!("k".repeat(20_000)),
    ] {
        cases.push(case(format!("kid {kid:.40}"), target.headed("kid", kid.clone())));
        // As if the file or row that it names were empty.
        let empty = hmac_signed(HMAC_SHA256, b"", &with(&with(header, "kid", kid), "alg", json!("HS256")), claims);
        cases.push(case("the same with an empty secret", empty));
    }
    target.keeps_out(GARBAGE, &cases).await;

    // The first to come is this test.
    let this = TcpStream::connect(address).expect("somebody listens");
    let (_, first) = elsewhere.accept().expect("a connection");
    assert_eq!(first, this.local_addr().expect("an address"));
    assert_eq!(elsewhere.accept().map(drop).expect_err("nobody else").kind(), ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn edited_claims_do_not_fit_the_signature() {
    let target = Target::open().await;
    let other = target.server.shop("other").await;
    let (_, theirs) = parts(other.admin.token());
    let customer = target.shop.customer.token();
    let (header, customers) = parts(customer);
    let signature = customer.rsplit('.').next().expect("a signature");
    let edited = |claims: &Value| format!("{}.{signature}", unsigned(&header.to_string(), &claims.to_string()));
    let mut cases = vec![case("an admin's claims, a customer's signature", edited(&target.claims))];
    let changes = [
        ("role", json!("ADMIN")),
        ("tenantId", theirs["tenantId"].clone()),
        ("userId", json!(target.shop.admin_id)),
        ("sub", json!(target.shop.admin_id)),
        ("sid", theirs["sid"].clone()),
        ("jti", json!(Uuid::now_v7())),
        ("ver", json!(1)),
        ("mfa", json!(true)),
        ("exp", json!(customers["exp"].as_i64().expect("a moment") + 1)),
        ("iat", json!(0)),
        ("scope", json!("everything")),
    ];
    for (name, value) in changes {
        cases.push(case(format!("{name} {value}"), edited(&with(&customers, name, value))));
    }
    for name in ["exp", "aud", "ver", "sid"] {
        cases.push(case(format!("without {name}"), edited(&without(&customers, name))));
    }
    target.keeps_out(GARBAGE, &cases).await;

    // A genuine token of another shop is theirs alone.
    let answers = target
        .ask(|request| {
            request.header("authorization", format!("Bearer {}", other.admin.token())).header("x-tenant", "target")
        })
        .await;
    for refused in &answers {
        assert_eq!((refused.status, refused.outcome()), (403, "FORBIDDEN"), "{:#}", refused.body);
    }
}
