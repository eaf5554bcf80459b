//! Structured logs: one JSON object a line, on standard output, where Lambda
//! picks them up. What may be in them: ids, names of operations, reasons,
//! statuses. What may never: a credential, a verifier, a pepper.

use std::error::Error;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// Starts logging at `level`: `INFO`, or in a debug build `DEBUG` or `TRACE`
/// (release builds leave finer events out). Any other means `INFO`.
pub fn init(level: Option<&str>) {
    let level = filter(level);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(level).with(lines);
    // Fails only where a subscriber is set already, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// What is let through at `level`. Never less than `INFO`: a decision's line is
/// what the alarms are made of, and a variable must not silence them.
#[must_use]
pub fn filter(level: Option<&str>) -> LevelFilter {
    level.and_then(|level| level.parse().ok()).map_or(LevelFilter::INFO, |level| LevelFilter::INFO.max(level))
}

/// An error and what caused it, on one line.
///
/// What each says of itself (`Display`) and no more: the `Debug` of an SDK error
/// holds the raw response, and with it what the table or the secret holds.
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
