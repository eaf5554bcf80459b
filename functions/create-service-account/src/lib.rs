//! `POST /iam/v1/service-accounts`: creates a service account.

use std::sync::Arc;

use shared::api::{CreateServiceAccountRequest, ServiceAccount};
use shared::config::{ConfigError, Setup};
use shared::domain::{AccountName, Clock, Description, Fingerprint, NewAccount, Owner, RoleName};
use shared::http::{Admin, Failure, Fields, Operation, Reply, Request};
use shared::store::Store;

pub struct CreateServiceAccount {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Operation for CreateServiceAccount {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, clock: Arc::clone(&setup.clock) })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        create_service_account(self, admin, request).await
    }
}

/// Create a service account
///
/// Creates an enabled service account without keys. Issue its first key with
/// `issueKey`.
///
/// A retry with the same `Idempotency-Key` and the same body creates nothing and
/// returns the account as it is now.
#[utoipa::path(
    post,
    path = "/iam/v1/service-accounts",
    operation_id = "createServiceAccount",
    tag = "Service accounts",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = CreateServiceAccountRequest,
    responses(
        (status = 201, description = "The service account was created, by this request or by an earlier one with the same `Idempotency-Key`.",
            body = ServiceAccount, headers(("Location" = String), ("ETag" = String))),
        (status = 400, description = "malformed_request, malformed_json"),
        (status = 409, description = "name_taken, service_account_deleted, concurrent_changes"),
        (status = 422, description = "invalid_fields, idempotency_key_reused"),
    )
)]
pub async fn create_service_account(
    function: &CreateServiceAccount,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let change = request.change_request(actor)?;
    let (new, fingerprint) = new_account(request.json()?)?;
    let created = function.store.create_account(&new, fingerprint, &change).await?;
    let account = created.account;
    let location = format!("/iam/v1/service-accounts/{}", account.id);
    let body = ServiceAccount::new(&account, function.clock.now());
    Ok(Reply::created(&location, &body).with_version(account.version))
}

/// Checks the fields of a request. The fingerprint distinguishes a retry from another
/// request.
fn new_account(body: CreateServiceAccountRequest) -> Result<(NewAccount, Fingerprint), Failure> {
    let mut fields = Fields::default();
    let name = fields.check("/name", AccountName::parse(&body.name));
    let role = fields.check("/role", RoleName::parse(&body.role));
    let description = fields.check("/description", Description::parse(&body.description));
    let owner = fields.check("/owner", Owner::parse(&body.owner));
    let tags = fields.tags(&body.tags);
    let new = match (name, role, description, owner, tags) {
        (Some(name), Some(role), Some(description), Some(owner), Some(tags)) => {
            Some(NewAccount { name, role, description, owner, tags })
        }
        _ => None,
    };
    Ok((fields.finish(new)?, Fingerprint::new(&body)))
}
