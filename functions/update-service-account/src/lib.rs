//! `PATCH /iam/v1/service-accounts/{id}`: changes a service account.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, Setup};
use shared::domain::{AccountChanges, AccountId, AccountName, Clock, Description, Owner, RoleName, Tags};
use shared::http::representation::ServiceAccount;
use shared::http::{Admin, Failure, Fields, Operation, Reply, Request, parameter};
use shared::store::Store;
use utoipa::ToSchema;

/// The function.
pub struct UpdateServiceAccount {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Operation for UpdateServiceAccount {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, clock: Arc::clone(&setup.clock) })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        update_service_account(self, admin, request).await
    }
}

/// What to change (a JSON merge patch, RFC 7396). A field that is left out
/// stays; `null` empties those that may be empty.
#[allow(clippy::option_option, reason = "a merge patch tells a field that is left out from one that is null")]
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpdateServiceAccountRequest {
    /// A new name.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Another description.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, required = false, max_length = 256)]
    description: Option<Option<String>>,
    /// Another role. It counts from the next check on, for every key.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, max_length = 64)]
    role: Option<String>,
    /// Whether the account's keys work at all. It counts from the next check on.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    enabled: Option<bool>,
    /// Another owner.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, required = false, max_length = 128)]
    owner: Option<Option<String>>,
    /// Other tags: the whole set.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, String>>, required = false)]
    tags: Option<Option<BTreeMap<String, String>>>,
}

/// Tells `null`, which `T` may take or not, from a field that is left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Update a service account
///
/// Applies a JSON merge patch (RFC 7396): either all of its changes or none. A
/// new role, or `enabled`, takes effect with the next request of each key.
///
/// An update that changes nothing succeeds, keeps the version and writes no audit
/// event. So a retry is safe.
#[utoipa::path(
    patch,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "updateServiceAccount",
    tag = "Service accounts",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content(
        (UpdateServiceAccountRequest = "application/json"),
        (UpdateServiceAccountRequest = "application/merge-patch+json"),
    )),
    responses(
        (status = 200, description = "The service account after the update.", body = ServiceAccount,
            headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 404, description = "service_account_not_found"),
        (status = 409, description = "name_taken, concurrent_changes"),
        (status = 412, description = "precondition_failed"),
        (status = 413, description = "body_too_large"),
        (status = 415, description = "unsupported_media_type"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn update_service_account(
    function: &UpdateServiceAccount,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let id: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let change = request.change_request(actor)?;
    let version = request.if_match()?;
    let changes = changes(request.json()?)?;
    let account = function.store.update_account(id, &changes, version, &change).await?;
    Ok(Reply::ok(&ServiceAccount::of(&account, function.clock.now())).with_version(account.version))
}

fn changes(body: UpdateServiceAccountRequest) -> Result<AccountChanges, Failure> {
    let mut fields = Fields::default();
    let description = body.description.map(Option::unwrap_or_default);
    let owner = body.owner.map(Option::unwrap_or_default);
    let tags = body.tags.map(Option::unwrap_or_default);
    let changes = AccountChanges {
        name: body.name.and_then(|name| fields.check("/name", AccountName::parse(&name))),
        description: description.and_then(|text| fields.check("/description", Description::parse(&text))),
        role: body.role.and_then(|role| fields.check("/role", RoleName::parse(&role))),
        enabled: body.enabled,
        owner: owner.and_then(|owner| fields.check("/owner", Owner::parse(&owner))),
        tags: tags.and_then(|tags: BTreeMap<String, String>| -> Option<Tags> { fields.tags(&tags) }),
    };
    fields.finish(Some(changes))
}
