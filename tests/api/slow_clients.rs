//! Clients that take their time, over connections of their own making.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{As, TestServer, answer};

/// A client that speaks TCP only.
struct Raw(TcpStream);

impl Raw {
    async fn connect(server: &TestServer) -> Self {
        Self(TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a connection"))
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("an open connection");
    }

    /// Everything until the server closes.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = soon(self.0.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything until this text has come.
    async fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains(text) {
            let read = soon(self.0.read_buf(&mut bytes)).await.expect("an open connection");
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What must happen, sooner or later.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.expect("it happens within thirty seconds")
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
const OK: &str = r#"{"status":"ok"}"#;

/// A server with little patience, save with those whom it knows already.
async fn impatient() -> TestServer {
    TestServer::start_with(|config| {
        config.server.header_timeout = Duration::from_millis(300);
        config.server.request_timeout = Duration::from_secs(1);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_not_all_of_it_is_cut_off() {
    let server = impatient().await;
    let beginnings = ["", "P", "PRI * HTTP/2.0\r\n", "GET /health HTTP/1.1\r\n", "GET /health HTTP/1.1\r\nhost: x\r\n"];
    let slow = beginnings.iter().cycle().take(100).map(async |beginning| {
        let mut client = Raw::connect(&server).await;
        client.say(beginning).await;
        let told = client.rest().await;
        assert!(!told.contains("200 OK"), "{beginning:?}: {told}");
    });
    // Others do not notice.
    let others = async {
        for _ in 0..20 {
            assert_eq!(answer(server.request(Method::GET, "/health", &As::Nobody)).await.status, 200);
        }
    };
    tokio::join!(join_all(slow), others);
}

/// A server that closes what nobody uses.
async fn without_idlers() -> TestServer {
    TestServer::start_with(|config| config.server.keep_alive_timeout = Duration::from_millis(300)).await
}

/// A byte now and then, as Slowloris does.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut_off() {
    let server = impatient().await;
    let mut client = Raw::connect(&server).await;
    client.say(HEALTH).await;
    client.until(OK).await;
    client.say("GET /health HTTP/1.1\r\nhost: x\r\nx: ").await;
    let mut buffer = [0; 1];
    let closed = async {
        // Waits for the end, and says something whenever it does not come.
        loop {
            let end = timeout(Duration::from_millis(20), client.0.read(&mut buffer)).await;
            if matches!(end, Ok(Ok(0) | Err(_))) || client.0.write_all(b"y").await.is_err() {
                break;
            }
        }
    };
    soon(closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_told_so_and_the_connection_ends() {
    let server = impatient().await;
    for path in ["/graphql", "/api/v1/auth/login", "/none"] {
        for framing in ["content-length: 100\r\n\r\n{\"query\":", "transfer-encoding: chunked\r\n\r\n5\r\n{\"que"] {
            let mut client = Raw::connect(&server).await;
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
            client.say(format!("{head}{framing}")).await;
            let told = client.rest().await;
            let (head, body) = told.split_once("\r\n\r\n").expect("an answer");
            assert!(head.starts_with("HTTP/1.1 400"), "{told}");
            let body: Value = serde_json::from_str(body).expect("JSON");
            let error = if path == "/graphql" { &body["errors"][0] } else { &body["error"] };
            assert_eq!(error["message"], "the body did not arrive in time", "{told}");
            assert!([&error["code"], &error["extensions"]["code"]].contains(&&json!("VALIDATION_ERROR")), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_uses_end_and_their_places_are_free_again() {
    let server = TestServer::start_with(|config| {
        config.server.keep_alive_timeout = Duration::from_millis(300);
        config.server.max_connections = 1;
    })
    .await;
    let mut first = Raw::connect(&server).await;
    first.say(HEALTH).await;
    first.until(OK).await;
    let mut second = Raw::connect(&server).await;
    second.say(HEALTH).await;
    second.until(OK).await;
    // There was one place, so the first must have left it.
    assert_eq!(first.0.try_read(&mut [0; 1]).expect("an end"), 0);
    assert_eq!(second.rest().await, "");
}

/// Everything that somebody new is told who asks once.
async fn told_to_another(server: &TestServer) -> String {
    let mut client = Raw::connect(server).await;
    // The server may have closed already.
    let _ = client.0.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    client.rest().await
}

/// So many connections at once, each of which has been answered.
async fn connected(server: &TestServer, count: usize) -> Vec<Raw> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Raw::connect(server).await;
        client.say(HEALTH).await;
        client.until(OK).await;
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_further_ones_are_closed() {
    let server = TestServer::start_with(|config| config.server.max_connections_per_address = 3).await;
    let mut clients = connected(&server, 3).await;
    assert_eq!(told_to_another(&server).await, "");
    for client in &mut clients {
        client.say(HEALTH).await;
        client.until(OK).await;
    }
    drop(clients.pop());
    // The server takes a moment to see that it is gone.
    soon(async { while !told_to_another(&server).await.contains(OK) {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_as_many_connections_as_there_are() {
    let server = TestServer::start_with(|config| {
        config.server.max_connections_per_address = 1;
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    let _clients = connected(&server, 5).await;
    assert!(told_to_another(&server).await.contains(OK));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off() {
    let server = impatient().await;
    let mut client = Raw::connect(&server).await;
    let ask = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    client.say(&ask).await;
    // Says more until the server has closed, which resets a connection whose requests it has not read.
    let closed = async {
        while client.0.write_all(b"\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(closed).await;
    let asset = answer(server.request(Method::GET, "/docs/swagger-ui-bundle.js", &As::Nobody)).await;
    assert_eq!(asset.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_may_come_at_once_and_are_answered_in_turn() {
    let server = without_idlers().await;
    let mut client = Raw::connect(&server).await;
    client.say(format!("{}{HEALTH}", HEALTH.replace("/health", "/none"))).await;
    let told = client.rest().await;
    assert!(
        told.find("404 Not Found").is_some_and(|first| told.find(OK).is_some_and(|second| first < second)),
        "{told}"
    );
    // Who says no more is gone, as far as anybody can tell.
    let mut half_closed = Raw::connect(&server).await;
    half_closed.say("POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{").await;
    half_closed.0.shutdown().await.expect("half of it closed");
    let told = half_closed.rest().await;
    assert!(!told.contains("200 OK"), "{told}");
}

/// A client of HTTP/2 (RFC 9113) that lets the server send so many bytes of each answer, unless it says more.
async fn speak_http_2(server: &TestServer, window: u32) -> Raw {
    let mut client = Raw::connect(server).await;
    let settings = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &window.to_be_bytes()].concat();
    client.say([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await;
    client
}

/// The frame of a GET that ends its stream (RFC 7541), on the connection's first stream.
fn get(path: &str) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).expect("less than 127 bytes");
    let fields = [b"\x82\x86\x04", &[length(path.as_bytes())][..], path.as_bytes(), b"\x41\x01x"].concat();
    [&[0, 0, length(&fields), 1, 5, 0, 0, 0, 1][..], &fields].concat()
}

const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// Sends pings and reads their answers, until the server has had enough.
async fn ping_until_closed(mut client: Raw) {
    let mut buffer = [0; 1024];
    let closed = async {
        loop {
            let read = timeout(Duration::from_millis(20), client.0.read(&mut buffer)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) || client.0.write_all(&PING).await.is_err() {
                break;
            }
        }
    };
    soon(closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_to_who_knows_it_and_idles_no_longer() {
    let server = without_idlers().await;
    let mut client = speak_http_2(&server, 65_535).await;
    client.say(get("/health")).await;
    client.until(OK).await;
    client.rest().await;
}

/// The server's first frame says so: SETTINGS (4), and in it `SETTINGS_MAX_CONCURRENT_STREAMS` (3).
#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_told_how_many_requests_may_be_under_way() {
    let server = TestServer::start().await;
    let mut client = speak_http_2(&server, 65_535).await;
    let mut head = [0_u8; 9];
    soon(client.0.read_exact(&mut head)).await.expect("a frame");
    let [0, 0, length, 4, 0, 0, 0, 0, 0] = head else { panic!("no short SETTINGS: {head:?}") };
    let mut settings = vec![0_u8; usize::from(length)];
    soon(client.0.read_exact(&mut settings)).await.expect("all of it");
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 64]), "{settings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_keep_no_connection_open() {
    let server = without_idlers().await;
    let mut client = speak_http_2(&server, 65_535).await;
    client.say(get("/health")).await;
    client.until(OK).await;
    ping_until_closed(client).await;
    // Nor one on which nothing was ever asked.
    ping_until_closed(speak_http_2(&impatient().await, 65_535).await).await;
}

/// A client decides how much of an answer it lets in: nothing, a byte, or the first part of it.
#[tokio::test(flavor = "multi_thread")]
async fn who_lets_nothing_in_is_cut_off() {
    let server = TestServer::start_with(|config| {
        config.server.request_timeout = Duration::from_secs(1);
        config.server.keep_alive_timeout = Duration::from_secs(2);
    })
    .await;
    for (path, window) in [
        ("/health", 0),
        ("/health", 1),
        ("/docs/swagger-ui-bundle.js", 0),
        ("/docs/swagger-ui-bundle.js", 1),
        ("/docs/swagger-ui-bundle.js", 65_535),
    ] {
        let mut client = speak_http_2(&server, window).await;
        client.say(get(path)).await;
        ping_until_closed(client).await;
    }
}
