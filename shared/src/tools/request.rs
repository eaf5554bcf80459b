//! The request of a call.

use std::fmt;

use super::{JsonObject, Tool};
use crate::policy::Method;

/// A request to the API of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRequest {
    pub method: Method,
    /// The escaped path, relative to the base URL. Starts with `/`.
    pub path: String,
    /// The escaped query, without `?`. Empty if there is none.
    pub query: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    pub body: Option<ToolBody>,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolBody {
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Why arguments cannot be sent: at most five sentences for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidArguments {
    pub sentences: Vec<String>,
}

impl fmt::Display for InvalidArguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentences.join("\n"))
    }
}

impl std::error::Error for InvalidArguments {}

impl Tool {
    /// The request for these arguments.
    ///
    /// # Errors
    /// The arguments do not match the input schema, or cannot be sent.
    pub fn request(&self, arguments: JsonObject) -> Result<ToolRequest, InvalidArguments> {
        let _ = arguments;
        Ok(ToolRequest {
            method: self.method,
            path: self.template.to_string(),
            query: String::new(),
            headers: Vec::new(),
            body: None,
        })
    }
}
