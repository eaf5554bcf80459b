//! The one crate that Keyward's functions share.
//!
//! - [`domain`]: accounts, keys, roles, callers and time. No I/O.
//! - [`policy`]: may this principal do METHOD PATH? Pure.
//! - [`store`]: the only place that names `aws_sdk_dynamodb`.
//! - [`http`]: the only place that names `lambda_http`.
//! - [`keyring`]: the peppers that turn a key into its stored verifier.
//! - [`notices`]: what is published on `EventBridge`.
//! - [`config`]: the only reader of the environment.
//! - [`telemetry`]: structured logs.

pub mod config;
pub mod domain;
pub mod http;
pub mod keyring;
pub mod notices;
pub mod policy;
pub mod store;
pub mod telemetry;
