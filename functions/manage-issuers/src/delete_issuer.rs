//! `DELETE /iam/v1/issuers/{name}`: deletes a trusted issuer.

use shared::http::{Admin, Failure, Reply, Request};

use crate::ManageIssuers;

/// Delete a trusted issuer
///
/// Deletes a trusted issuer. From the next request on, no token works that was obtained
/// through the issuer, and no workload of the issuer can exchange a token. The federated
/// identities that name the issuer stay. They work again, for new tokens only, if the issuer
/// is registered again.
///
/// The name stays reserved: only the same issuer can be registered with it again.
#[utoipa::path(
    delete,
    path = "/iam/v1/issuers/{name}",
    operation_id = "deleteIssuer",
    tag = "Trusted issuers",
    params(("name" = String, Path, description = "The name of the issuer. Names are case-sensitive.", example = "github"), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "The issuer was deleted."),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "issuer_not_found"),
        (status = 409, description = "concurrent_changes"),
        (status = 412, description = "precondition_failed"),
    )
)]
pub async fn delete_issuer(
    function: &ManageIssuers,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = request.issuer_name()?;
    let change = request.change_request(actor)?;
    function.store.delete_issuer(&name, request.if_match()?, &change).await?;
    Ok(Reply::no_content())
}
