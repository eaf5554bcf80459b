//! Protected APIs, whose operations agents can use as tools.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::instant;
use crate::domain::{Actor, ApiId, ApiName, Confirmation};

/// A protected API, without its tools.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiSettings {
    /// The name, which is part of the URL of the API's MCP server: `/mcp/{name}`.
    #[schema(value_type = String, example = "teams")]
    pub name: ApiName,
    /// The title, which agents see.
    #[schema(example = "Organizations and teams")]
    pub title: String,
    /// The URL that the paths of the document are relative to.
    #[schema(example = "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com")]
    pub base_url: String,
    /// The id of the API in API Gateway. A tool's requests work only at this API.
    #[schema(value_type = String, example = "a1b2c3d4e5")]
    pub api_id: ApiId,
    /// The prefix that routes in API Gateway, and therefore permissions, have and the document's
    /// paths do not. Can be empty.
    #[schema(example = "")]
    pub route_prefix: String,
    /// The operations that can be tools. Absent if all operations can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Vec<String>, example = json!(["ANY /teams/{proxy+}"]))]
    pub include: Option<Vec<String>>,
    /// The operations that are not tools.
    #[schema(example = json!(["DELETE /teams/{id}"]))]
    pub exclude: Vec<String>,
    /// Whether calls that change something are confirmed by the agent's user: `off`, `ask` or
    /// `require`.
    #[schema(value_type = String, example = "off")]
    pub confirmation: Confirmation,
    /// The SHA-256 of the OpenAPI document as it is stored, with credentials redacted, in
    /// base64url.
    pub document_sha256: String,
    /// The title in the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "Teams API")]
    pub document_title: Option<String>,
    /// The version of the API in the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "1.4.0")]
    pub document_version: Option<String>,
    /// The number of tools.
    pub tool_count: usize,
    /// The number of operations that cannot be tools.
    pub skipped_count: usize,
    /// When the API was registered.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The admin who registered the API.
    pub created_by: Actor,
    /// When the registration was last changed.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The admin who last changed the registration.
    pub updated_by: Actor,
}

/// A protected API with its tools.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredApi {
    #[serde(flatten)]
    pub settings: ApiSettings,
    /// The tools, in the order of their paths and methods.
    pub tools: Vec<ToolSummary>,
    /// The first 50 operations that cannot be tools.
    pub skipped: Vec<SkippedOperation>,
}

/// A tool: an operation of a protected API, as agents see it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolSummary {
    /// The name, unique in the API.
    #[schema(example = "list_teams")]
    pub name: String,
    /// The title.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "List teams")]
    pub title: Option<String>,
    /// What the tool does.
    #[schema(example = "Lists the teams of an organization.")]
    pub description: String,
    /// The method of the tool's requests.
    #[schema(example = "GET")]
    pub method: String,
    /// The path in the document.
    #[schema(example = "/organizations/{id}/teams")]
    pub path: String,
    /// The permission that a role needs for all of the tool's requests.
    #[schema(example = "GET /organizations/{id}/teams")]
    pub permission: String,
    /// Permissions that each cover only some of the tool's requests. One of them is enough for an
    /// agent to see the tool. There is one for each combination of the values that the document
    /// lists for path parameters. Absent if the document lists no values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 64, example = json!(["GET /reports/daily", "GET /reports/weekly"]))]
    pub narrower_permissions: Vec<String>,
    /// Whether the tool changes nothing.
    pub read_only: bool,
    /// Whether the tool can delete or overwrite something.
    pub destructive: bool,
    /// Whether a repeated call changes nothing more.
    pub idempotent: bool,
}

/// An operation that cannot be a tool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkippedOperation {
    /// The operation, as a JSON pointer (RFC 6901) into the document.
    #[schema(example = "/paths/~1teams/post")]
    pub pointer: String,
    /// Why the operation cannot be a tool.
    pub reason: String,
}

/// The protected APIs.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiList {
    /// All protected APIs, sorted by name.
    pub items: Vec<ApiSettings>,
}

/// The whole registration of a protected API.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PutApiRequest {
    /// The title, which agents see.
    #[schema(min_length = 1, max_length = 128, example = "Organizations and teams")]
    pub title: String,
    /// The https URL that the paths of the document are relative to. Tools send requests only to
    /// this host: the document's `servers` are ignored.
    #[schema(max_length = 512, example = "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com")]
    pub base_url: String,
    /// The id of the API in API Gateway. If omitted, it is taken from a `baseUrl` of the form
    /// `https://{id}.execute-api.{region}.amazonaws.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, pattern = "^[a-z0-9-]{1,32}$", example = "a1b2c3d4e5")]
    pub api_id: Option<String>,
    /// The prefix, such as `/v1`, that routes in API Gateway have and the document's paths do
    /// not.
    #[serde(default)]
    #[schema(max_length = 128, default = "", example = "")]
    pub route_prefix: String,
    /// The OpenAPI 3.0 or 3.1 document: an object, or JSON or YAML in a string. At most 1,000,000
    /// bytes. If omitted, the API keeps its document, which is read again with these settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = document_schema)]
    pub openapi: Option<Box<RawValue>>,
    /// The operations that can be tools, as permissions (see `putRole`): at most 100. An operation
    /// can be a tool if a permission covers its whole path. If omitted, all operations can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Vec<String>, min_items = 1, max_items = 100, example = json!(["ANY /teams/{proxy+}"]))]
    pub include: Option<Vec<String>>,
    /// The operations that are not tools, as permissions: at most 100. They take precedence over
    /// `include`.
    #[serde(default)]
    #[schema(max_items = 100, example = json!(["DELETE /teams/{id}"]))]
    pub exclude: Vec<String>,
    /// Whether calls that change something are confirmed by the agent's user: `off`; `ask`, if
    /// the client can ask; or `require`, which refuses such calls of clients that cannot ask. This
    /// guards against mistakes. It is not a security boundary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, default = "off", example = "off")]
    pub confirmation: Option<String>,
}

fn document_schema() -> utoipa::openapi::Schema {
    use utoipa::openapi::schema::{Object, OneOfBuilder, Type};
    let description = "The OpenAPI 3.0 or 3.1 document: an object, or JSON or YAML in a string. At most 1,000,000 \
                       bytes. If omitted, the API keeps its document, which is read again with these settings.";
    OneOfBuilder::new()
        .item(Object::with_type(Type::Object))
        .item(Object::with_type(Type::String))
        .description(Some(description))
        .build()
        .into()
}
