use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use futures_util::FutureExt;
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use super::limits::{Take, Taken};
use super::*;
use crate::domain::limits::{Quota, Usage};
use crate::error::Code;

/// A Redis server on a socket in a directory of its own, which ends with the test.
struct Server {
    directory: TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Self::run(&directory);
        Self { directory, process }
    }

    fn run(directory: &TempDir) -> Child {
        let socket = directory.path().join("redis.sock");
        Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"])
            .arg(socket)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.kill();
        self.process = Self::run(&self.directory);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    fn client(&self) -> Redis {
        Redis::new(&format!("unix://{}", self.socket().display())).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

const TTL: Duration = Duration::from_mins(1);

/// Asks until the answer is a good one.
async fn until<T, E>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) {
    let answered = async {
        while ask().await.is_err() {
            // For failures that come at once: what would end them may need this thread.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect(what);
}

async fn until_it_answers(redis: &Redis) {
    until("Redis answers", async || redis.ping().await).await;
}

#[tokio::test]
async fn values_last_until_their_time_is_over() {
    let server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    assert_eq!(redis.get("key").await, Ok(None));
    redis.set("key", b"\0\xff any bytes", TTL).await.unwrap();
    assert_eq!(redis.get("key").await, Ok(Some(b"\0\xff any bytes".to_vec())));

    redis.set("key", b"brief", Duration::ZERO).await.unwrap();
    until("the key is gone", async || redis.get("key").await.map_err(|_| ())?.map_or(Ok(()), |_| Err(()))).await;
}

#[tokio::test]
async fn a_socket_has_two_spellings() {
    let server = Server::start();
    until_it_answers(&server.client()).await;
    for scheme in ["unix", "redis+unix"] {
        let redis = Redis::new(&format!("{scheme}://{}?db=1", server.socket().display())).unwrap();
        redis.set(scheme, b"here", TTL).await.unwrap();
        assert_eq!(redis.get(scheme).await, Ok(Some(b"here".to_vec())));
    }
    assert_eq!(server.client().get("unix").await, Ok(None), "it is in another database");
}

#[tokio::test]
async fn a_wrong_url_is_refused_before_anything_connects() {
    let error = format!("{:#}", Redis::new("rediss://:hunter2@localhost").unwrap_err());
    assert!(error.starts_with("REDIS_URL: ") && !error.contains("hunter2"), "{error}");
    assert!(Redis::new("localhost").is_err());
    assert!(Redis::new("redis://nowhere.invalid").is_ok());
}

#[tokio::test]
async fn a_dead_redis_costs_one_wait_and_comes_back() {
    let mut server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    // As many connections as there can be, all of which are about to die.
    let all = || async { join_all((0..50).map(|_| redis.get("key"))).await };
    assert!(all().await.iter().all(Result::is_ok));

    server.kill();
    assert_eq!(redis.get("key").await, Err(RedisGone));
    for _ in 0..1000 {
        let answer = redis.set("key", b"", TTL).now_or_never();
        assert_eq!(answer, Some(Err(RedisGone)), "it answers without waiting for anything");
    }
    let reason = redis.ping().await.unwrap_err();
    assert_eq!(reason.code(), Code::ServiceUnavailable);

    server.process = Server::run(&server.directory);
    until_it_answers(&redis).await;
    assert!(all().await.iter().all(Result::is_ok), "no connection of before is left");
}

#[tokio::test]
async fn a_restart_between_two_commands_is_survived() {
    let mut server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    server.restart();
    // Without the help of ping: the breaker lets one through after its pause.
    until("get answers", async || redis.get("key").await).await;
}

#[tokio::test]
async fn a_stalled_redis_is_given_up_soon() {
    let server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    server.signal(Signal::STOP);
    let answer = tokio::time::timeout(Duration::from_secs(5), redis.get("key")).await;
    server.signal(Signal::CONT);
    assert_eq!(answer, Ok(Err(RedisGone)));
    until_it_answers(&redis).await;
    assert_eq!(redis.get("key").await, Ok(None));
}

#[tokio::test]
async fn why_it_cannot_connect_is_known() {
    let redis = Redis::new("unix:///nowhere/redis.sock").unwrap();
    let error = redis.connection().await.err().unwrap().to_string();
    assert!(error.contains("No such file"), "{error}");
}

/// What comes back meanwhile is too little to be seen.
#[tokio::test]
async fn quotas_in_redis_are_kept_as_the_rule_says() {
    let server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    let quotas = [Quota::new(100, 3_600_000), Quota::new(37, 3_600_000)];
    let mut here = [Usage::default(); 2];
    let mut outcomes = [0; 2];
    for i in 0..80_u32 {
        let units = [i * 7 % 5 + 1, i * 3 % 4 + 1];
        let mut after = here;
        let verdicts = [0, 1].map(|of| after[of].take(quotas[of], units[of], 1));
        let is_allowed = verdicts.iter().all(|verdict| verdict.is_allowed);
        let take = |of: usize| Take { key: format!("{{test}}{of}"), quota: quotas[of], units: units[of], ahead: 0 };
        let taken = redis.take(&[take(0), take(1)]).await.unwrap();
        for (of, Taken { verdict, ahead }) in taken.into_iter().enumerate() {
            assert_eq!((verdict.is_allowed, ahead), (verdicts[of].is_allowed, 0), "{i}");
            // All or nothing.
            let mut untouched = here[of];
            let left = if is_allowed { verdicts[of] } else { untouched.take(quotas[of], 0, 1) };
            assert_eq!(verdict.remaining, left.remaining, "{i}");
            let waits = [verdict.retry_after, verdicts[of].retry_after].map(|wait| wait.as_secs().div_ceil(60));
            assert!(waits[0].abs_diff(waits[1]) <= 1, "{i}: {waits:?}");
        }
        if is_allowed {
            here = after;
        }
        outcomes[usize::from(is_allowed)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 10), "{outcomes:?}");
}

#[tokio::test]
async fn more_is_taken_ahead_while_half_is_left() {
    let server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    let take = Take { key: "ahead".into(), quota: Quota::new(100, 3_600_000), units: 1, ahead: 30 };
    let mut taken = Vec::new();
    for _ in 0..3 {
        let answer = redis.take(std::slice::from_ref(&take)).await.unwrap();
        taken.extend(answer.iter().map(|taken| (taken.verdict.remaining, taken.ahead)));
    }
    assert_eq!(taken, [(69, 30), (68, 0), (67, 0)]);
}

#[tokio::test]
async fn no_more_documents_are_kept_than_there_is_room_for() {
    let server = Server::start();
    let redis = server.client();
    until_it_answers(&redis).await;
    let hour = Duration::from_hours(1);
    for (hash, text) in [("a", "1"), ("b", "2"), ("c", "3"), ("b", "4"), ("d", "5")] {
        redis.keep_document(hash, text, hour, 3).await.unwrap();
    }
    let mut kept = Vec::new();
    for hash in ["a", "b", "c", "d"] {
        kept.push(redis.document(hash).await.unwrap());
    }
    // The second one was registered again after the third one.
    assert_eq!(kept, [None, Some(b"4".to_vec()), Some(b"3".to_vec()), Some(b"5".to_vec())]);
    let keys: usize = redis.run(&redis::cmd("DBSIZE")).await.unwrap();
    assert_eq!(keys, 4, "three texts and their index");
}

#[test]
fn the_breaker_lets_one_through_after_each_pause() {
    let breaker = Breaker::new();
    let after = |milliseconds| breaker.born + Duration::from_millis(milliseconds);
    assert!(breaker.lets_through(after(0)) && breaker.lets_through(after(0)));
    assert!(!breaker.close(), "nothing was wrong");

    assert!(breaker.open(after(10)), "the first failure");
    assert!(!breaker.open(after(20)), "the second one");
    assert!(!breaker.lets_through(after(1019)));
    assert!(breaker.lets_through(after(1020)));
    assert!(!breaker.lets_through(after(1020)), "one is trying");
    assert!(breaker.lets_through(after(2020)), "that one never came back");

    assert!(breaker.close(), "the first success");
    assert!(!breaker.close(), "the second one");
    assert!(breaker.lets_through(after(2020)) && breaker.lets_through(after(2020)));
}

#[tokio::test]
async fn versions_of_a_catalog_grow_and_answers_belong_to_one() {
    const TTL: Duration = Duration::from_mins(1);
    let server = Server::start();
    let redis = server.client();
    let (tenant, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let first = redis.catalog_version(tenant, 0, TTL).await.unwrap();
    assert_eq!(redis.catalog_version(tenant, first, TTL).await, Ok(first));
    redis.keep_catalog_answer(tenant, first, b"question", "answer", 2).await.unwrap();
    let asked = async |tenant, version| redis.catalog_answer(tenant, version, b"question").await.unwrap();
    assert_eq!(asked(tenant, first).await.as_deref(), Some(&b"answer"[..]));
    assert_eq!((asked(tenant, first + 1).await, asked(other, first).await), (None, None));
    // There is room for two, and whoever comes takes another one's place.
    let key = format!("mercato:{{{tenant}}}:catalog");
    let mut last_is_kept = false;
    for question in 0..100_u32 {
        redis.keep_catalog_answer(tenant, first, &question.to_be_bytes(), "answer", 2).await.unwrap();
        let kept = redis.run(redis::cmd("HLEN").arg(&key)).await;
        assert_eq!(kept, Ok(1 + 2.min(question + 2)), "the version, and two answers");
        let last = redis.catalog_answer(tenant, first, &question.to_be_bytes()).await.unwrap();
        last_is_kept |= question > 2 && last.is_some();
    }
    assert!(last_is_kept);

    let second = redis.catalog_changed(tenant, first, TTL).await.unwrap();
    assert!(second > first);
    redis.keep_catalog_answer(tenant, first, b"question", "too late", 2).await.unwrap();
    assert_eq!((asked(tenant, first).await, asked(tenant, second).await), (None, None));
    // Also when all is forgotten, and when two changes come in one microsecond.
    redis.run::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
    let third = redis.catalog_version(tenant, 0, TTL).await.unwrap();
    assert!(third > second);
    let mut last = third;
    for _ in 0..100 {
        let next = redis.catalog_changed(tenant, 0, TTL).await.unwrap();
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let left: i64 = redis.run(redis::cmd("PTTL").arg(&key)).await.unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    // An earlier state of Redis, from before the last version that somebody knows, or nonsense.
    let known = last + 1_000_000_000;
    let fourth = redis.catalog_version(tenant, known, TTL).await.unwrap();
    assert!(fourth > known, "{fourth} after {known}");
    redis.run::<()>(redis::cmd("HSET").arg(&key).arg("version").arg("nonsense")).await.unwrap();
    assert!(redis.catalog_version(tenant, fourth, TTL).await.unwrap() > fourth);
}

/// What is kept of catalogs is the first to be left out, and nothing else fails for it.
#[tokio::test]
async fn redis_without_room_keeps_no_answers() {
    const TTL: Duration = Duration::from_mins(1);
    let server = Server::start();
    let redis = server.client();
    let tenant = Uuid::from_u128(1);
    let version = redis.catalog_version(tenant, 0, TTL).await.unwrap();
    redis.run::<()>(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1")).await.unwrap();
    assert_eq!(redis.set("key", b"value", TTL).await, Err(RedisGone));
    redis.breaker.close();
    assert_eq!(redis.keep_catalog_answer(tenant, version, b"question", "answer", 2).await, Ok(()));
    assert_eq!(redis.catalog_answer(tenant, version, b"question").await, Ok(None));
}
