//! `GET /iam/v1/roles`: lists built-in and custom roles.

use shared::http::representation::{List, Role};
use shared::http::{Failure, Paging, Problem, Reply, Request};
use shared::store::Cursor;

use crate::ManageRoles;

/// List roles
///
/// Built-in and custom ones, in the order of their names (capital letters
/// first). The list may be a moment behind; a role itself and every
/// authorization never are.
#[utoipa::path(
    get,
    path = "/iam/v1/roles",
    operation_id = "listRoles",
    tag = "Roles",
    params(
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses((status = 200, description = "A page", body = List<Role>), (status = 400, body = Problem))
)]
pub async fn list_roles(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let page = request.query::<Paging>()?.page(Cursor::decode_role)?;
    let roles = function.roles.list(&page).await?;
    Ok(Reply::ok(&List::of(roles, Role::from)))
}
