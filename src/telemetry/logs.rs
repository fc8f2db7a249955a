//! Log lines: JSON for machines, text for people.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::SystemTime;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{self, Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Compact, DefaultFields, Format, FormatEvent, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormattedFields, SubscriberBuilder};
use tracing_subscriber::registry::{LookupSpan, Scope};
use uuid::Uuid;

use crate::config::LogFormat;

/// Sends the log lines that `level` lets pass, as directives of [`EnvFilter`], to standard output from now on.
///
/// # Errors
///
/// When `level` cannot be read, or when this has been called before.
pub fn init(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level).context("LOG_LEVEL")?;
    let started = match format {
        LogFormat::Json => json().with_env_filter(filter).try_init(),
        LogFormat::Text => text().with_env_filter(filter).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

fn json() -> SubscriberBuilder<JsonFields, JsonLine> {
    tracing_subscriber::fmt().fmt_fields(JsonFields::new()).event_format(JsonLine)
}

fn text() -> SubscriberBuilder<DefaultFields, Format<Compact, Now>> {
    let colours = io::stdout().is_terminal();
    tracing_subscriber::fmt().compact().with_target(false).with_timer(Now).with_ansi(colours)
}

/// What is logged of every request. No header, query string, body or e-mail address is part of it.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The request's id, which is also in its response, its audit rows and its other log lines.
    pub correlation_id: &'a str,
    /// The shop, once it is known.
    pub tenant_id: Option<Uuid>,
    /// Who asks, once that is known.
    pub user_id: Option<Uuid>,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, or the pattern of the route that it matched; never the query string.
    pub path: &'a str,
    /// The status of the response.
    pub status_code: u16,
    /// From the first byte of the request to the head of the response, in milliseconds.
    pub duration_ms: f64,
}

impl RequestLine<'_> {
    /// Logs it: as a warning if the server failed, whose cause has a line of its own.
    pub fn log(&self) {
        // The level of an event is fixed where it is written, hence a macro for the two that differ in nothing else.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    correlation_id = self.correlation_id,
                    tenant_id = self.tenant_id.map(field::display),
                    user_id = self.user_id.map(field::display),
                    method = self.method,
                    path = self.path,
                    status_code = self.status_code,
                    // Microseconds are enough.
                    duration = (self.duration_ms * 1000.0).round() / 1000.0,
                    "{} {} {}",
                    self.method,
                    self.path,
                    self.status_code,
                )
            };
        }
        if self.status_code < 500 {
            event!(info);
        } else {
            event!(warn);
        }
    }
}

/// An event as one JSON object: `timestamp`, `level`, `message`, then its fields and those of the spans around it.
///
/// Names become camelCase, as in all JSON of ours. A field without a value is null; the JSON format of
/// `tracing_subscriber` leaves it out, and puts those of spans where nobody looks for them.
struct JsonLine;

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for JsonLine {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let fields = event.metadata().fields();
        let mut values = Values(vec![Value::Null; fields.len()]);
        event.record(&mut values);
        line.write_str(r#"{"timestamp":""#)?;
        Now.format_time(&mut line)?;
        write!(line, r#"","level":"{}""#, event.metadata().level())?;
        for (field, value) in fields.iter().zip(&values.0) {
            write_member(&mut line, field.name(), value)?;
        }
        for (name, value) in span_fields(context) {
            if fields.field(&name).is_none() {
                write_member(&mut line, &name, &value)?;
            }
        }
        line.write_str("}\n")
    }
}

/// The fields of the spans around an event. Of two with one name, the inner one counts.
fn span_fields<S>(context: &FmtContext<'_, S, JsonFields>) -> Map<String, Value>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut all = Map::new();
    for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
        let extensions = span.extensions();
        // Text, which costs little: nearly all lines are those of requests, which are outside of any span.
        let fields = extensions.get::<FormattedFields<JsonFields>>().map(|fields| serde_json::from_str(fields));
        if let Some(Ok(Value::Object(fields))) = fields {
            all.extend(fields);
        }
    }
    all
}

/// Writes `,"nameInCamelCase":value`.
fn write_member(line: &mut Writer<'_>, name: &str, value: &Value) -> fmt::Result {
    line.write_str(",\"")?;
    for (index, word) in name.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => write!(line, "{}{}", first.to_ascii_uppercase(), letters.as_str())?,
            _ => line.write_str(word)?,
        }
    }
    write!(line, "\":{value}")
}

