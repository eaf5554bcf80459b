//! `POST /iam/v1/service-accounts/{id}/keys`: issues a key.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::domain::{
    AccountId, AllowedCidrs, Fingerprint, InvalidCidrs, KeyName, KeySpec, KeyUsage, RoleName,
};
use shared::http::representation::Key;
use shared::http::{Admin, Failure, Fields, Reply, Request, parameter};
use utoipa::ToSchema;

use crate::{Draft, IssueKey, IssuedKey};

/// The lifetime of a key, in days, if the caller does not say (and the
/// deployment does not cap it below).
const DEFAULT_LIFETIME_DAYS: u32 = 90;

/// What a new key is to be.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IssueKeyRequest {
    /// What people call it.
    #[schema(min_length = 1, max_length = 64, example = "batch server 1")]
    name: String,
    /// After so many days it expires: at most what the deployment allows and,
    /// if not said, 90 or that, whichever is less.
    #[schema(minimum = 1, maximum = 3650, required = false, value_type = u32)]
    expires_in_days: Option<u32>,
    /// A role of the key's own: then both it and the account's must permit, so
    /// that a key is never wider than its account.
    #[schema(max_length = 64, required = false, value_type = String)]
    role: Option<String>,
    /// The networks that it may be used from (at most 10, in CIDR notation).
    /// None: from anywhere.
    #[serde(default)]
    #[schema(max_items = 10, example = json!(["203.0.113.0/24"]))]
    allowed_cidrs: Vec<String>,
}

/// What was made of a request.
struct Wanted {
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
/// (20 by default). A retry with the same `Idempotency-Key` never issues a second
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
        (status = 409, description = "key_already_issued, service_account_disabled, key_limit_reached, concurrent_changes"),
        (status = 413, description = "body_too_large"),
        (status = 415, description = "unsupported_media_type"),
        (status = 422, description = "invalid_fields, idempotency_key_reused"),
    )
)]
pub async fn issue_key(
    function: &IssueKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    request.has_no_condition()?;
    let change = request.change_request(actor)?;
    let wanted = wanted(request.json()?, function.max_lifetime_days)?;
    let id = change.new_key_id(account, &*function.entropy)?;
    let draft = Draft::begin(function, account, id).await?;
    let now = function.clock.now();
    let spec = KeySpec {
        expires_at: after_days(now, wanted.lifetime_days)?,
        role: wanted.role,
        cidrs: wanted.cidrs,
    };
    let new = draft.finish(wanted.name, spec, wanted.fingerprint, now, change.actor.clone());
    function.store.issue_key(account, &new, function.max_keys, &change).await?;
    let body = IssuedKey {
        key: Key::of(&new.key, &KeyUsage::default(), function.clock.now()),
        secret: draft.displayed.expose(),
    };
    Ok(Reply::created(&format!("/iam/v1/service-accounts/{account}"), &body))
}

fn after_days(now: Timestamp, days: u32) -> Result<Timestamp, Failure> {
    let lifetime = SignedDuration::from_hours(24 * i64::from(days));
    now.checked_add(lifetime).map_err(|error| Failure::Internal(error.to_string()))
}

fn wanted(body: IssueKeyRequest, max_lifetime_days: u32) -> Result<Wanted, Failure> {
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
    let wanted =
        name.zip(cidrs).map(|(name, cidrs)| Wanted { name, lifetime_days, role, cidrs, fingerprint });
    fields.finish(wanted)
}
