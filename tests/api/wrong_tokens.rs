//! Tokens with our signature that say something wrong, tokens for something else, and texts that are nearly tokens.

use aws_lc_rs::hmac::HMAC_SHA256;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::As;
use crate::support::forger::{RSA_ALGORITHMS, encoded, hmac_signed, parts, unsigned};
use crate::support::operations::percent_encoded;
use crate::support::shop::PASSWORD;
use crate::support::token_target::{Case, GARBAGE, Target, case, with, without};

/// Claims of which each makes a token wrong by itself.
fn wrong_claims(target: &Target, theirs: &Value) -> Vec<(&'static str, Value)> {
    let now = Utc::now().timestamp();
    let (shop, customer) = (target.shop.id, target.shop.customer_id);
    vec![
        ("exp", json!(now - 3600)),
        ("exp", json!(now - 10)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(1e300)),
        ("exp", json!([now + 600])),
        ("nbf", json!(now + 600)),
        ("nbf", json!(now + 10)),
        ("iat", json!(now + 600)),
        ("iat", json!(now + 10)),
        ("iat", json!("yesterday")),
        ("iss", json!("mercat0")),
        ("iss", json!("Mercato")),
        ("iss", json!("")),
        ("iss", json!(["mercato"])),
        ("iss", json!("https://mercato")),
        ("aud", json!("mercato-mfa")),
        ("aud", json!("mercato")),
        ("aud", json!("")),
        ("aud", json!(["mercato-api"])),
        ("aud", json!(["mercato-mfa", "mercato-api"])),
        ("sub", json!(customer)),
        ("sub", json!("admin@example.com")),
        ("userId", json!(customer)),
        ("userId", json!(Uuid::nil())),
        ("tenantId", theirs["tenantId"].clone()),
        ("tenantId", json!(Uuid::now_v7())),
        ("tenantId", json!("target")),
        ("tenantId", json!([shop])),
        ("role", json!("ROOT")),
        ("role", json!("admin")),
        ("role", json!("")),
        ("role", json!(["ADMIN"])),
        ("ver", json!(1)),
        ("ver", json!(-1)),
        ("ver", json!("0")),
        ("ver", json!(4_294_967_296_i64)),
        ("mfa", json!("true")),
        ("mfa", json!(1)),
        ("sid", json!("x")),
        ("jti", json!("x")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_not_yet_or_for_somebody_else_is_refused() {
    let target = Target::open().await;
    let other = target.server.shop("other").await;
    let (_, theirs) = parts(other.admin.token());
    let now = Utc::now().timestamp();
    let times = with(&target.claims, "iat", json!(now - 7200));
    let shop = target.shop.id;
    let mut cases = vec![];
    for (name, value) in wrong_claims(&target, &theirs) {
        // A token whose `iat` is not to blame, so that it is the one change that is.
        let claims =
            if name == "exp" { with(&times, name, value.clone()) } else { with(&target.claims, name, value.clone()) };
        cases.push(case(format!("{name} {value}"), target.ours.sign(&target.header, &claims)));
    }
    for name in target.claims.as_object().expect("claims").keys() {
        cases.push(case(format!("without {name}"), target.ours.sign(&target.header, &without(&target.claims, name))));
        cases.push(case(format!("{name} null"), target.claiming(name, Value::Null)));
        let twice = format!(r#"{{"{name}":{},"#, target.claims[name]);
        let twice = target.claims.to_string().replacen('{', &twice, 1);
        let token = target.ours.sign_by(RSA_ALGORITHMS[0].1, &target.header.to_string(), &twice);
        cases.push(case(format!("{name} twice, as it is"), token));
    }
    for (who, user) in [("nobody", Uuid::now_v7()), ("somebody of another shop", other.admin_id)] {
        let claims = with(&with(&target.claims, "sub", json!(user)), "userId", json!(user));
        cases.push(case(format!("for {who}"), target.ours.sign(&target.header, &claims)));
    }
    let moved = with(&theirs, "tenantId", json!(shop));
    cases.push(case("another shop's user in this one", target.ours.sign(&target.header, &moved)));
    target.keeps_out(GARBAGE, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_say_something_else_are_refused() {
    let target = Target::open().await;
    let mut cases = vec![];
    for critical in
        [json!(["b64"]), json!(["exp"]), json!(["https://example.com/x"]), json!([]), json!("b64"), json!([1])]
    {
        let head = with(&with(&target.header, "crit", critical.clone()), "b64", json!(false));
        cases.push(case(format!("crit {critical}"), target.ours.sign(&head, &target.claims)));
    }
    for kind in ["JWE", "secevent+jwt", "dpop+jwt", "at+jwt", "x", ""] {
        cases.push(case(format!("typ {kind:?}"), target.headed("typ", json!(kind))));
    }
    cases.push(case("typ number", target.headed("typ", json!(1))));
    for kind in ["JWT", "json"] {
        cases.push(case(format!("cty {kind:?}"), target.headed("cty", json!(kind))));
    }
    cases.push(case("zip", target.headed("zip", json!("DEF"))));
    cases.push(case("enc", target.headed("enc", json!("A256GCM"))));
    for text in ["", "{}", "[]", "null", "x", "\"\""] {
        let claims = target.claims.to_string();
        let token = target.ours.sign_by(RSA_ALGORITHMS[0].1, text, &claims);
        cases.push(case(format!("the header {text:?}"), token));
        let token = target.ours.sign_by(RSA_ALGORITHMS[0].1, &target.header.to_string(), text);
        cases.push(case(format!("the claims {text:?}"), token));
    }
    let inner = target.shop.admin.token();
    let header = target.header.to_string();
    cases.push(case("a token in a token", target.ours.sign_by(RSA_ALGORITHMS[0].1, &header, inner)));
    cases.push(case("a token as a JSON text", target.ours.sign(&target.header, &json!(inner))));
    target.keeps_out(GARBAGE, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nearly_a_token_is_refused() {
    let target = Target::open().await;
    let login = "mutation($input: LoginInput!) { login(input: $input) { refreshToken } }";
    let input = json!({"tenant": "target", "email": "admin@example.com", "password": PASSWORD});
    let session = target.server.mutate(&As::Nobody, login, json!({ "input": input })).await;
    let As::Shopper(api_key) = &target.shop.shopper else { panic!("no key") };
    let token = target.shop.admin.token();
    let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let standard = |part: &str| part.replace('-', "+").replace('_', "/");
    let mut bits = signature.as_bytes().to_vec();
    *bits.last_mut().expect("a signature") ^= 1;
    let cases = [
        ("the refresh token", session["refreshToken"].as_str().expect("a refresh token").to_owned()),
        ("the API key", api_key.clone()),
        ("a password", PASSWORD.to_owned()),
        ("a user's id", target.shop.admin_id.to_string()),
        ("a dot", ".".into()),
        ("two dots", "..".into()),
        ("three dots", "...".into()),
        ("one part", head.to_owned()),
        ("two parts", format!("{head}.{claims}")),
        ("two parts and a dot", format!("{head}.{claims}.")),
        ("no header", format!(".{claims}.{signature}")),
        ("no claims", format!("{head}..{signature}")),
        ("a dot behind", format!("{token}.")),
        ("a dot before", format!(".{token}")),
        ("a dot within", format!("{head}..{claims}.{signature}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts, like a JWE", format!("{head}.{}.{}.{claims}.{signature}", encoded(b"key"), encoded(b"iv"))),
        ("five empty parts", "....".into()),
        ("twice", format!("{token}{token}")),
        ("twice with a comma", format!("{token},{token}")),
        ("in quotes", format!("\"{token}\"")),
        ("in base64 once more", encoded(token.as_bytes())),
        ("each part in base64 once more", [head, claims, signature].map(|part| encoded(part.as_bytes())).join(".")),
        ("in percent", percent_encoded(token)),
        ("with padding", format!("{head}.{claims}.{signature}==")),
        ("padded parts", [head, claims, signature].map(|part| format!("{part}=")).join(".")),
        ("one bit", format!("{head}.{claims}.{}", String::from_utf8(bits).expect("ASCII"))),
        ("a letter more", format!("{token}A")),
        ("a letter less", token[..token.len() - 1].to_owned()),
        ("in capitals", token.to_uppercase()),
        ("the other alphabet", format!("{}.{}.{}-", standard(head), standard(claims), standard(signature))),
        ("not base64", "%%%.%%%.%%%".into()),
        ("JSON", json!({"protected": head, "payload": claims, "signature": signature}).to_string().replace(' ', "")),
        ("base64 of the whole", STANDARD.encode(token)),
        ("base64 for URLs of the whole", URL_SAFE.encode(token)),
        ("100 KB of letters", "A".repeat(100_000)),
        ("100 KB of dots", ".".repeat(100_000)),
        ("100 KB of a signature", format!("{head}.{claims}.{}", "A".repeat(100_000))),
        ("100 KB of claims", format!("{head}.{}.{signature}", "A".repeat(100_000))),
        ("deep JSON", format!("{}.{signature}", unsigned(&"[".repeat(30_000), &"[".repeat(30_000)))),
        ("an empty HMAC", hmac_signed(HMAC_SHA256, b"", &json!({"alg": "HS256"}), &json!({}))),
    ];
    let cases: Vec<_> = cases.into_iter().map(|(what, token)| case(what, token)).collect();
    target.keeps_out(GARBAGE, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_no_bearer_tokens_are_refused() {
    let target = Target::open().await;
    let token = target.shop.admin.token().as_bytes();
    let around = |before: &[u8], behind: &[u8]| [before, token, behind].concat();
    let (head, tail) = token.split_at(20);
    let cases: Vec<Case> = vec![
        ("nothing".into(), vec![]),
        ("spaces".into(), b"   ".to_vec()),
        ("the scheme".into(), b"Bearer".to_vec()),
        ("the scheme and spaces".into(), b"Bearer   ".to_vec()),
        ("no scheme".into(), token.to_vec()),
        ("another scheme".into(), around(b"Token ", b"")),
        ("Basic".into(), around(b"Basic ", b"")),
        ("a tab".into(), around(b"Bearer\t", b"")),
        ("a colon".into(), around(b"Bearer: ", b"")),
        ("an equals sign".into(), around(b"Bearer=", b"")),
        ("the scheme twice".into(), around(b"Bearer Bearer ", b"")),
        ("a space within".into(), [b"Bearer ", head, b" ", tail].concat()),
        ("a second word".into(), around(b"Bearer ", b" x")),
        ("another scheme behind".into(), around(b"Bearer ", b", Basic dTpw")),
        ("UTF-8".into(), around(b"Bearer ", "é".as_bytes())),
        ("not UTF-8 behind".into(), around(b"Bearer ", b"\xff\xfe")),
        ("not UTF-8 before".into(), around(b"\xff Bearer ", b"")),
        ("overlong UTF-8".into(), around(b"Bearer ", b"\xc0\xae")),
        ("a soft hyphen".into(), around(b"Bearer ", b"\xad")),
        ("a zero-width space".into(), around("Bearer\u{200b} ".as_bytes(), b"")),
        ("a no-break space".into(), around("Bearer\u{a0}".as_bytes(), b"")),
    ];
    target.keeps_out("Bearer a b", &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_its_header_only_and_a_wrong_one_is_not_ignored() {
    let target = Target::open().await;
    let token = target.shop.admin.token();
    let As::Shopper(api_key) = &target.shop.shopper else { panic!("no key") };
    let before = target.server.database.contents(None).await;
    // A wrong token beside something that would do: refused, not passed over.
    for (name, value) in [
        ("x-api-key", api_key.clone()),
        ("x-tenant", "target".into()),
        ("authorization", format!("Bearer {token}")),
        ("proxy-authorization", format!("Bearer {token}")),
    ] {
        let answers = target.ask(|request| request.header(name, &value).header("authorization", "Bearer x.y.z")).await;
        for refused in answers {
            assert_eq!((refused.status, refused.outcome()), (401, "UNAUTHENTICATED"), "{name}: {:#}", refused.body);
        }
    }
    // A good one where none belongs: as if there were none.
    for (name, value) in [
        ("x-api-key", token.to_owned()),
        ("cookie", format!("token={token}; access_token={token}; Authorization=Bearer {token}")),
        ("proxy-authorization", format!("Bearer {token}")),
        ("x-authorization", format!("Bearer {token}")),
        ("x-access-token", token.to_owned()),
        ("x-forwarded-authorization", format!("Bearer {token}")),
    ] {
        let [write, _, rest_write, rest_read, _] = target.ask(|request| request.header(name, &value)).await;
        for refused in [write, rest_write, rest_read] {
            assert_eq!(refused.outcome(), "UNAUTHENTICATED", "{name}: {:#}", refused.body);
            assert!(refused.body["data"].is_null(), "{name}: {:#}", refused.body);
        }
    }
    for path in ["/products", "/orders"] {
        let path = format!("{path}?access_token={token}&token={token}");
        let refused = target.server.rest(&As::Nobody, Method::GET, &path, None).await;
        assert!(matches!(refused.status, 400 | 401), "{:#}", refused.body);
        assert!(!refused.body.to_string().contains(token), "a token is not told again");
    }
    assert_eq!(target.server.database.contents(None).await, before);
}
