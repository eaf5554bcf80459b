//! Captures the log of one test, which is the log of its thread.
//!
//! One subscriber serves the whole process and uses the level of the current thread. If each
//! test set its own subscriber, `tracing` would lose events, because it caches for each call
//! site whether a subscriber is interested.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Once;

use serde_json::Value;
use shared::telemetry::JsonLines;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

thread_local! {
    static LEVEL: Cell<LevelFilter> = const { Cell::new(LevelFilter::OFF) };
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Captures this thread's log until dropped, in the format that the functions use. The test
/// must run on a current-thread runtime.
pub struct Logs {
    before: LevelFilter,
}

/// Filters by the level of the current thread.
struct ThreadLevel;

impl<S: Subscriber> Layer<S> for ThreadLevel {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= LEVEL.get()
    }
}

/// Writes to the captured lines of the current thread.
struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// Starts to capture, down to `level`.
    pub fn capture(level: LevelFilter) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let lines = JsonLines::new(|| Writer);
            let subscriber = tracing_subscriber::registry().with(ThreadLevel).with(lines);
            tracing::subscriber::set_global_default(subscriber).expect("this is the only subscriber");
        });
        Self { before: LEVEL.replace(level) }
    }

    /// The log since the last call.
    pub fn take(&self) -> String {
        String::from_utf8(LINES.take()).unwrap()
    }

    /// The `decision` lines since the last call.
    pub fn take_decisions(&self) -> Vec<Value> {
        self.take_lines().into_iter().filter(|line| line["message"] == "decision").collect()
    }

    /// The parsed lines since the last call.
    pub fn take_lines(&self) -> Vec<Value> {
        self.take().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        LEVEL.set(self.before);
    }
}
