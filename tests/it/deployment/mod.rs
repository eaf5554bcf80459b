//! What is deployed and published: template, rights, API document, examples
//! and the built binary.

mod documents;
mod examples;
mod least_privilege;
mod openapi;
mod rie;
mod template;
