//! `DELETE /iam/v1/service-accounts/{id}/keys/{keyId}`: revokes a key.

use shared::domain::{AccountId, KeyId};
use shared::http::{Admin, Failure, Problem, Reply, Request, parameter};

use crate::RevokeKey;

/// Revoke a key
///
/// Revoking it again answers the same and changes nothing.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}/keys/{keyId}",
    operation_id = "revokeKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The account's id"), ("keyId" = String, Path, description = "The key's id")),
    responses(
        (status = 204, description = "Revoked"), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem),
    )
)]
pub async fn revoke_key(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let key: KeyId = request.parameter(parameter::KEY_ID)?;
    request.has_no_condition()?;
    function.store.revoke_key(account, key, &request.change_request(actor)?).await?;
    Ok(Reply::no_content())
}
