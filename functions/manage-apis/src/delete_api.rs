//! `DELETE /iam/v1/apis/{name}`: deletes a protected API.

use shared::http::{Admin, Failure, Reply, Request};

use crate::ManageApis;

/// Delete a protected API
///
/// Deletes the registration of an API. From the next request on, agents cannot use the API's
/// tools. The API itself does not change, and roles keep their permissions.
#[utoipa::path(
    delete,
    path = "/iam/v1/apis/{name}",
    operation_id = "deleteApi",
    tag = "Protected APIs",
    params(("name" = String, Path, description = "The name of the API.", example = "teams"), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "The registration was deleted."),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "api_not_found"),
        (status = 409, description = "concurrent_changes"),
        (status = 412, description = "precondition_failed"),
    )
)]
pub async fn delete_api(
    function: &ManageApis,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = request.api_name()?;
    let change = request.change_request(actor)?;
    function.store.delete_api(&name, request.if_match()?, &change).await?;
    Ok(Reply::no_content())
}
