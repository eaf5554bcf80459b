//! `PATCH /iam/v1/service-accounts/{id}`: changes a service account.

use shared::api::{ServiceAccount, UpdateServiceAccountRequest};
use shared::domain::{AccountChanges, AccountName, Description, Owner, RoleName};
use shared::http::{Admin, Failure, Fields, Reply, Request};

use crate::UpdateServiceAccount;

/// Update a service account
///
/// Applies a JSON merge patch (RFC 7396): either all of its changes or none. A
/// change of `role` or `enabled` takes effect with the next request of each
/// key.
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
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn update_service_account(
    function: &UpdateServiceAccount,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    let change = request.change_request(actor)?;
    let version = request.if_match()?;
    let changes = changes(request.json()?)?;
    let account = function.store.update_account(id, &changes, version, &change).await?;
    Ok(Reply::ok(&ServiceAccount::new(&account, function.clock.now())).with_version(account.version))
}

fn changes(body: UpdateServiceAccountRequest) -> Result<AccountChanges, Failure> {
    let mut fields = Fields::default();
    let changes = AccountChanges {
        name: body.name.and_then(|name| fields.check("/name", AccountName::parse(&name))),
        description: body
            .description
            .and_then(|text| fields.check("/description", Description::parse(&text))),
        role: body.role.and_then(|role| fields.check("/role", RoleName::parse(&role))),
        enabled: body.enabled,
        owner: body.owner.and_then(|owner| fields.check("/owner", Owner::parse(&owner))),
        tags: body.tags.and_then(|tags| fields.tags(&tags)),
    };
    fields.finish(Some(changes))
}
