//! `GET /iam/v1/service-accounts/{id}/federated-identities`: lists the federated identities of a
//! service account.

use shared::activity::GrantActivity;
use shared::api::{FederatedIdentity, FederatedIdentityList};
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// List the federated identities of a service account
///
/// Returns the federated identities of a service account, oldest first, and how each was used.
/// They are read consistently. `getServiceAccount` also returns those that have ended.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/federated-identities",
    operation_id = "listFederatedIdentities",
    tag = "Federated identities",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The federated identities.", body = FederatedIdentityList),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found"),
    )
)]
pub async fn list_federated_identities(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    request.has_no_query()?;
    let account = function.store.get_account(id).await?;
    let trusted = function.trusted_issuers(&account).await?;
    let activity = function.store.account_activity(id).await?;
    let (unused, now) = (GrantActivity::default(), function.clock.now());
    let items = account.identities.iter().map(|identity| {
        let activity = activity.grants.get(&identity.id.into()).unwrap_or(&unused);
        FederatedIdentity::new(identity, &trusted, activity, now)
    });
    Ok(Reply::ok(&FederatedIdentityList { items: items.collect() }))
}
