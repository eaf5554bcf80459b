//! Metadata of protected resources (RFC 9728), with which clients find the token endpoint. The
//! routes are open and do no lookup, so they do not reveal which APIs exist.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use shared::domain::ApiName;

use crate::Server;
use crate::guard::Origin;
use crate::record::{Outcome, Record};
use crate::refusal::Refusal;

/// The path of the metadata of the whole server.
pub(crate) const ROOT: &str = "/.well-known/oauth-protected-resource";

#[derive(Serialize)]
struct ProtectedResource<'a> {
    resource: String,
    authorization_servers: [&'a str; 1],
    bearer_methods_supported: [&'static str; 1],
    resource_name: String,
}

/// The URL of the metadata of the API with this name.
pub(crate) struct MetadataUrl<'a> {
    pub(crate) origin: &'a str,
    pub(crate) api: Option<&'a ApiName>,
}

impl fmt::Display for MetadataUrl<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{ROOT}", self.origin)?;
        self.api.map_or(Ok(()), |api| write!(formatter, "/mcp/{}", api.as_str()))
    }
}

/// `GET /.well-known/oauth-protected-resource`: the metadata of the whole server, for clients
/// that do not find those of an API.
pub(crate) async fn server_metadata(
    State(server): State<Arc<Server>>,
    Extension(origin): Extension<Origin>,
    Extension(record): Extension<Arc<Record>>,
) -> Response {
    respond(&server, &record, origin.0, "Keyward".to_owned())
}

/// `GET /.well-known/oauth-protected-resource/mcp/{name}`: the metadata of one API's MCP server.
pub(crate) async fn api_metadata(
    State(server): State<Arc<Server>>,
    Extension(origin): Extension<Origin>,
    Extension(record): Extension<Arc<Record>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let api = api_name(name)?;
    let resource = format!("{}/mcp/{}", origin.0, api.as_str());
    Ok(respond(&server, &record, resource, format!("Keyward: {}", api.as_str())))
}

/// The name of the API in the path.
pub(crate) fn api_name(name: Result<Path<String>, PathRejection>) -> Result<ApiName, Refusal> {
    let Path(name) = name.map_err(|_| Refusal::NoRoute)?;
    ApiName::parse(&name).map_err(|_| Refusal::NoRoute)
}

fn respond(server: &Server, record: &Record, resource: String, resource_name: String) -> Response {
    record.end(Outcome::Metadata);
    Json(ProtectedResource {
        resource,
        authorization_servers: [&server.iam_url],
        bearer_methods_supported: ["header"],
        resource_name,
    })
    .into_response()
}
