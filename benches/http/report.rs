//! What was found, as tables in Markdown.

use std::fmt;
use std::time::Duration;

use super::operations::Operation;

/// How long requests took, in milliseconds, and how many there were.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    count: u32,
    percentiles: [f64; 3],
}

impl Latencies {
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let percentile = |percent: usize| {
            let at = (all.len() * percent / 100).min(all.len().saturating_sub(1));
            all.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
        };
        Self {
            count: u32::try_from(all.len()).unwrap_or(u32::MAX),
            percentiles: [percentile(50), percentile(95), percentile(99)],
        }
    }

    /// Of a sample of so many requests.
    pub fn sampled_of(count: u32, sample: Vec<Duration>) -> Self {
        Self { count, ..Self::of(sample) }
    }
}

/// What an operation took of one of the three.
#[derive(Clone, Debug)]
pub struct Measured {
    latencies: Latencies,
    per_second: f64,
    /// Seconds of processor time for 1,000 requests, by process.
    cpu: Vec<(&'static str, f64)>,
    pub answer_bytes: usize,
}

impl Measured {
    /// The time within which 95 of 100 requests were answered, in milliseconds.
    pub const fn p95(&self) -> f64 {
        self.latencies.percentiles[1]
    }

    /// From the processor time that all requests together took.
    pub fn new(
        latencies: Latencies,
        during: Duration,
        cpu: Vec<(&'static str, f64)>,
        answer_bytes: usize,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(latencies.count > 0, "nothing was answered");
        let count = f64::from(latencies.count);
        Ok(Self {
            latencies,
            per_second: count / during.as_secs_f64(),
            cpu: cpu.into_iter().map(|(name, seconds)| (name, seconds / count * 1000.0)).collect(),
            answer_bytes,
        })
    }

    fn total_cpu(&self) -> f64 {
        self.cpu.iter().map(|(_, seconds)| seconds).sum()
    }
}

/// An operation beside its references.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub operation: Operation,
    pub mercato: Measured,
    pub sql: Measured,
    pub bare: Measured,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Report {
    pub comparisons: Vec<Comparison>,
    pub connections: u32,
    pub ready_after: Duration,
    pub peak_memory: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | | requests/s | p50 ms | p95 ms | p99 ms | CPU s per 1,000 | of which |")?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|---|")?;
        for Comparison { operation, mercato, sql, bare } in &self.comparisons {
            row(f, operation.name(), "Mercato", mercato)?;
            row(f, "", "SQL in pgbench", sql)?;
            row(f, "", "bare axum", bare)?;
        }
        writeln!(f, "\n| CPU of Mercato as a multiple of | SQL in pgbench | bare axum |")?;
        writeln!(f, "|---|--:|--:|")?;
        for Comparison { operation, mercato, sql, bare } in &self.comparisons {
            let cpu = mercato.total_cpu();
            let (by_sql, by_bare) = (cpu / sql.total_cpu(), cpu / bare.total_cpu());
            writeln!(f, "| {} | {by_sql:.2} | {by_bare:.1} |", operation.name())?;
        }
        writeln!(
            f,
            "\n{} connections; the server was ready after {} ms, and at most {:.0} MB large.",
            self.connections,
            self.ready_after.as_millis(),
            self.peak_memory,
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, operation: &str, what: &str, measured: &Measured) -> fmt::Result {
    let [p50, p95, p99] = measured.latencies.percentiles;
    let parts: Vec<_> = measured.cpu.iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
    writeln!(
        f,
        "| {operation} | {what} | {:.0} | {p50:.2} | {p95:.2} | {p99:.2} | {:.3} | {} |",
        measured.per_second,
        measured.total_cpu(),
        parts.join(", "),
    )
}
