//! `DELETE /iam/v1/service-accounts/{id}/federated-identities/{identityId}`: deletes a federated
//! identity.

use shared::http::{Admin, Failure, Reply, Request};

use crate::RevokeKey;

/// Delete a federated identity
///
/// Deletes a federated identity. All tokens that were made from it are refused from the next
/// request on, and its workloads can exchange nothing more. This cannot be undone. If the
/// identity has already ended, nothing changes and the response is the same, so a retry is
/// safe.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}/federated-identities/{identityId}",
    operation_id = "deleteFederatedIdentity",
    tag = "Federated identities",
    params(("id" = String, Path), ("identityId" = String, Path)),
    responses(
        (status = 204, description = "The federated identity was deleted, or had already ended."),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found, federated_identity_not_found"),
        (status = 409, description = "concurrent_changes"),
    )
)]
pub async fn delete_federated_identity(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    let identity = request.identity_id()?;
    request.has_no_condition()?;
    function.store.delete_identity(account, identity, &request.change_request(actor)?).await?;
    Ok(Reply::no_content())
}
