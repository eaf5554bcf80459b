//! `GET /iam/v1/service-accounts/{id}/federated-identities/{identityId}`: returns a federated
//! identity.

use shared::api::FederatedIdentity;
use shared::http::{Failure, Reply, Request};
use shared::store::StoreError;

use crate::ListServiceAccounts;

/// Get a federated identity
///
/// Returns a federated identity of a service account, and how it was used. It is read
/// consistently. `getServiceAccount` returns the identities that have ended.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/federated-identities/{identityId}",
    operation_id = "getFederatedIdentity",
    tag = "Federated identities",
    params(("id" = String, Path), ("identityId" = String, Path)),
    responses(
        (status = 200, description = "The federated identity.", body = FederatedIdentity),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found, federated_identity_not_found"),
    )
)]
pub async fn get_federated_identity(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let (id, identity) = (request.account_id()?, request.identity_id()?);
    request.has_no_query()?;
    let account = function.store.get_account(id).await?;
    let found = account.identities.iter().find(|own| own.id == identity);
    let found = found.ok_or(StoreError::IdentityNotFound(id, identity))?;
    let trusted = function.trusted_issuers(&account).await?;
    let activity = function.store.grant_activity(id, identity).await?;
    Ok(Reply::ok(&FederatedIdentity::new(found, &trusted, &activity, function.clock.now())))
}
