//! The integration tests: one module an operation or promise, through the
//! public face.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod atomic_events;
mod concurrent_admins;
mod create_service_account;
mod fail_closed;
mod keyring;
mod leaks;
mod local_mode;
mod lost_response;
mod revocation_histories;
mod rie;
mod sigkill;
mod support;
