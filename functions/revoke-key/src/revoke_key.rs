//! `DELETE /iam/v1/service-accounts/{id}/keys/{keyId}`: revokes a key.

use shared::http::{Admin, Failure, Reply, Request};

use crate::RevokeKey;

/// Revoke a key
///
/// Revokes a key. It is refused from the next request on. This cannot be
/// undone. If the key has already ended, nothing changes and the response is
/// the same, so a retry is safe.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}/keys/{keyId}",
    operation_id = "revokeKey",
    tag = "Keys",
    params(("id" = String, Path), ("keyId" = String, Path)),
    responses(
        (status = 204, description = "The key is revoked, or had already ended."),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found, key_not_found"),
        (status = 409, description = "concurrent_changes"),
    )
)]
pub async fn revoke_key(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    let key = request.key_id()?;
    request.has_no_condition()?;
    function.store.revoke_key(account, key, &request.change_request(actor)?).await?;
    Ok(Reply::no_content())
}
