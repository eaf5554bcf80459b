//! `GET /iam/v1/apis/{name}`: returns a protected API.

use shared::api::RegisteredApi;
use shared::http::{Failure, Reply, Request};

use crate::ManageApis;
use crate::registered_api::registered_api;

/// Get a protected API
///
/// Returns a protected API and its tools, read consistently.
#[utoipa::path(
    get,
    path = "/iam/v1/apis/{name}",
    operation_id = "getApi",
    tag = "Protected APIs",
    params(("name" = String, Path, description = "The name of the API.", example = "teams")),
    responses(
        (status = 200, description = "The protected API.", body = RegisteredApi, headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "api_not_found"),
    )
)]
pub async fn get_api(function: &ManageApis, request: &Request) -> Result<Reply, Failure> {
    let name = request.api_name()?;
    request.has_no_query()?;
    let found = function.store.get_api(&name).await?;
    let version = found.api.version;
    Ok(Reply::ok(&registered_api(found)).with_version(version))
}
