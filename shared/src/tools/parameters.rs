//! The parameters of a tool.

use serde::{Deserialize, Serialize};

/// Where a property of the arguments goes in the request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Parameter {
    /// The name in the input schema.
    pub(super) property: String,
    /// The name in the request.
    pub(super) name: String,
}
