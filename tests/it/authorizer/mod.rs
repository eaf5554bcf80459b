//! The authorizer: how it reads events and credentials, decides and responds.

mod admin_tokens;
mod chaos;
mod concurrency;
mod event_shapes;
mod exact_policy;
mod follow_up;
mod junk;
mod keyring;
mod ledger;
mod reasons;
mod shutdown;
mod tokens;
