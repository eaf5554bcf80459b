//! The whole system in one process, on a laptop, without AWS.
//!
//! Local mode runs the same functions that are deployed. It replaces the parts that AWS
//! provides:
//!
//! - a [`gateway`], with the routes, authorizers and variables of `infra/template.yaml`
//! - [`services`] without a port: DynamoDB (by dynoxide), and the operations of Secrets
//!   Manager and `EventBridge` that the functions call
//! - an OpenID Connect [`issuer`] with one admin

mod account;
mod agents;
mod backend;
mod data;
mod database;
mod demo;
mod error;
mod functions;
mod gateway;
mod guard;
pub mod issuer;
mod log;
mod notices;
pub mod openapi;
pub mod options;
mod registration;
mod secrets;
mod server;
pub mod services;
mod system;
pub mod template;
mod welcome;

pub use database::client as dynamodb_client;
pub use error::StartError;
pub use options::Options;
pub use secrets::Secrets;
pub use system::{Overrides, System, refuse_inside_lambda};
