//! The one crate that Keyward's functions share.
//!
//! - [`domain`]: accounts, keys, roles, callers and time. No I/O.
//! - [`policy`]: may this principal do METHOD PATH? Pure.
//! - [`activity`]: the counted and recorded requests of keys. No I/O.
//! - [`store`]: the only place that names `aws_sdk_dynamodb`.
//! - [`api`]: the requests and answers of the IAM API.
//! - [`authentication`]: checks keys and tokens of service accounts.
//! - [`http`]: the only place that names `lambda_http`.
//! - [`http_client`]: bounded calls to servers other than AWS.
//! - [`issuer_http`]: the documents of trusted issuers.
//! - [`public_http`]: requests to URLs that an admin chose, to public addresses only.
//! - [`network`]: connections to servers, with TLS.
//! - [`keyring`]: the peppers that turn a key into its stored verifier.
//! - [`notices`]: what is published on `EventBridge`.
//! - [`openapi`]: reads `OpenAPI` documents. No I/O.
//! - [`secret`]: a secret that one function alone reads.
//! - [`shutdown`]: work before an instance of a function ends.
//! - [`config`]: the only reader of the environment.
//! - [`telemetry`]: structured logs.
//! - [`time_limit`]: cheap time limits.
//! - [`tools`]: the operations of an `OpenAPI` document as tools of an MCP server. No I/O.

pub mod activity;
pub mod api;
pub mod authentication;
pub mod config;
pub mod domain;
pub mod http;
pub mod http_client;
pub mod issuer_http;
mod json_text;
pub mod keyring;
pub mod network;
pub mod notices;
pub mod openapi;
pub mod policy;
pub mod public_http;
pub mod secret;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod time_limit;
pub mod tools;
