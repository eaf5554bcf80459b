//! `DELETE /iam/v1/service-accounts/{id}/keys`: revokes all keys of an account.

use serde::Serialize;
use shared::domain::AccountId;
use shared::http::{Admin, Failure, Problem, Reply, Request, parameter};
use utoipa::ToSchema;

use crate::RevokeKey;

/// What was revoked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedKeys {
    /// The keys that this request revoked.
    revoked_key_ids: Vec<String>,
}

/// Revoke all keys of a service account
///
/// All at once.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}/keys",
    operation_id = "revokeAllKeys",
    tag = "Keys",
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "Revoked", body = RevokedKeys), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem),
    )
)]
pub async fn revoke_all_keys(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    request.has_no_condition()?;
    let revoked = function.store.revoke_all_keys(account, &request.change_request(actor)?).await?;
    let revoked_key_ids = revoked.ids.iter().map(ToString::to_string).collect();
    Ok(Reply::ok(&RevokedKeys { revoked_key_ids }))
}
