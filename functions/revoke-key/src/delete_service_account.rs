//! `DELETE /iam/v1/service-accounts/{id}`: deletes a service account and ends
//! its keys.
//!
//! This function serves it because a deletion moves verifiers to the records of
//! keys, and only the functions that issue or end keys may write those.

use shared::domain::AccountId;
use shared::http::{Admin, Failure, Problem, Reply, Request, parameter};

use crate::RevokeKey;

/// Delete a service account
///
/// Its keys are dead from the next check on. Its events and the records of its
/// keys stay, so that a key is still recognised when it is presented.
#[utoipa::path(
    delete,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "deleteServiceAccount",
    tag = "Service accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you saw"),
    ),
    responses(
        (status = 204, description = "Deleted"), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 412, body = Problem),
    )
)]
pub async fn delete_service_account(
    function: &RevokeKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let id: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let change = request.change_request(actor)?;
    function.store.delete_account(id, request.if_match()?, &change).await?;
    Ok(Reply::no_content())
}
