//! The integration tests: one module an operation or promise, through the
//! public face.

mod admin_tokens;
mod authorizer_events;
mod consistent_read;
mod create_service_account;
mod exact_policy;
mod expiry;
mod junk;
mod key_format;
mod partial_answers;
mod path_abuse;
mod reasons;
mod stored_hash;
mod uniform_refusals;
