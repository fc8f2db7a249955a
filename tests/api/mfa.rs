//! Second factors: setting up, logging in with them, recovery, guessing, and the policy for admins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use mercato::domain::mfa::totp;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::database::text_rows;
use crate::support::shop::PASSWORD;
use crate::support::{Answer, As, Shop, TestServer, answer, tally};

const SETUP: &str = "mutation { mfaSetup { secret otpauthUrl qrCode userErrors { code message } } }";
const VERIFY: &str = "mutation($input: MfaVerifyInput!) { mfaVerify(input: $input) {
    mfaEnabled recoveryCodes accessToken refreshToken viewer { email } userErrors { code message field } } }";
const DISABLE: &str = "mutation($input: MfaDisableInput!) { mfaDisable(input: $input) {
    user { mfaEnabled } userErrors { code message field } } }";
const LOGIN: &str = "mutation($input: LoginInput!) { login(input: $input) {
    accessToken refreshToken viewer { id } mfaChallenge { token expiresAt } userErrors { code } } }";
const REFRESH: &str = "mutation($input: TokenRefreshInput!) { tokenRefresh(input: $input) { accessToken } }";

/// An authenticator app.
pub struct App(Vec<u8>);

impl App {
    fn new(setup: &Value) -> Self {
        let secret = setup["secret"].as_str().unwrap_or_else(|| panic!("a secret: {setup:#}"));
        Self(totp_rs::Secret::try_from_base32(secret).expect("base 32").as_bytes().to_vec())
    }

    /// The code of the present step, or of one before or after it, which clocks that differ may show.
    pub fn code(&self, steps: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        totp(&self.0, "test").expect("a secret").generate(now.saturating_add_signed(steps * 30)).to_string()
    }
}

/// Somebody who has set up a second factor.
pub struct Enrolled {
    pub app: App,
    recovery_codes: Vec<String>,
    who: As,
}

