//! How the authorizer reads events and tokens, decides and answers.

mod admin_tokens;
mod event_shapes;
mod exact_policy;
mod follow_up;
mod junk;
mod keyring;
mod reasons;
