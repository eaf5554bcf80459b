//! Ends keys. They are dead from the next check on:
//!
//! - `DELETE /iam/v1/service-accounts/{id}/keys/{keyId}`: one;
//! - `DELETE /iam/v1/service-accounts/{id}/keys`: all of an account;
//! - `DELETE /iam/v1/service-accounts/{id}`: those of an account, with the account.
//!
//! Deleting an account is here because it moves verifiers to the records of keys,
//! which only the functions that end or issue keys may.

use serde::Serialize;
use shared::config::{ConfigError, Setup};
use shared::domain::{AccountId, KeyId};
use shared::http::{Admin, Failure, Operation, Problem, Reply, Request, parameter};
use shared::store::Store;
use utoipa::ToSchema;

/// The function.
pub struct RevokeKey {
    store: Store,
}

impl Operation for RevokeKey {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()? })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "DELETE /iam/v1/service-accounts/{id}/keys/{keyId}" => revoke_key(self, admin, request).await,
            "DELETE /iam/v1/service-accounts/{id}/keys" => revoke_all_keys(self, admin, request).await,
            "DELETE /iam/v1/service-accounts/{id}" => delete_service_account(self, admin, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}

/// Revoke a key
///
/// Revoking it again answers the same and changes nothing.
///
/// # Errors
/// As its responses say.
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
    function.store.revoke_key(account, key, &request.origin(actor)?).await?;
    Ok(Reply::no_content())
}

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
///
/// # Errors
/// As its responses say.
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
    let revoked = function.store.revoke_all_keys(account, &request.origin(actor)?).await?;
    let revoked_key_ids = revoked.ids.iter().map(ToString::to_string).collect();
    Ok(Reply::ok(&RevokedKeys { revoked_key_ids }))
}

/// Delete a service account
///
/// Its keys are dead from the next check on. Its events and the records of its
/// keys stay, so that a key is still recognised when it is presented.
///
/// # Errors
/// As its responses say.
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
    let origin = request.origin(actor)?;
    function.store.delete_account(id, request.if_match()?, &origin).await?;
    Ok(Reply::no_content())
}