pub async fn enroll(server: &TestServer, who: &As) -> Enrolled {
    let app = App::new(&server.mutate(who, SETUP, json!({})).await);
    let payload = server.mutate(who, VERIFY, json!({"input": {"code": app.code(0)}})).await;
    assert_eq!((&payload["mfaEnabled"], &payload["userErrors"]), (&json!(true), &json!([])), "{payload:#}");
    let recovery_codes = serde_json::from_value(payload["recoveryCodes"].clone()).expect("codes");
    Enrolled { app, recovery_codes, who: As::Token(text(&payload["accessToken"])) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

async fn log_in(server: &TestServer, shop: &Shop, email: &str) -> Value {
    let input = json!({"tenant": shop.subdomain, "email": email, "password": PASSWORD});
    server.mutate(&As::Nobody, LOGIN, json!({ "input": input })).await
}

/// The token of an admin's login that asks for a second factor.
pub async fn challenge(server: &TestServer, shop: &Shop) -> String {
    text(&log_in(server, shop, "admin@example.com").await["mfaChallenge"]["token"])
}

pub async fn verify(server: &TestServer, token: &str, code: &str) -> Answer {
    server.graphql(&As::Nobody, VERIFY, json!({"input": {"code": code, "mfaToken": token}})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_counts_once_a_code_has_verified_it() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let setup = server.mutate(&shop.admin, SETUP, json!({})).await;
    let app = App::new(&setup);
    let url = text(&setup["otpauthUrl"]);
    assert!(url.starts_with("otpauth://totp/Mercato:admin%40example.com"), "{url}");
    assert!(url.contains(&format!("secret={}", text(&setup["secret"]))) && url.contains("issuer=Mercato"), "{url}");
    let picture = text(&setup["qrCode"]);
    let picture = STANDARD.decode(picture.strip_prefix("data:image/png;base64,").expect("a PNG")).expect("base64");
    assert!(picture.starts_with(b"\x89PNG\r\n"));

    let before = log_in(&server, &shop, "admin@example.com").await;
    assert!(before["accessToken"].is_string(), "nothing has changed yet");
    let wrong = server.mutate(&shop.admin, VERIFY, json!({"input": {"code": "12345x"}})).await;
    assert_eq!(wrong["userErrors"][0]["field"], json!(["code"]), "{wrong:#}");
    let right = server.mutate(&shop.admin, VERIFY, json!({"input": {"code": app.code(-1)}})).await;
    assert_eq!((&right["mfaEnabled"], right["recoveryCodes"].as_array().map(Vec::len)), (&json!(true), Some(10)));
    for again in [SETUP, "mutation { mfaVerify(input: {code: \"123456\"}) { userErrors { code } } }"] {
        assert_eq!(server.mutate(&shop.admin, again, json!({})).await["userErrors"][0]["code"], "CONFLICT");
    }

    let again = "mutation($t: String!) { tokenRefresh(input: {refreshToken: $t}) { userErrors { code } } }";
    let again = server.mutate(&As::Nobody, again, json!({"t": before["refreshToken"]})).await;
    assert_eq!(again["userErrors"][0]["code"], "UNAUTHENTICATED", "a session without it ends with its token");

    let login = log_in(&server, &shop, "admin@example.com").await;
    let token = text(&login["mfaChallenge"]["token"]);
    let nothing = json!([null, null, null, []]);
    let rest = ["accessToken", "refreshToken", "viewer", "userErrors"].map(|field| login[field].clone());
    assert_eq!(json!(rest), nothing, "a challenge comes alone");
    let half_way = As::Token(token.clone());
    assert_eq!(server.graphql(&half_way, "{ viewer { id } }", json!({})).await.outcome(), "UNAUTHENTICATED");
    assert_eq!(server.rest(&half_way, Method::GET, "/products", None).await.status, 401);

    assert_eq!(verify(&server, &token, &app.code(-1)).await.outcome(), "UNAUTHENTICATED", "used to set up");
    let done = verify(&server, &token, &app.code(0)).await.body["data"]["mfaVerify"].clone();
    let who = As::Token(text(&done["accessToken"]));
    assert_eq!((&done["viewer"]["email"], &done["recoveryCodes"]), (&json!("admin@example.com"), &Value::Null));
    assert_eq!(server.rest(&who, Method::GET, "/inventory", None).await.status, 200);
    let refreshed = server.mutate(&As::Nobody, REFRESH, json!({"input": {"refreshToken": done["refreshToken"]}})).await;
    assert!(refreshed["accessToken"].is_string());
    // Others of the shop log in as before.
    assert!(log_in(&server, &shop, "merchant@example.com").await["accessToken"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_sets_up_and_logs_in_too() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let post = async |who: &As, path: &str, body: Value| server.rest(who, Method::POST, path, Some(body)).await;
    let setup = server.rest(&shop.admin, Method::POST, "/auth/mfa/setup", None).await;
    let app = App::new(&setup.body["data"]);
    let enabled = post(&shop.admin, "/auth/mfa/verify", json!({"code": app.code(0)})).await;
    let data = &enabled.body["data"];
    assert_eq!((enabled.status, &data["mfaEnabled"], &data["expiresIn"]), (200, &json!(true), &json!(3600)));
    assert_eq!(data["recoveryCodes"].as_array().map(Vec::len), Some(10));

    let body = json!({"subdomain": "engines", "email": "admin@example.com", "password": PASSWORD});
    let login = post(&As::Nobody, "/auth/login", body).await;
    let token = login.body["data"]["mfaToken"].clone();
    assert_eq!((login.status, &login.body["data"]), (200, &json!({"mfaRequired": true, "mfaToken": token})));
    for (code, token, status) in [("000000", &token, 401), (&*app.code(1), &json!("nonsense"), 401)] {
        let answer = post(&As::Nobody, "/auth/mfa/verify", json!({"code": code, "mfaToken": token})).await;
        assert_eq!(answer.status, status, "{:#}", answer.body);
    }
    let done = post(&As::Nobody, "/auth/mfa/verify", json!({"code": app.code(1), "mfaToken": token})).await;
    let fields: Vec<_> = done.body["data"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["expiresIn", "refreshToken", "token", "tokenType", "user"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_who_use_one_code_at_once_one_gets_in() {
    let server = TestServer::start().await;
    let replica = TestServer::on_database(server.database.clone(), |_| {}).await;
    let superuser = server.database.as_superuser().await;
    for (subdomain, is_recovery) in [("engines", false), ("bridges", true)] {
        let shop = server.shop(subdomain).await;
        let Enrolled { app, recovery_codes, .. } = enroll(&server, &shop.admin).await;
        let code = if is_recovery { recovery_codes[0].clone() } else { app.code(1) };
        let token = challenge(&server, &shop).await;
        let asks = (0..50).map(|i| verify(if i % 2 == 0 { &server } else { &replica }, &token, &code));
        let answers = join_all(asks).await;
        let tally = tally(&answers);
        assert_eq!(tally["OK"], 1, "{tally:?}");
        let left = format!("select cardinality(mfa_recovery_codes) from users where id = '{}'", shop.admin_id);
        assert_eq!(text_rows(&superuser, &left).await, [if is_recovery { "9" } else { "10" }]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_guesses_are_few() {
    let proxied = |config: &mut mercato::config::Config| {
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    };
    let server = TestServer::start_with(proxied).await;
    let replica = TestServer::on_database(server.database.clone(), proxied).await;
    let shop = server.shop("engines").await;
    let Enrolled { app, .. } = enroll(&server, &shop.admin).await;
    let token = challenge(&server, &shop).await;
    // The right one stands where no limit of guesses reaches.
    let guess = |i: i32| if i == 19 { app.code(1) } else { format!("{i:06}") };
    let aliases = (0..20).map(|i| {
        format!("a{i}: mfaVerify(input: {{code: \"{}\", mfaToken: $t}}) {{ userErrors {{ code }} }}", guess(i))
    });
    let many = format!("mutation($t: String!) {{ {} }}", aliases.collect::<Vec<_>>().join(" "));
    let used = format!("select mfa_last_step from users where id = '{}'", shop.admin_id);
    let superuser = server.database.as_superuser().await;
    let before = text_rows(&superuser, &used).await;
    let by_alias = join_all((0..30).map(|i| {
        let server = if i % 2 == 0 { &server } else { &replica };
        let request =
            server.request(Method::POST, "/graphql", &As::Nobody).header("x-forwarded-for", format!("198.51.100.{i}"));
        answer(request.json(&json!({"query": many, "variables": {"t": token}})))
    }));
    let by_rest = join_all((0..400).map(|i| {
        let request = server.request(Method::POST, "/api/v1/auth/mfa/verify", &As::Nobody);
        let request = request.header("x-forwarded-for", format!("203.0.113.{}", i % 250));
        answer(request.json(&json!({"code": format!("{i:06}"), "mfaToken": token})))
    }));
    let (by_alias, by_rest) = futures_util::future::join(by_alias, by_rest).await;
    let evaluated = by_rest.iter().filter(|answer| answer.outcome() != "RATE_LIMITED").count();
    assert!(evaluated <= 5, "{evaluated} guesses were looked at");
    assert!(by_alias.iter().all(|answer| answer.outcome() == "RATE_LIMITED"), "each had more than there are");
    assert_eq!(text_rows(&superuser, &used).await, before, "the right one was not looked at");
    // The right one comes too late, and so does whoever logs in anew.
    let late = verify(&server, &challenge(&server, &shop).await, &app.code(1)).await;
    assert_eq!(late.outcome(), "RATE_LIMITED");
    let wait = late.header("retry-after").and_then(|text| text.parse::<u64>().ok()).expect("seconds");
    assert!((1..=300).contains(&wait), "{wait}");
}

/// Who has only the password can use up the guesses of codes, and keeps out nobody who has a recovery code.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_password_does_not_keep_its_owner_out() {
    let server = TestServer::start_with(|config| {
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    let shop = server.shop("engines").await;
    let Enrolled { app, recovery_codes, .. } = enroll(&server, &shop.admin).await;
    let thief = challenge(&server, &shop).await;
    let guess = async |code: String| {
        let request = server.request(Method::POST, "/graphql", &As::Nobody).header("x-forwarded-for", "203.0.113.66");
        let input = json!({"code": code, "mfaToken": thief});
        answer(request.json(&json!({"query": VERIFY, "variables": {"input": input}}))).await.outcome().to_owned()
    };
    let (mut codes, mut recoveries) = (Vec::new(), Vec::new());
    for i in 0..7 {
        codes.push(guess(format!("{i:06}")).await);
    }
    assert_eq!((&*codes[4], &*codes[5]), ("UNAUTHENTICATED", "RATE_LIMITED"), "{codes:?}");
    for i in 0..12 {
        recoveries.push(guess(format!("{i:04}-aaaa-bbbb-cccc")).await);
    }
    assert_eq!((&*recoveries[9], &*recoveries[10]), ("UNAUTHENTICATED", "RATE_LIMITED"), "{recoveries:?}");
    let owner = challenge(&server, &shop).await;
    assert_eq!(verify(&server, &owner, &app.code(1)).await.outcome(), "RATE_LIMITED");
    assert_eq!(verify(&server, &owner, &recovery_codes[0]).await.outcome(), "OK");
}

/// Between the moment in which the database knows of a new second factor and that in which the session does.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_beside_an_enrolment_ends_no_session() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let session = log_in(&server, &shop, "admin@example.com").await;
    let who = As::Token(text(&session["accessToken"]));
    server.mutate(&who, SETUP, json!({})).await;
    let superuser = server.database.as_superuser().await;
    let enable = format!("update users set mfa_enabled = true where id = '{}'", shop.admin_id);
    superuser.batch_execute(&enable).await.expect("enabled");
    let refused =
        server.graphql(&As::Nobody, REFRESH, json!({"input": {"refreshToken": session["refreshToken"]}})).await;
    assert_eq!(refused.body["data"]["tokenRefresh"]["accessToken"], Value::Null, "{:#}", refused.body);
    assert_eq!(server.graphql(&who, "{ viewer { id } }", json!({})).await.outcome(), "OK", "its token goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_codes_are_not_to_be_found_in_the_database() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let Enrolled { app, recovery_codes, .. } = enroll(&server, &shop.admin).await;
    let rows = server.database.contents(None).await.join("\n");
    assert!(rows.contains("admin@example.com"));
    for code in &recovery_codes {
        assert!(!rows.contains(code.as_str()) && !rows.contains(&code.replace('-', "")), "{code}");
    }
    let superuser = server.database.as_superuser().await;
    let sealed = text_rows(&superuser, "select encode(mfa_secret, 'hex') from users where mfa_enabled").await;
    assert!(!sealed[0].contains(&hex::encode(&app.0)) && sealed[0].len() == 2 * (12 + 20 + 16), "{sealed:?}");
    // Bound to its user: in another's row it is worth nothing.
    let (_, other) = crate::support::shop::login(&server, "engines", "merchant@example.com").await;
    let moved = format!(
        "update users set mfa_enabled = true, mfa_secret = (select mfa_secret from users where mfa_enabled) where id = '{other}'"
    );
    superuser.batch_execute(&moved).await.expect("moved");
    let token = text(&log_in(&server, &shop, "merchant@example.com").await["mfaChallenge"]["token"]);
    assert_eq!(verify(&server, &token, &app.code(1)).await.outcome(), "INTERNAL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_taken_away_by_who_has_it() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let Enrolled { app, recovery_codes, who } = enroll(&server, &shop.admin).await;
    let disable = async |code: &str| server.mutate(&who, DISABLE, json!({"input": {"code": code}})).await;
    for wrong in ["000000", "abcd-efgh-jkmn-pqrs", ""] {
        assert_eq!(disable(wrong).await["userErrors"][0]["field"], json!(["code"]), "{wrong}");
    }
    let code = recovery_codes[3].to_uppercase().replace('-', " ");
    assert_eq!(disable(&code).await["user"]["mfaEnabled"], false);
    // What was opened with it has ended, and so has the session that took it away.
    for ended in [&who, &shop.admin] {
        assert_eq!(server.graphql(ended, "{ viewer { id } }", json!({})).await.outcome(), "UNAUTHENTICATED");
    }
    let login = As::Token(text(&log_in(&server, &shop, "admin@example.com").await["accessToken"]));
    let none = server.mutate(&login, DISABLE, json!({"input": {"code": app.code(1)}})).await;
    assert_eq!(none["userErrors"][0]["message"], "there is no second factor to take away");
    // What there was is gone with it: neither the secret nor the codes come back.
    let again = enroll(&server, &login).await;
    assert_ne!(again.app.0, app.0);
    let token = challenge(&server, &shop).await;
    assert_eq!(verify(&server, &token, &recovery_codes[4]).await.outcome(), "UNAUTHENTICATED");
    assert_eq!(verify(&server, &token, &again.recovery_codes[4]).await.outcome(), "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_ends_with_what_ends_access() {
    let server = TestServer::start().await;
    let shop = server.shop("engines").await;
    let Enrolled { recovery_codes, .. } = enroll(&server, &shop.admin).await;
    let token = challenge(&server, &shop).await;
    let superuser = server.database.as_superuser().await;
    superuser.batch_execute("update users set is_active = false where mfa_enabled").await.expect("deactivated");
    assert_eq!(verify(&server, &token, &recovery_codes[0]).await.outcome(), "UNAUTHENTICATED");
    superuser.batch_execute("update users set is_active = true where mfa_enabled").await.expect("active again");
    assert_eq!(verify(&server, &token, &recovery_codes[0]).await.outcome(), "UNAUTHENTICATED", "of another time");
    let token = challenge(&server, &shop).await;
    assert_eq!(verify(&server, &token, &recovery_codes[0]).await.outcome(), "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_admins_must_have_one_they_can_do_nothing_else_first() {
    let lenient = TestServer::start().await;
    let shop = lenient.shop("engines").await;
    let strict = |config: &mut mercato::config::Config| config.server.mfa_required_for_admins = true;
    let server = TestServer::on_database(lenient.database.clone(), strict).await;
    let first = log_in(&server, &shop, "admin@example.com").await;
    let admin = As::Token(text(&first["accessToken"]));
    for query in ["{ tenant { id } }", "{ products { nodes { id } } }", "{ auditLogs { nodes { id } } }"] {
        let refused = server.graphql(&admin, query, json!({})).await;
        assert_eq!(
            (refused.outcome(), refused.body["errors"][0]["extensions"]["retryable"].clone()),
            ("MFA_REQUIRED", json!(false))
        );
    }
    let refused = server.rest(&admin, Method::GET, "/orders", None).await;
    assert_eq!((refused.status, refused.outcome()), (401, "MFA_REQUIRED"));
    assert_eq!(server.data(&admin, "{ viewer { role } }", json!({})).await["viewer"]["role"], "ADMIN");
    assert_eq!(server.rest(&shop.merchant, Method::GET, "/orders", None).await.status, 200, "a merchant need not");

    let Enrolled { app, who, .. } = enroll(&server, &admin).await;
    assert_eq!(server.rest(&who, Method::GET, "/orders", None).await.status, 200);
    // The session knows of it too, but the token from before does not.
    let refreshed =
        server.mutate(&As::Nobody, REFRESH, json!({"input": {"refreshToken": first["refreshToken"]}})).await;
    let refreshed = As::Token(text(&refreshed["accessToken"]));
    assert_eq!(server.rest(&refreshed, Method::GET, "/orders", None).await.status, 200);
    assert_eq!(server.rest(&admin, Method::GET, "/orders", None).await.outcome(), "MFA_REQUIRED");
    let other_session = server.rest(&shop.admin, Method::GET, "/orders", None).await;
    assert_eq!(other_session.outcome(), "MFA_REQUIRED");

    let disabled = server.mutate(&who, DISABLE, json!({"input": {"code": app.code(1)}})).await;
    assert_eq!(disabled["user"]["mfaEnabled"], false, "{disabled:#}");
    let login = As::Token(text(&log_in(&server, &shop, "admin@example.com").await["accessToken"]));
    assert_eq!(server.rest(&login, Method::GET, "/orders", None).await.outcome(), "MFA_REQUIRED");
    assert_eq!(server.graphql(&login, "mutation { logout { loggedOut } }", json!({})).await.outcome(), "OK");
}
