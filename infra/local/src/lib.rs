//! The whole system in one process, on a laptop, without AWS.
//!
//! The functions are the very ones that are deployed. Around them stand the
//! parts that AWS provides: a [`gateway`] that reads routes, authorizers and
//! variables from `infra/template.yaml`, `DynamoDB` by dynoxide ([`database`]),
//! the part of Secrets Manager that the functions call
//! ([`secrets`]), the part of `EventBridge` that the daily sweep calls
//! ([`notices`]), and an OpenID Connect [`issuer`] with one admin.

mod account;
mod backend;
mod database;
mod error;
mod functions;
mod gateway;
pub mod issuer;
mod notices;
pub mod openapi;
pub mod options;
mod secrets;
mod server;
mod system;
pub mod template;
mod welcome;

pub use database::client as dynamodb_client;
pub use error::StartError;
pub use options::Options;
pub use secrets::Secrets;
pub use system::{Parts, System, refuse_inside_lambda};
