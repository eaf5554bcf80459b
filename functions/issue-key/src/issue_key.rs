//! `POST /iam/v1/service-accounts/{id}/keys`: issues a key.

use jiff::{SignedDuration, Timestamp};
use shared::activity::GrantActivity;
use shared::api::{IssueKeyRequest, IssuedKey, Key};
use shared::domain::{AllowedCidrs, Fingerprint, InvalidCidrs, KeyName, KeySpec, RoleName};
use shared::http::{Admin, Failure, Fields, Reply, Request};

use crate::{GeneratedKey, IssueKey};

/// The lifetime of a key, in days, if the request does not have one and the deployment
/// allows this lifetime.
const DEFAULT_LIFETIME_DAYS: u32 = 90;

/// A request with only valid fields.
struct ValidRequest {
    name: KeyName,
    lifetime_days: u32,
    role: Option<RoleName>,
    cidrs: AllowedCidrs,
    fingerprint: Fingerprint,
}

/// Issue a key
///
/// Issues a key for a service account. Only this response contains the secret:
/// store it at once. The key cannot be changed later.
///
/// The account must be enabled and have fewer live keys than the deployment allows
/// (20 by default), and fewer than 40 keys and federated identities. A retry with the same `Idempotency-Key` never issues a second
/// key and never shows the secret again: the response is 409 `key_already_issued`
/// with the key's id.
#[utoipa::path(
    post,
    path = "/iam/v1/service-accounts/{id}/keys",
    operation_id = "issueKey",
    tag = "Keys",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = IssueKeyRequest,
    responses(
        (status = 201, description = "The new key with its secret.", body = IssuedKey, headers(("Location" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 404, description = "service_account_not_found"),
        (status = 409, description = "key_already_issued, service_account_disabled, key_limit_reached, grant_limit_reached, concurrent_changes"),
        (status = 422, description = "invalid_fields, idempotency_key_reused"),
    )
)]
pub async fn issue_key(
    function: &IssueKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    request.has_no_condition()?;
    let change = request.change_request(actor)?;
    let valid = validate(request.json()?, function.max_lifetime_days)?;
    let id = change.new_key_id(account, &*function.entropy)?;
    let generated = GeneratedKey::generate(function, account, id).await?;
    let now = function.clock.now();
    let spec =
        KeySpec { expires_at: after_days(now, valid.lifetime_days)?, role: valid.role, cidrs: valid.cidrs };
    let new = generated.to_new_key(valid.name, spec, valid.fingerprint, now, change.actor.clone());
    function.store.issue_key(account, &new, function.max_keys, &change).await?;
    let body = IssuedKey {
        key: Key::new(&new.key, &GrantActivity::default(), function.clock.now()),
        secret: generated.displayed.expose(),
    };
    Ok(Reply::created(&format!("/iam/v1/service-accounts/{account}"), &body))
}

fn after_days(now: Timestamp, days: u32) -> Result<Timestamp, Failure> {
    let lifetime = SignedDuration::from_hours(24 * i64::from(days));
    now.checked_add(lifetime).map_err(|error| Failure::Internal(error.to_string()))
}

fn validate(body: IssueKeyRequest, max_lifetime_days: u32) -> Result<ValidRequest, Failure> {
    let fingerprint = Fingerprint::new(&body);
    let mut fields = Fields::default();
    let name = fields.check("/name", KeyName::parse(&body.name));
    let lifetime_days = body.expires_in_days.unwrap_or(DEFAULT_LIFETIME_DAYS.min(max_lifetime_days));
    if !(1..=max_lifetime_days).contains(&lifetime_days) {
        fields.refuse("/expiresInDays", format!("must be from 1 to {max_lifetime_days} days"));
    }
    let role = body.role.and_then(|role| fields.check("/role", RoleName::parse(&role)));
    let cidrs = AllowedCidrs::parse(&body.allowed_cidrs)
        .map_err(|error| match error {
            InvalidCidrs::TooMany => fields.refuse("/allowedCidrs", error),
            InvalidCidrs::NotANetwork(at) => fields.refuse(&format!("/allowedCidrs/{at}"), error),
        })
        .ok();
    let valid =
        name.zip(cidrs).map(|(name, cidrs)| ValidRequest { name, lifetime_days, role, cidrs, fingerprint });
    fields.finish(valid)
}
