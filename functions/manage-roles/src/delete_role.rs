//! `DELETE /iam/v1/roles/{name}`: deletes a custom role that is not in use.

use serde::Deserialize;
use shared::http::{Admin, Failure, Problem, Reply, Request};
use shared::store::Cursor;

use crate::{ManageRoles, custom};

/// The query of a deletion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteRoleQuery {
    /// The last account that an earlier request checked.
    cursor: Option<String>,
}

/// Delete a custom role
///
/// The request is refused while an account or a live key has the role (the
/// response names them).
///
/// One request checks service accounts for up to six seconds, and at most 100 MB
/// of them (tens of thousands). If there are more, and no user of the role was
/// found, nothing is deleted: the response is 409 `role_check_incomplete`. Repeat
/// the request with its `nextCursor` as `cursor`. The request that reaches the
/// last account deletes the role. Send `If-Match` with each request.
///
/// The check reads an index that may be a moment behind. An account or key that
/// is given the role while the check runs keeps the role's name, but its requests
/// are refused, because a missing role permits nothing.
#[utoipa::path(
    delete,
    path = "/iam/v1/roles/{name}",
    operation_id = "deleteRole",
    tag = "Roles",
    params(
        ("name" = String, Path, description = "The role's name"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you saw"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of a `role_check_incomplete` problem: the check continues after the last service account that was checked"),
    ),
    responses(
        (status = 204, description = "Deleted"), (status = 400, body = Problem),
        (status = 404, description = "There is no such role", body = Problem),
        (status = 409, description = "The role is built in, accounts or keys have it, or not all accounts were checked", body = Problem),
        (status = 412, description = "The role has changed", body = Problem),
    )
)]
pub async fn delete_role(
    function: &ManageRoles,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = custom(request)?;
    let change = request.change_request_with_query(actor)?;
    let after = request.query::<DeleteRoleQuery>()?.cursor.map(|text| Cursor::decode_account(&text, None));
    let after =
        after.transpose().map_err(|error| Failure::MalformedRequest(format!("In the query, {error}.")))?;
    function.store.delete_role(&name, request.if_match()?, after.as_ref(), &change).await?;
    Ok(Reply::no_content())
}
