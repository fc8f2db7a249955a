//! What is counted, for Prometheus.

use anyhow::Context;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use uuid::Uuid;

use crate::db::PoolState;
use crate::domain::orders::OrderStatus;
use crate::error::{Error, Result};

/// The media type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// In seconds. The requirements name them.
const DURATION_BUCKETS: [f64; 8] = [0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// The methods of RFC 9110, and PATCH (RFC 5789).
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// A kind of GraphQL operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Query,
    /// Writes.
    Mutation,
}

/// What somebody gives to show who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password.
    Password,
    /// A code of a second factor.
    Code,
    /// A recovery code.
    RecoveryCode,
    /// A refresh token.
    RefreshToken,
    /// A service account's key.
    ServiceKey,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was right.
    Accepted,
    /// It was wrong, or is no longer good.
    Refused,
    /// Too many were tried, so nobody looked at it.
    Throttled,
}

impl Proof {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Code => "code",
            Self::RecoveryCode => "recovery_code",
            Self::RefreshToken => "refresh_token",
            Self::ServiceKey => "service_key",
        }
    }
}

impl Outcome {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
        }
    }
}

/// Everything that is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_request_duration: HistogramVec,
    orders: IntCounterVec,
    graphql_operations: IntCounterVec,
    rate_limited: IntCounterVec,
    authentication_attempts: IntCounterVec,
    cache_requests: IntCounterVec,
    pool_connections: IntGaugeVec,
}

