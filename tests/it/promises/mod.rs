//! One module for each promise in `README.md` and `SECURITY.md`.

mod activity;
mod atomic_events;
mod audit_log;
mod concurrent_admins;
mod concurrent_roles;
mod consistent_read;
mod credentials_in_texts;
mod expiry;
mod fail_closed;
mod failed_conditions;
mod fast_read;
mod grace;
mod key_format;
mod lanes;
mod leaks;
mod lost_response;
mod malformed_items;
mod path_abuse;
mod revocation_histories;
mod role_histories;
mod role_matrix;
mod route_coverage;
mod scanning;
mod stored_hash;
mod uniform_refusals;
