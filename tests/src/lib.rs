//! The harness of the integration tests: a new system for each test, which the test uses
//! through its public interface. The test controls the clock and the random source, and can
//! record, delay or fail each call to AWS.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness fails its test by panicking"
)]

mod api;
mod clock;
mod entropy;
mod events;
mod harness;
mod invoke;
mod logs;
mod openapi;
mod sharing;
mod table;
pub mod tokens;
mod wire;
pub mod workload;

pub use api::{Account, Key, Reply, RequestBuilder};
pub use clock::TestClock;
pub use entropy::{BreakableEntropy, FailingEntropy, SeededEntropy};
pub use events::{API_ID, Shape, Verdict};
pub use harness::{Builder, Harness, sign};
pub use invoke::{Event, construct};
pub use logs::Logs;
pub use table::{Item, Table};
pub use wire::{Action, Call, Wire};
