//! `GET /iam/v1/service-accounts/{id}/federated-identities/{identityId}/activity`: returns the
//! activity of a federated identity.

use shared::api::KeyActivity;
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// Get a federated identity's activity
///
/// Returns how many requests with tokens of a federated identity were allowed and refused, the
/// most recent refused requests with the reason and the missing permission, and the routes
/// that the tokens used. The activity of an identity that has ended stays available as long as
/// its record (400 days), even if the service account was deleted.
///
/// Exchanges are not counted. Calls of `whoami` count as allowed requests.
///
/// Counts and routes are kept for 90 days, and single requests for 30 days.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/federated-identities/{identityId}/activity",
    operation_id = "getFederatedIdentityActivity",
    tag = "Activity",
    params(("id" = String, Path), ("identityId" = String, Path)),
    responses(
        (status = 200, description = "The activity of the federated identity.", body = KeyActivity),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found, federated_identity_not_found"),
    )
)]
pub async fn get_federated_identity_activity(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let (account, identity) = (request.account_id()?, request.identity_id()?);
    request.has_no_query()?;
    let store = &function.store;
    store.check_grant_exists(account, identity.into()).await?;
    let (activity, recent, routes) = tokio::try_join!(
        store.grant_activity(account, identity),
        store.recent_requests(account, identity),
        store.used_routes(account, identity),
    )?;
    Ok(Reply::ok(&KeyActivity::new(&activity, recent, routes, function.clock.now())))
}
