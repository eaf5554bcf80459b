//! `POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation`: issues the successor of a
//! key. The old key works until its grace period ends, so that its users have time to
//! switch.

use jiff::{SignedDuration, Timestamp};
use shared::activity::GrantActivity;
use shared::api::{IssuedKey, Key, ReplacedKey, RotateKeyRequest, RotatedKey};
use shared::domain::{Fingerprint, KeySpec, LiveKey};
use shared::http::{Admin, Failure, Reply, Request};
use shared::store::NewRotation;

use crate::{GeneratedKey, IssueKey};

/// The grace period, in seconds, if the request does not have one: a day.
const DEFAULT_GRACE_SECONDS: u32 = 86_400;

/// The longest grace period, in seconds: a week.
const MAX_GRACE_SECONDS: u32 = 604_800;

/// Rotate a key
///
/// Issues a successor with the same name, role and networks. Its lifetime is as
/// long as the old key's was, but at most the longest that the deployment allows
/// now. Only this response contains the successor's secret: store it at once.
///
/// The old key works until `replaces.retiresAt`. Use `revokeKey` to end it
/// earlier. A key has one successor: to get another key, rotate the successor. A
/// retry with the same `Idempotency-Key` never issues a second key and never shows
/// the secret again: the response is 409 `key_already_issued` with the
/// successor's id.
#[utoipa::path(
    post,
    path = "/iam/v1/service-accounts/{id}/keys/{keyId}/rotation",
    operation_id = "rotateKey",
    tag = "Keys",
    params(("id" = String, Path), ("keyId" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = RotateKeyRequest,
    responses(
        (status = 201, description = "The successor with its secret.", body = RotatedKey, headers(("Location" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 404, description = "service_account_not_found, key_not_found"),
        (status = 409, description = "key_already_issued, key_already_rotated, key_revoked, key_expired, service_account_disabled, key_limit_reached, grant_limit_reached, concurrent_changes"),
        (status = 422, description = "invalid_fields, idempotency_key_reused"),
    )
)]
pub async fn rotate_key(
    function: &IssueKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    let old = request.key_id()?;
    request.has_no_condition()?;
    let change = request.change_request(actor)?;
    let body: RotateKeyRequest = request.json()?;
    let fingerprint = Fingerprint::new(&body);
    let grace = grace(&body)?;
    let successor = change.new_successor_id(account, old, &*function.entropy)?;
    let generated = GeneratedKey::generate(function, account, successor).await?;
    let max_lifetime = SignedDuration::from_hours(24 * i64::from(function.max_lifetime_days));
    let make = |old: &LiveKey, now: Timestamp| {
        let lifetime = old.spec.expires_at.duration_since(old.created_at).min(max_lifetime);
        // No real clock overflows here. If one does, the key expires at once.
        let expires_at = now.checked_add(lifetime).unwrap_or(now);
        let spec = KeySpec { expires_at, ..old.spec.clone() };
        generated.to_new_key(old.name.clone(), spec, fingerprint, now, change.actor.clone())
    };
    let new = NewRotation { successor, fingerprint, grace, most: function.max_keys, make: &make };
    let rotated = function.store.rotate_key(account, old, &new, &change).await?;
    let key = Key::new(&rotated.successor.key, &GrantActivity::default(), function.clock.now());
    let body = RotatedKey {
        issued: IssuedKey { key, secret: generated.displayed.expose() },
        replaces: ReplacedKey { id: old, retires_at: rotated.rotation.retires_at },
    };
    Ok(Reply::created(&format!("/iam/v1/service-accounts/{account}"), &body))
}

fn grace(body: &RotateKeyRequest) -> Result<SignedDuration, Failure> {
    let seconds = body.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    if seconds > MAX_GRACE_SECONDS {
        let detail = format!("must be from 0 to {MAX_GRACE_SECONDS} seconds");
        return Err(Failure::invalid_field("/graceSeconds", detail));
    }
    Ok(SignedDuration::from_secs(i64::from(seconds)))
}
