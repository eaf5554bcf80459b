//! Structured logs: one JSON object per line on standard output, from where Lambda
//! collects them. Log lines contain ids, operation names, reasons and statuses, and
//! never a credential, a verifier or a pepper.

use std::error::Error;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// Starts logging at `level`. See [`filter`] for the accepted levels. `DEBUG` and
/// `TRACE` have an effect only in debug builds: release builds contain no events below
/// `INFO`.
pub fn init(level: Option<&str>) {
    let level = filter(level);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(level).with(lines);
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
