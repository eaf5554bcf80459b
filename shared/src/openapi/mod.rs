//! Reads `OpenAPI` 3.0 and 3.1 documents (<https://spec.openapis.org/oas/v3.1.1.html>). Hostile
//! documents cost bounded time and memory, and nothing outside the document is read.
//!
//! A document is kept as JSON, so that each error can point into the document.

mod located;
mod operations;
mod routes;
mod yaml;

use serde_json::{Map, Value};

pub use located::Located;
pub use operations::Operation;
pub use routes::{Route, Routes, SkipReason, Skipped};
pub(crate) use routes::{permission_path, variable_name};

/// The maximum size of a document, in bytes.
pub const MAX_BYTES: usize = 1_000_000;
/// The maximum number of operations in a document.
pub const MAX_OPERATIONS: usize = 2_000;

/// An `OpenAPI` document.
#[derive(Debug)]
pub struct Document {
    root: Value,
    version: Version,
}

/// The version of the specification, which decides what a schema means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Schemas are a dialect of JSON Schema.
    V3_0,
    /// 3.1 and later. Schemas are JSON Schema 2020-12.
    V3_1,
}

/// An error in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer} {detail}")]
pub struct DocumentError {
    /// The position in the document, as a JSON pointer (RFC 6901). Empty for the whole document.
    pub pointer: String,
    /// What is wrong. Completes a sentence whose subject is the value at the position.
    pub detail: String,
}

/// Why a text is not an `OpenAPI` document. Completes a sentence that begins with "the document".
#[derive(Debug, thiserror::Error)]
enum InvalidDocument {
    #[error("is empty. Paste an OpenAPI document")]
    Empty,
    #[error("must be at most 1 MB. Remove examples and long descriptions to make it smaller")]
    TooLarge,
    #[error("is not valid JSON. Line {}, column {}: {}", .0.line(), .0.column(), category(.0))]
    Json(serde_json::Error),
    #[error("is not valid YAML: {0}")]
    Yaml(yaml::InvalidYaml),
    #[error("must be an object")]
    NotAnObject,
    #[error("is a Swagger 2.0 document. Convert it to OpenAPI 3 first")]
    Swagger,
    #[error("must be an OpenAPI 3 document. Its openapi field must be a version such as 3.1.0")]
    Version,
    #[error("must have a paths object")]
    Paths,
    #[error("has more than {MAX_OPERATIONS} operations")]
    TooManyOperations,
}

impl Document {
    /// Reads a document in JSON or YAML.
    ///
    /// # Errors
    /// What is wrong with the document as a whole.
    pub fn read(text: &str) -> Result<Self, Vec<DocumentError>> {
        parse(text).and_then(Self::from_root).map_err(errors)
    }

    /// Reads a document that is a JSON value. Does not check its size.
    ///
    /// # Errors
    /// What is wrong with the document as a whole.
    pub fn from_value(root: Value) -> Result<Self, Vec<DocumentError>> {
        Self::from_root(root).map_err(errors)
    }

    fn from_root(root: Value) -> Result<Self, InvalidDocument> {
        let members = root.as_object().ok_or(InvalidDocument::NotAnObject)?;
        if members.contains_key("swagger") {
            return Err(InvalidDocument::Swagger);
        }
        let version = version(members).ok_or(InvalidDocument::Version)?;
        // A document can describe only webhooks.
        if members.get("paths").is_some_and(|paths| !paths.is_object() && !paths.is_null()) {
            return Err(InvalidDocument::Paths);
        }
        let document = Self { root, version };
        if document.operations().nth(MAX_OPERATIONS).is_some() {
            return Err(InvalidDocument::TooManyOperations);
        }
        Ok(document)
    }

    /// The version of the specification.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The value at a member of the document's `info`, if it is a text or a number.
    pub fn info(&self, member: &str) -> Option<String> {
        match self.root.get("info")?.get(member)? {
            Value::String(text) => Some(text.clone()),
            // YAML without quotes, such as `version: 1.0`.
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

fn parse(text: &str) -> Result<Value, InvalidDocument> {
    if text.trim().is_empty() {
        return Err(InvalidDocument::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(InvalidDocument::TooLarge);
    }
    if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(InvalidDocument::Json)
    } else {
        yaml::parse(text).map_err(InvalidDocument::Yaml)
    }
}

fn version(root: &Map<String, Value>) -> Option<Version> {
    let version = match root.get("openapi")? {
        Value::String(text) => text.clone(),
        // YAML without quotes, such as `openapi: 3.1`.
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    if version == "3.0" || version.starts_with("3.0.") {
        return Some(Version::V3_0);
    }
    version.starts_with("3.").then_some(Version::V3_1)
}

fn errors(invalid: InvalidDocument) -> Vec<DocumentError> {
    vec![DocumentError { pointer: String::new(), detail: invalid.to_string() }]
}

/// What is wrong with a JSON text, without the position.
fn category(error: &serde_json::Error) -> &'static str {
    if error.is_eof() {
        "the text ends too early"
    } else if error.is_syntax() {
        "unexpected text, or values nested more than 127 levels deep"
    } else {
        "invalid value"
    }
}
