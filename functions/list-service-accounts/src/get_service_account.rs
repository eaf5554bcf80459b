//! `GET /iam/v1/service-accounts/{id}`: returns a service account with its keys
//! and how they were used.

use shared::api::ServiceAccountWithKeys;
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// Get a service account
///
/// Returns a service account with its keys, its 100 most recently retired keys,
/// and how each key was used. The account and its keys are read consistently.
/// `getKeyActivity` returns more about the use of one key.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "getServiceAccount",
    tag = "Service accounts",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The service account with its keys.", body = ServiceAccountWithKeys,
            headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found"),
    )
)]
pub async fn get_service_account(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    request.has_no_query()?;
    let account = function.store.get_account(id).await?;
    let activity = function.store.account_activity(id).await?;
    let retired = function.store.list_retired_keys(id).await?;
    let body = ServiceAccountWithKeys::new(&account, retired, &activity, function.clock.now());
    Ok(Reply::ok(&body).with_version(account.version))
}
