//! `DELETE /iam/v1/service-accounts/{id}`: deletes a service account and ends
//! its grants.
//!
//! Deletion is part of this function because it ends all grants in one transaction,
//! with the same IAM rights as revoking them: only functions that issue or end grants
//! have the right to write verifiers to the records of retired keys.

use shared::http::{Admin, Failure, Reply, Request};

use crate::RevokeKey;

/// Delete a service account
///
/// Deletes a service account and ends all of its keys and federated identities in one
/// transaction: they, and all tokens made from them, are refused from the next request on. This cannot be undone. To stop the keys for a
/// while, set `enabled` to `false` instead.
///
/// The account's audit events stay. The records of its keys and identities are kept for 400
/// days, so that a request with one of them is still recognized. Another account can
/// take the name at once.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "deleteServiceAccount",
    tag = "Service accounts",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "The service account was deleted."),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found"),
        (status = 409, description = "concurrent_changes"),
        (status = 412, description = "precondition_failed"),
    )
)]
pub async fn delete_service_account(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    let change = request.change_request(actor)?;
    function.store.delete_account(id, request.if_match()?, &change).await?;
    Ok(Reply::no_content())
}