impl Metrics {
    /// Counters that all start at zero.
    ///
    /// # Errors
    ///
    /// When two of the metrics below have the same name, or one has a name that Prometheus does not allow.
    pub fn new() -> anyhow::Result<Self> {
        let http_requests = IntCounterVec::new(
            Opts::new("http_requests_total", "HTTP requests that were answered."),
            &["method", "path", "status", "tenant_id"],
        )?;
        let http_request_duration = HistogramVec::new(
            HistogramOpts::new("http_request_duration_seconds", "Time to answer HTTP requests.")
                .buckets(DURATION_BUCKETS.to_vec()),
            &["method", "path", "status"],
        )?;
        let orders =
            IntCounterVec::new(Opts::new("orders_total", "Orders that reached a status."), &["tenant_id", "status"])?;
        let graphql_operations = IntCounterVec::new(
            Opts::new("graphql_operations_total", "GraphQL operations that were executed."),
            &["type", "outcome"],
        )?;
        let rate_limited = IntCounterVec::new(
            Opts::new("rate_limited_total", "Requests that were refused because a quota was used up."),
            &["policy"],
        )?;
        let authentication_attempts = IntCounterVec::new(
            Opts::new("authentication_attempts_total", "Passwords, codes, tokens and keys that were given."),
            &["proof", "outcome"],
        )?;
        let cache_requests = IntCounterVec::new(
            Opts::new(
                "cache_requests_total",
                "Questions to a cache, by whether it had the answer, or could not be used.",
            ),
            &["cache", "outcome"],
        )?;
        let pool_connections = IntGaugeVec::new(
            Opts::new("db_pool_connections", "Connections to PostgreSQL: all that are open, and those that are idle."),
            &["state"],
        )?;
        let registry = Registry::new();
        registry.register(Box::new(http_requests.clone()))?;
        registry.register(Box::new(http_request_duration.clone()))?;
        registry.register(Box::new(orders.clone()))?;
        registry.register(Box::new(graphql_operations.clone()))?;
        registry.register(Box::new(rate_limited.clone()))?;
        registry.register(Box::new(authentication_attempts.clone()))?;
        registry.register(Box::new(cache_requests.clone()))?;
        registry.register(Box::new(pool_connections.clone()))?;
        // Memory, processor time and open files. It reads /proc.
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            registry,
            http_requests,
            http_request_duration,
            orders,
            graphql_operations,
            rate_limited,
            authentication_attempts,
            cache_requests,
            pool_connections,
        })
    }

    /// An HTTP request was answered.
    ///
    /// `path` is the route's pattern and never what the client sent, which would make a new series for every client
    /// that cares to. For the same reason methods that no standard names count as `OTHER`.
    pub fn http_request(&self, method: &str, path: &str, status: u16, tenant: Option<Uuid>, seconds: f64) {
        let method = if METHODS.contains(&method) { method } else { "OTHER" };
        let status = status.to_string();
        let mut buffer = Uuid::encode_buffer();
        let tenant = tenant.map_or("", |id| id.hyphenated().encode_lower(&mut buffer));
        self.http_requests.with_label_values(&[method, path, &status, tenant]).inc();
        self.http_request_duration.with_label_values(&[method, path, &status]).observe(seconds);
    }

    /// An order of this shop is in this status from now on.
    pub fn order_became(&self, tenant: Uuid, status: OrderStatus) {
        let mut buffer = Uuid::encode_buffer();
        let tenant = tenant.hyphenated().encode_lower(&mut buffer);
        self.orders.with_label_values(&[&*tenant, status.as_str()]).inc();
    }

    /// A GraphQL operation was executed; it is not `ok` if the response has errors beside its data.
    pub fn graphql_operation(&self, operation: Operation, ok: bool) {
        let operation = match operation {
            Operation::Query => "query",
            Operation::Mutation => "mutation",
        };
        let outcome = if ok { "ok" } else { "error" };
        self.graphql_operations.with_label_values(&[operation, outcome]).inc();
    }

    /// A request was refused because a quota of this name was used up.
    pub fn rate_limited(&self, policy: &'static str) {
        self.rate_limited.with_label_values(&[policy]).inc();
    }

    /// Somebody tried to show who it is.
    pub fn authentication_attempt(&self, proof: Proof, outcome: Outcome) {
        self.authentication_attempts.with_label_values(&[proof.as_str(), outcome.as_str()]).inc();
    }

    /// What is kept of catalogs had an answer.
    pub fn catalog_hit(&self) {
        self.catalog_asked("hit");
    }

    /// What is kept of catalogs had no answer.
    pub fn catalog_missed(&self) {
        self.catalog_asked("miss");
    }

    /// What is kept of catalogs could not be used: it is switched off, or Redis is gone.
    pub fn catalog_bypassed(&self) {
        self.catalog_asked("bypass");
    }

    fn catalog_asked(&self, outcome: &str) {
        self.cache_requests.with_label_values(&["catalog", outcome]).inc();
    }

    /// How busy the pool is now. To be called before [`Self::render`].
    pub fn pool(&self, state: PoolState) {
        self.pool_connections.with_label_values(&["open"]).set(state.open.into());
        self.pool_connections.with_label_values(&["idle"]).set(state.idle.into());
    }

    /// All of it in Prometheus's text format.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when the registry holds what that format cannot say.
    pub fn render(&self) -> Result<String> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.context("cannot write metrics").map_err(Error::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: Uuid = Uuid::from_u128(0xabc);

    /// What is rendered, without what the process reports of itself.
    fn text(metrics: &Metrics) -> String {
        let text = metrics.render().unwrap();
        let ours = |line: &&str| !line.contains("process_");
        text.lines().filter(ours).flat_map(|line| [line, "\n"]).collect()
    }

    #[test]
    fn requests_are_counted_and_timed() {
        let metrics = Metrics::new().unwrap();
        metrics.http_request("GET", "/api/v1/products/{id}", 200, Some(SHOP), 0.01);
        metrics.clone().http_request("GET", "/api/v1/products/{id}", 200, Some(SHOP), 0.25);
        let expected = r#"# HELP http_request_duration_seconds Time to answer HTTP requests.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="0.01"} 1
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="0.05"} 1
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="0.1"} 1
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="0.2"} 1
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="0.5"} 2
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="1"} 2
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="2"} 2
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="5"} 2
http_request_duration_seconds_bucket{method="GET",path="/api/v1/products/{id}",status="200",le="+Inf"} 2
http_request_duration_seconds_sum{method="GET",path="/api/v1/products/{id}",status="200"} 0.26
http_request_duration_seconds_count{method="GET",path="/api/v1/products/{id}",status="200"} 2
# HELP http_requests_total HTTP requests that were answered.
# TYPE http_requests_total counter
http_requests_total{method="GET",path="/api/v1/products/{id}",status="200",tenant_id="00000000-0000-0000-0000-000000000abc"} 2
"#;
        assert_eq!(text(&metrics), expected);
    }

    #[test]
    fn invented_methods_share_one_series() {
        let metrics = Metrics::new().unwrap();
        for method in ["BREW", "get", "X-1", "X-2"] {
            metrics.http_request(method, "/health", 405, None, 0.0);
        }
        let text = text(&metrics);
        let series = r#"http_requests_total{method="OTHER",path="/health",status="405",tenant_id=""} 4"#;
        assert!(text.lines().any(|line| line == series), "{text}");
        assert_eq!(text.matches("http_requests_total{").count(), 1, "{text}");
    }

    #[test]
    fn orders_operations_and_connections_are_counted() {
        let metrics = Metrics::new().unwrap();
        metrics.order_became(SHOP, OrderStatus::Pending);
        metrics.order_became(SHOP, OrderStatus::Pending);
        metrics.order_became(SHOP, OrderStatus::Paid);
        metrics.graphql_operation(Operation::Query, true);
        metrics.graphql_operation(Operation::Mutation, false);
        metrics.pool(PoolState { open: 9, idle: 9 });
        metrics.pool(PoolState { open: 3, idle: 2 });
        let expected = r#"# HELP db_pool_connections Connections to PostgreSQL: all that are open, and those that are idle.
# TYPE db_pool_connections gauge
db_pool_connections{state="idle"} 2
db_pool_connections{state="open"} 3
# HELP graphql_operations_total GraphQL operations that were executed.
# TYPE graphql_operations_total counter
graphql_operations_total{outcome="error",type="mutation"} 1
graphql_operations_total{outcome="ok",type="query"} 1
# HELP orders_total Orders that reached a status.
# TYPE orders_total counter
orders_total{status="PAID",tenant_id="00000000-0000-0000-0000-000000000abc"} 1
orders_total{status="PENDING",tenant_id="00000000-0000-0000-0000-000000000abc"} 2
"#;
        assert_eq!(text(&metrics), expected);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_reports_on_itself() {
        let text = Metrics::new().unwrap().render().unwrap();
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    }
}
