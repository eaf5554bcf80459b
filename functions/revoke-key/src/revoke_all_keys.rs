//! `DELETE /iam/v1/service-accounts/{id}/keys`: revokes all keys of an account, and ends its
//! federated identities.

use shared::api::RevokedKeys;
use shared::http::{Admin, Failure, Reply, Request};

use crate::RevokeKey;

/// Revoke all keys and end all federated identities of a service account
///
/// Revokes all keys and deletes all federated identities of a service account in one
/// transaction, with an audit event for each. The keys, and all tokens that were made
/// from keys or identities, are refused from the next request on. This cannot be undone.
/// The account stays enabled, so you can issue new keys at once. A retry finds nothing
/// to end and returns no ids.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}/keys",
    operation_id = "revokeAllKeys",
    tag = "Keys",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "All keys are revoked, and all federated identities have ended. The body lists those that this request ended.", body = RevokedKeys),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found"),
        (status = 409, description = "concurrent_changes"),
    )
)]
pub async fn revoke_all_keys(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    request.has_no_condition()?;
    let ended = function.store.end_all_grants(account, &request.change_request(actor)?).await?;
    Ok(Reply::ok(&RevokedKeys { revoked_key_ids: ended.keys, ended_identity_ids: ended.identities }))
}
