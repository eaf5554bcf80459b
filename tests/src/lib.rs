//! The harness of the integration tests: a fresh system a test, reached through
//! its public face, with a clock and a random source that the test controls,
//! and a wire on which it can watch and disturb every call to AWS.

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
mod described;
mod entropy;
mod events;
mod harness;
mod invoke;
mod logs;
mod sharing;
mod table;
mod wire;

pub use api::{Account, Key, Reply, RequestBuilder};
pub use clock::TestClock;
pub use entropy::{BreakableEntropy, FailingEntropy, SeededEntropy};
pub use events::{Shape, Verdict};
pub use harness::{Builder, Harness, sign};
pub use invoke::{Event, make};
pub use logs::Logs;
pub use table::{Item, Table};
pub use wire::{Action, Call, Wire};
