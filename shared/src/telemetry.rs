//! Structured logs: one JSON object per line on standard output, from where Lambda
//! collects them. Local mode writes them to a file. Log lines contain ids, operation names, reasons and statuses, and
//! never a credential, a verifier or a pepper.

use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io::Write;

use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::domain::{is_control, is_invisible, redact_credentials};
use crate::json_text::append_string;

/// Starts logging at `level`. See [`filter`] for the accepted levels. `DEBUG` and
/// `TRACE` have an effect only in debug builds: release builds contain no events below
/// `INFO`.
pub fn init(level: Option<&str>) {
    init_with(level, std::io::stdout);
}

/// Starts logging at `level` to what `writer` returns. See [`JsonLines::new`].
pub fn init_with<W: Write>(level: Option<&str>, writer: impl Fn() -> W + Send + Sync + 'static) {
    let subscriber = tracing_subscriber::registry().with(filter(level)).with(JsonLines::new(writer));
    // Fails only if a subscriber is already set, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The filter for `level`, which is `INFO`, `DEBUG` or `TRACE`. Any other level means
/// `INFO`, because alarms are computed from `INFO` lines and a variable must not
/// silence them.
#[must_use]
pub fn filter(level: Option<&str>) -> LevelFilter {
    level.and_then(|level| level.parse().ok()).map_or(LevelFilter::INFO, |level| LevelFilter::INFO.max(level))
}

/// Writes instants as `2026-01-01T12:00:00.000000Z`.
const TIMESTAMP: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

thread_local! {
    /// The line that this thread is writing.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes each event as one JSON object on one line: its time, level, fields and target.
///
/// `tracing_subscriber`'s own JSON format does the same, but takes more than twice as long,
/// because it builds the object through several layers of serializers.
pub struct JsonLines<F> {
    writer: F,
}

impl<W: Write, F: Fn() -> W> JsonLines<F> {
    /// Writes to what `writer` returns, one `write_all` for each line.
    pub fn new(writer: F) -> Self {
        Self { writer }
    }
}

impl<S: Subscriber, W: Write, F: Fn() -> W + 'static> Layer<S> for JsonLines<F> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_silent(metadata) { Interest::never() } else { Interest::always() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !is_silent(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let write = |line: &mut Vec<u8>| {
            write_event(line, event);
            // If the writer fails, the line is lost.
            let _ = (self.writer)().write_all(line);
        };
        // An event inside an event, or at the end of a thread, needs a line of its own.
        let written = LINE.try_with(|line| line.try_borrow_mut().map(|mut line| write(&mut line)).is_ok());
        if !written.unwrap_or(false) {
            write(&mut Vec::new());
        }
    }
}

/// Whether no event is written. rmcp logs the messages of clients, which can contain anything,
/// even a credential. The MCP server logs each request itself.
fn is_silent(metadata: &Metadata<'_>) -> bool {
    metadata.target().split("::").next() == Some("rmcp")
}

#[expect(clippy::disallowed_methods, reason = "log lines have the system's time, as Lambda's own lines do")]
fn write_event(line: &mut Vec<u8>, event: &Event<'_>) {
    line.clear();
    let metadata = event.metadata();
    line.extend_from_slice(br#"{"timestamp":""#);
    // Writing to memory does not fail, and the year has four digits.
    let _ = TIMESTAMP.print_timestamp(&jiff::Timestamp::now(), &mut *line);
    for part in [r#"","level":""#, metadata.level().as_str(), "\""] {
        line.extend_from_slice(part.as_bytes());
    }
    let mut fields = JsonFields(line);
    event.record(&mut fields);
    fields.append_text("target", metadata.target());
    line.extend_from_slice(b"}\n");
}

/// Appends fields to a JSON object.
struct JsonFields<'a>(&'a mut Vec<u8>);

impl JsonFields<'_> {
    fn append_name(&mut self, name: &str) {
        // The names of our fields and of the libraries' need no escape.
        for part in [",\"", name, "\":"] {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    fn append(&mut self, name: &str, value: impl Serialize) {
        self.append_name(name);
        let _ = serde_json::to_writer(&mut *self.0, &value);
    }

    fn append_text(&mut self, name: &str, value: &str) {
        self.append_name(name);
        append_string(self.0, value);
    }
}

impl Visit for JsonFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.append_text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.append(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.append(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.append(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.append(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{value:?}"));
        self.append_text(field.name(), &text);
    }
}

/// Formats an error and its causes on one line, with their `Display`. The `Debug` of an
/// SDK error must not be logged: it contains the raw response, and so data from the
/// table or the secret.
#[must_use]
pub fn cause(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// At most `max` characters of a text from outside, for the log. Characters that could mislead a terminal
/// or a reader are escaped, and keys and tokens are redacted.
pub fn loggable(text: &str, max: usize) -> Cow<'_, str> {
    let text = redact_credentials(text);
    if text.len() <= max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut line = String::with_capacity(text.len().min(max));
    for (count, character) in text.chars().enumerate() {
        if count == max {
            line.push('…');
            break;
        }
        if must_be_escaped(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line.into()
}

/// Control characters, joiners, line and paragraph separators, and other
/// characters that are invisible or change the direction of text.
fn must_be_escaped(character: char) -> bool {
    is_control(character) || is_invisible(character) || matches!(character, '\u{200c}' | '\u{200d}')
}
