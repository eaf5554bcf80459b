//! `GET /iam/v1/roles/{name}`: returns a role.

use shared::api::Role;
use shared::http::{Failure, Reply, Request};

use crate::ManageRoles;

/// Get a role
///
/// Returns a built-in or custom role with its permissions. Only custom roles have
/// an `ETag`.
#[utoipa::path(
    get,
    path = "/iam/v1/roles/{name}",
    operation_id = "getRole",
    tag = "Roles",
    params(("name" = String, Path)),
    responses(
        (status = 200, description = "The role.", body = Role, headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "role_not_found"),
    )
)]
pub async fn get_role(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let name = request.role_name()?;
    request.has_no_query()?;
    if let Some(role) = name.built_in() {
        return Ok(Reply::ok(&Role::built_in(role, function.roles.built_in(role))));
    }
    let role = function.store.get_role(&name).await?;
    let version = role.version;
    Ok(Reply::ok(&Role::from(role)).with_version(version))
}
