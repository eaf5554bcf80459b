//! `GET /iam/v1/service-accounts/{id}`: returns a service account with its keys and federated
//! identities, and how they were used.

use shared::api::ServiceAccountWithKeys;
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// Get a service account
///
/// Returns a service account with its keys and federated identities, the 100 that most
/// recently ended of each, and how each was used. Everything is read consistently.
/// `getKeyActivity` and `getFederatedIdentityActivity` return more about the use of one.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "getServiceAccount",
    tag = "Service accounts",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The service account with its keys and federated identities.", body = ServiceAccountWithKeys,
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
    let retired = function.store.list_retired_grants(id).await?;
    let trusted = function.trusted_issuers(&account).await?;
    let body = ServiceAccountWithKeys::new(&account, retired, &trusted, &activity, function.clock.now());
    Ok(Reply::ok(&body).with_version(account.version))
}
