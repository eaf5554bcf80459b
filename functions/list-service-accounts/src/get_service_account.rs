//! `GET /iam/v1/service-accounts/{id}`: returns a service account with its keys
//! and their usage.

use shared::domain::AccountId;
use shared::http::representation::ServiceAccountWithKeys;
use shared::http::{Failure, Problem, Reply, Request, parameter};

use crate::ListServiceAccounts;

/// Get a service account
///
/// With its keys, those that were retired, and how each was used.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "getServiceAccount",
    tag = "Service accounts",
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The account", body = ServiceAccountWithKeys,
            headers(("ETag" = String, description = "Its version"))),
        (status = 400, body = Problem), (status = 404, body = Problem),
    )
)]
pub async fn get_service_account(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let id: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let account = function.store.get_account(id).await?;
    let usage = function.store.list_usage(id).await?;
    let retired = function.store.list_retired_keys(id).await?;
    let body = ServiceAccountWithKeys::of(&account, retired, &usage, function.clock.now());
    Ok(Reply::ok(&body).with_version(account.version))
}
