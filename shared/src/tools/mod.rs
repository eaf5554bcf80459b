//! The operations of an `OpenAPI` document as tools of an MCP server. No I/O.
//!
//! [`compile()`] turns a document into [`Tool`]s when an API is registered. [`pack`] writes their
//! stored form. [`Tool::request`] turns the arguments of a call into one request. No argument
//! can change the route of the request.

mod arguments;
mod body;
mod codec;
mod compile;
mod headers;
mod keywords;
mod name;
mod output;
mod parameters;
mod path;
mod patterns;
mod permissions;
mod query;
mod request;
mod schema;
mod template;
mod text;
mod value;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use arguments::InvalidArguments;
pub use codec::{InvalidPack, pack, pack_text, unpack, unpack_text};
pub use compile::{Compiled, Selection, Skipped, compile};
pub use name::{InvalidToolName, ToolName};
pub use parameters::BODY;
pub use request::{ToolBody, ToolRequest};
pub use template::{InvalidTemplate, Template};

use crate::policy::Method;
use arguments::CachedValidator;
use body::Body;
use parameters::Parameter;

/// A JSON object.
pub type JsonObject = Map<String, Value>;

/// One operation of an API, as agents see it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    pub name: ToolName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the operation does. The last line is the method and the path.
    pub description: String,
    #[serde(with = "method_name")]
    pub method: Method,
    pub template: Template,
    /// The schema of the arguments: a JSON Schema (2020-12) without references.
    pub input_schema: JsonObject,
    /// The schema of the result, which every object satisfies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonObject>,
    pub hints: Hints,
    parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
    #[serde(skip)]
    validator: CachedValidator,
}

/// What calls of a tool do, judged by the method.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hints {
    /// A call changes nothing.
    pub read_only: bool,
    /// A call can replace or delete data.
    pub destructive: bool,
    /// A repeated call has no further effect.
    pub idempotent: bool,
}

impl Hints {
    /// The hints for an operation with this method (RFC 9110, section 9.2).
    #[must_use]
    pub fn new(method: Method) -> Self {
        let (read_only, destructive, idempotent) = match method {
            Method::Get | Method::Head | Method::Options => (true, false, true),
            Method::Post => (false, false, false),
            Method::Put | Method::Delete => (false, true, true),
            Method::Patch => (false, true, false),
        };
        Self { read_only, destructive, idempotent }
    }
}

/// The stored form of a method: its name.
mod method_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::policy::Method;

    // The signature that serde expects.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(method.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Method, D::Error> {
        let name = String::deserialize(deserializer)?;
        Method::parse(&name).map_err(D::Error::custom)
    }
}
