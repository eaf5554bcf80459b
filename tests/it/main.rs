//! The integration tests. They use the public interface: HTTP, events and a browser.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

mod authorizer;
mod console;
mod deployment;
mod local_mode;
mod mcp;
mod operations;
mod promises;
mod scheduled;
mod tools;
