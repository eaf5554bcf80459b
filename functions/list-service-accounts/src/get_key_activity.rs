//! `GET /iam/v1/service-accounts/{id}/keys/{keyId}/activity`: returns the activity of a
//! key.

use shared::api::KeyActivity;
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// Get a key's activity
///
/// Returns how many requests with a key were allowed and refused, the most recent refused
/// requests with the reason and the missing permission, and the routes that the key
/// used. The key can be live or retired. The activity of a retired key stays available as
/// long as the key's record (400 days), even if the service account was deleted.
///
/// Calls of `whoami` count as allowed requests, and are uses of the key.
///
/// Counts and routes are kept for 90 days, and single requests for 30 days.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/keys/{keyId}/activity",
    operation_id = "getKeyActivity",
    tag = "Activity",
    params(("id" = String, Path), ("keyId" = String, Path)),
    responses(
        (status = 200, description = "The activity of the key.", body = KeyActivity),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found, key_not_found"),
    )
)]
pub async fn get_key_activity(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    let key = request.key_id()?;
    request.has_no_query()?;
    let store = &function.store;
    store.check_grant_exists(account, key.into()).await?;
    let (activity, recent, routes) = tokio::try_join!(
        store.grant_activity(account, key),
        store.recent_requests(account, key),
        store.used_routes(account, key),
    )?;
    Ok(Reply::ok(&KeyActivity::new(&activity, recent, routes, function.clock.now())))
}
