//! `PATCH /iam/v1/service-accounts/{id}`: changes a service account.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, Setup};
use shared::domain::{AccountChanges, AccountId, AccountName, Clock, Description, Owner, RoleName, Tags};
use shared::http::representation::ServiceAccount;
use shared::http::{Admin, Failure, Fields, Operation, Problem, Reply, Request, parameter};
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

/// Change a service account
///
/// All of it or nothing. A change that changes nothing makes no event.
#[utoipa::path(
    patch,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "updateServiceAccount",
    tag = "Service accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you saw"),
    ),
    request_body(content = UpdateServiceAccountRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed", body = ServiceAccount,
            headers(("ETag" = String, description = "Its version"))),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
        (status = 422, body = Problem),
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
