//! `GET /iam/v1/roles/{name}`: returns a role.

use shared::domain::RoleName;
use shared::http::representation::Role;
use shared::http::{Failure, Problem, Reply, Request, parameter};

use crate::ManageRoles;

/// Get a role
///
/// A custom or a built-in one.
#[utoipa::path(
    get,
    path = "/iam/v1/roles/{name}",
    operation_id = "getRole",
    tag = "Roles",
    params(("name" = String, Path, description = "The role's name")),
    responses(
        (status = 200, description = "The role", body = Role,
            headers(("ETag" = String, description = "Its version, for a custom one"))),
        (status = 400, body = Problem), (status = 404, description = "There is no such role", body = Problem),
    )
)]
pub async fn get_role(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let name: RoleName = request.parameter(parameter::ROLE_NAME)?;
    if let Some(role) = name.built_in() {
        return Ok(Reply::ok(&Role::built_in(role, function.roles.built_in(role))));
    }
    let role = function.store.get_role(&name).await?;
    let version = role.version;
    Ok(Reply::ok(&Role::from(role)).with_version(version))
}
