//! The integration tests: one module an operation or promise, through the
//! public face.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod common_statuses;
mod create_service_account;
mod delete_service_account;
mod get_service_account;
mod golden;
mod issue_key;
mod list_events;
mod list_service_accounts;
mod openapi;
mod revoke_all_keys;
mod revoke_key;
mod rie;
mod role_matrix;
mod route_coverage;
mod routes;
mod template;
mod update_service_account;
mod whoami;
