//! The deployed and published files: the template and its IAM policies, `openapi.json`, the
//! examples, the guides and the built authorizer.

mod documents;
mod examples;
mod least_privilege;
mod openapi;
mod rie;
mod template;