/// The values of an event's fields, in the fields' order.
struct Values(Vec<Value>);

impl Values {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        if let Some(slot) = self.0.get_mut(field.index()) {
            *slot = value.into();
        }
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

/// The present moment (RFC 3339) in UTC, to the millisecond. It is for people, so it need not be injected.
struct Now;

impl FormatTime for Now {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let now = DateTime::<Utc>::from(SystemTime::now());
        line.write_str(&now.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `log` runs: the text as it is, and every line without its time.
    fn captured(log: impl FnOnce()) -> (String, Vec<Value>) {
        let captured = Captured::default();
        let writer = captured.clone();
        let lines = json().with_writer(move || writer.clone());
        tracing::subscriber::with_default(lines.finish(), log);
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let parse = |line: &str| {
            assert_eq!(line.matches("\"correlationId\":").count().max(1), 1, "{line}");
            let mut line: Value = serde_json::from_str(line).unwrap();
            let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
            let time = time.as_str().unwrap();
            assert!(time.len() == "2026-01-31T12:00:00.000Z".len() && time.ends_with('Z'), "{time}");
            assert!(DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
            line
        };
        let lines = text.lines().map(parse).collect();
        (text, lines)
    }

    const REQUEST: RequestLine<'static> = RequestLine {
        correlation_id: "01J-\"id\"",
        tenant_id: Some(Uuid::from_u128(1)),
        user_id: None,
        method: "GET",
        path: "/api/v1/products",
        status_code: 200,
        duration_ms: 1.234_567,
    };

    #[test]
    fn a_request_is_one_line_with_exactly_these_keys() {
        let (text, lines) = captured(|| REQUEST.log());
        let expected = json!({
            "level": "INFO",
            "message": "GET /api/v1/products 200",
            "correlationId": "01J-\"id\"",
            "tenantId": "00000000-0000-0000-0000-000000000001",
            "userId": null,
            "method": "GET",
            "path": "/api/v1/products",
            "statusCode": 200,
            "duration": 1.235,
        });
        assert_eq!(lines, [expected]);
        assert!(text.starts_with(r#"{"timestamp":"2"#), "{text}");
        assert!(text.contains(r#"Z","level":"INFO","message":"GET /api/v1/products 200","correlationId":"#), "{text}");
    }

    #[test]
    fn a_failure_of_the_server_is_a_warning() {
        let lines = captured(|| {
            RequestLine { status_code: 499, ..REQUEST }.log();
            RequestLine { status_code: 503, ..REQUEST }.log();
        })
        .1;
        let levels: Vec<_> = lines.iter().map(|line| &line["level"]).collect();
        assert_eq!(levels, ["INFO", "WARN"]);
    }

    #[test]
    fn every_kind_of_value_survives_and_lines_cannot_be_forged() {
        let error = io::Error::other("disk\non fire");
        let lines = captured(|| {
            tracing::error!(
                yes = true,
                less = -1,
                nan = f64::NAN,
                error = &error as &dyn std::error::Error,
                shown = %"\u{1b}[31m\"\n{}",
                "a message\nof two lines",
            );
        })
        .1;
        let expected = json!({
            "level": "ERROR",
            "message": "a message\nof two lines",
            "yes": true,
            "less": -1,
            "nan": null,
            "error": "disk\non fire",
            "shown": "\u{1b}[31m\"\n{}",
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn what_spans_know_is_in_every_line_once() {
        let lines = captured(|| {
            let request = tracing::info_span!("request", correlation_id = "7f", user_id = tracing::field::Empty, n = 1);
            let _request = request.enter();
            let _inner = tracing::info_span!("inner", n = 2).entered();
            tracing::warn!("before");
            request.record("user_id", "42");
            tracing::warn!(n = 3, correlation_id = "its own", "after");
        })
        .1;
        let expected = [
            json!({"level": "WARN", "message": "before", "correlationId": "7f", "n": 2}),
            json!({"level": "WARN", "message": "after", "n": 3, "correlationId": "its own", "userId": "42"}),
        ];
        assert_eq!(lines, expected);
    }
}
