//! `DELETE /iam/v1/roles/{name}`: deletes a custom role that is not in use.

use serde::Deserialize;
use shared::http::{Admin, Failure, Reply, Request, query_parameter};
use shared::store::AccountCursor;
use utoipa::IntoParams;

use crate::{ManageRoles, custom_role_name};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteRoleQuery {
    /// The `nextCursor` of a `role_check_incomplete` problem. The check continues
    /// after the last service account that was checked.
    cursor: Option<String>,
}

/// Delete a custom role
///
/// Deletes a custom role that no service account and no live key uses.
///
/// One request checks service accounts for up to six seconds, and at most 100 MB
/// of them (tens of thousands). If there are more and none of them uses the role,
/// nothing is deleted and the response is 409 `role_check_incomplete`. Repeat the
/// request with its `nextCursor` as `cursor`. The request that reaches the last
/// account deletes the role. Send `If-Match` with each request, so that all of them
/// apply to the same version.
///
/// The check is eventually consistent. An account or key that is given the role
/// during the check keeps the role's name, but its requests are refused, because a
/// missing role permits nothing.
#[utoipa::path(
    delete,
    path = "/iam/v1/roles/{name}",
    operation_id = "deleteRole",
    tag = "Roles",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header), DeleteRoleQuery),
    responses(
        (status = 204, description = "The role was deleted."),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "role_not_found"),
        (status = 409, description = "role_built_in, role_in_use, role_check_incomplete, concurrent_changes"),
        (status = 412, description = "precondition_failed"),
    )
)]
pub async fn delete_role(
    function: &ManageRoles,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = custom_role_name(request)?;
    let change = request.change_request_with_query(actor)?;
    let query: DeleteRoleQuery = request.query()?;
    let decode = |cursor: &str| AccountCursor::decode(cursor, None);
    let after = query_parameter("cursor", query.cursor.as_deref(), decode)?;
    function.store.delete_role(&name, request.if_match()?, after.as_ref(), &change).await?;
    Ok(Reply::no_content())
}
