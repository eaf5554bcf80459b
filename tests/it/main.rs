//! The integration tests: one module an operation or promise, through the
//! public face.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod admin_tokens;
mod atomic_events;
mod audit_log;
mod authorizer_events;
mod bad_input;
mod common_statuses;
mod concurrent_admins;
mod concurrent_roles;
mod consistent_read;
mod console;
mod console_keys;
mod console_roles;
mod console_sizes;
mod create_service_account;
mod credentials_in_texts;
mod delete_role;
mod delete_service_account;
mod documents;
mod exact_policy;
mod examples;
mod expiry;
mod explain;
mod fail_closed;
mod follow_up;
mod get_role;
mod get_service_account;
mod golden;
mod grace;
mod issue_key;
mod junk;
mod key_format;
mod keyring;
mod lanes;
mod leaks;
mod least_privilege;
mod list_all_events;
mod list_events;
mod list_roles;
mod list_service_accounts;
mod local_mode;
mod lookup_key;
mod lost_response;
mod openapi;
mod partial_answers;
mod path_abuse;
mod pepper_rotation;
mod put_role;
mod reasons;
mod revocation_histories;
mod revoke_all_keys;
mod revoke_key;
mod rie;
mod role_histories;
mod role_matrix;
mod rotate_key;
mod route_coverage;
mod routes;
mod scanning;
mod sigkill;
mod stored_hash;
mod support;
mod sweep_keys;
mod template;
mod uniform_refusals;
mod update_service_account;
mod usage;
mod whoami;
