//! `GET /iam/v1/roles`: lists built-in and custom roles.

use shared::api::{List, Role};
use shared::http::{Failure, Paging, Reply, Request};
use shared::store::RoleCursor;

use crate::ManageRoles;

/// List roles
///
/// Returns built-in and custom roles sorted by name, capital letters first.
///
/// The list is eventually consistent: a change may take a moment to appear in it.
/// `getRole` and every authorization use the current state.
#[utoipa::path(
    get,
    path = "/iam/v1/roles",
    operation_id = "listRoles",
    tag = "Roles",
    params(Paging),
    responses(
        (status = 200, description = "A page of roles.", body = List<Role>),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn list_roles(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let page = request.query::<Paging>()?.page(RoleCursor::decode)?;
    let roles = function.roles.list(&page).await?;
    Ok(Reply::ok(&List::new(roles, Role::from)))
}
