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
mod bad_input;
mod common_statuses;
mod concurrent_admins;
mod create_service_account;
mod delete_service_account;
mod fail_closed;
mod get_service_account;
mod golden;
mod issue_key;
mod keyring;
mod leaks;
mod list_events;
mod list_service_accounts;
mod local_mode;
mod lost_response;
mod openapi;
mod revocation_histories;
mod revoke_all_keys;
mod revoke_key;
mod rie;
mod role_matrix;
mod route_coverage;
mod routes;
mod sigkill;
mod support;
mod template;
mod update_service_account;
mod whoami;
