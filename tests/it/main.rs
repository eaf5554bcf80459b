//! The integration tests: one module an operation or promise, through the
//! public face.

mod create_service_account;
