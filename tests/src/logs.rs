//! The log of one test: what is logged on its thread while this lives.
//!
//! One subscriber serves the whole process and asks each thread what it wants:
//! subscribers that come and go with tests make `tracing` forget call sites.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Once;

use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

thread_local! {
    static LEVEL: Cell<LevelFilter> = const { Cell::new(LevelFilter::OFF) };
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Captures this thread's log, in the form that the functions write. The test
/// must run on a current-thread runtime.
pub struct Logs {
    before: LevelFilter,
}

/// Lets pass what the thread wants.
struct Wanted;

impl<S: Subscriber> Layer<S> for Wanted {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= LEVEL.get()
    }
}

/// Writes to the thread's lines.
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
    /// Captures from now on, down to `level`.
    pub fn capture(level: LevelFilter) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(|| Writer);
            let subscriber = tracing_subscriber::registry().with(Wanted).with(lines);
            tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
        });
        Self { before: LEVEL.replace(level) }
    }

    /// What was logged since this was last asked for.
    pub fn take(&self) -> String {
        String::from_utf8(LINES.take()).unwrap()
    }

    /// The `decision` lines of [`Logs::take`].
    pub fn take_decisions(&self) -> Vec<Value> {
        self.take_lines().into_iter().filter(|line| line["message"] == "decision").collect()
    }

    /// The lines of [`Logs::take`].
    pub fn take_lines(&self) -> Vec<Value> {
        self.take().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        LEVEL.set(self.before);
    }
}
