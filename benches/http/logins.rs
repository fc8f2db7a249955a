//! What logging in costs others, and what its time tells.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mercato::dev::seed::PASSWORD;
use serde_json::json;

use super::load::Load;
use super::operations::Operation;
use super::stack::Stack;

/// How often each kind of login is tried.
const SAMPLES: usize = 500;

/// How many logins come at once, again and again, while others read.
const FLOOD: usize = 200;

/// A login that is refused, for one reason or another.
#[derive(Clone, Copy)]
enum Refused {
    WrongPassword,
    Unknown,
    Disabled,
    Throttled,
}

impl Refused {
    const ALL: [(Self, &'static str); 4] = [
        (Self::WrongPassword, "wrong password"),
        (Self::Unknown, "unknown account"),
        (Self::Disabled, "disabled account"),
        (Self::Throttled, "throttled account"),
    ];

    /// The account, the password and the address from which it is tried.
    fn attempt(self, sample: usize) -> (String, &'static str, String) {
        let elsewhere = format!("198.18.{}.{}", sample / 250, sample % 250);
        match self {
            Self::WrongPassword => ("customer@seed.test".to_owned(), "a wrong password", elsewhere),
            Self::Unknown => (format!("nobody{sample}@seed.test"), PASSWORD, elsewhere),
            Self::Disabled => ("admin@seed.test".to_owned(), PASSWORD, elsewhere),
            Self::Throttled => ("merchant@seed.test".to_owned(), PASSWORD, "198.19.0.1".to_owned()),
        }
    }
}

/// What was found out.
pub struct Logins {
    /// The median time of each kind, and the middle half of all.
    times: Vec<(&'static str, [Duration; 3])>,
    /// The p95 of reads in milliseconds, without and with a flood of logins, and how many of those were answered.
    reads: [f64; 2],
    answered: usize,
}

/// Measures both.
pub async fn measure(stack: &Stack, load: Load) -> anyhow::Result<Logins> {
    let http = reqwest::Client::new();
    let log_in = async |email: String, password: &str, from: String| -> anyhow::Result<(u16, Duration)> {
        let body = json!({"subdomain": "seed-1", "email": email, "password": password});
        let url = format!("http://{}/api/v1/auth/login", stack.address);
        let asked = Instant::now();
        let answer = http.post(url).header("x-forwarded-for", from).json(&body).send().await?;
        let status = answer.status().as_u16();
        answer.bytes().await?;
        Ok((status, asked.elapsed()))
    };
    for _ in 0..12 {
        log_in("merchant@seed.test".to_owned(), "a wrong password", "198.19.0.1".to_owned()).await?;
    }
    let mut times: Vec<_> = Refused::ALL.iter().map(|(_, name)| (*name, Vec::with_capacity(SAMPLES))).collect();
    for sample in 0..SAMPLES {
        // One after the other, so that whatever else the machine does meets all alike.
        for ((kind, name), (_, times)) in Refused::ALL.iter().zip(&mut times) {
            let (email, password, from) = kind.attempt(sample);
            let (status, took) = log_in(email, password, from).await?;
            anyhow::ensure!(status == 401, "{name}: {status}");
            times.push(took);
        }
    }
    let quartiles = |mut times: Vec<Duration>| {
        times.sort_unstable();
        [times[SAMPLES / 4], times[SAMPLES / 2], times[SAMPLES * 3 / 4]]
    };
    let times = times.into_iter().map(|(name, times)| (name, quartiles(times))).collect();
    let quiet = load.run(stack.address, &stack.shops, Operation::List, &stack.processes()).await?;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let url = format!("http://{}/api/v1/auth/login", stack.address);
    let flood = tokio::spawn(async move {
        let mut answered = 0;
        while stopped.try_recv().is_err() {
            let body = json!({"subdomain": "seed-2", "email": "nobody@seed.test", "password": PASSWORD});
            let asks = (0..FLOOD).map(|_| http.post(&url).json(&body).send());
            answered += join_all(asks).await.into_iter().flatten().count();
        }
        answered
    });
    let flooded = load.run(stack.address, &stack.shops, Operation::List, &stack.processes()).await?;
    // It may have ended by itself.
    let _ = stop.send(());
    Ok(Logins { times, reads: [quiet.p95(), flooded.p95()], answered: flood.await? })
}

impl fmt::Display for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        writeln!(f, "| a login with a | lower quartile ms | median ms | upper quartile ms |\n|---|--:|--:|--:|")?;
        for (name, times) in &self.times {
            let [low, median, high] = times.map(milliseconds);
            writeln!(f, "| {name} | {low:.2} | {median:.2} | {high:.2} |")?;
        }
        let [quiet, flooded] = self.reads;
        writeln!(
            f,
            "\nProduct lists: p95 {quiet:.2} ms, and {flooded:.2} ms ({:.1} times) beside {FLOOD} logins at once, of which {} \
             were answered.",
            flooded / quiet,
            self.answered
        )
    }
}
