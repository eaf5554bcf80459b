//! Keys.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::ServiceAccount;
use super::instant;
use crate::domain::{AccountId, Actor, KeyId, KeyUsage, LiveKey, RetiredReason, RoleName, utc_day};
use crate::policy::Reason;
use crate::store;

/// Days, today among them, whose uses are shown.
pub const SHOWN_DAYS: i32 = 30;

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// It works, if its account is enabled.
    Active,
    /// It was rotated, and works until `retiresAt`, if its account is enabled.
    Retiring,
    /// It was rotated, and its grace is over. Or it is no longer one of its
    /// account's at all, and on record.
    Retired,
    /// It has expired.
    Expired,
}

/// A key, without its secret.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `key_` and 16 letters and digits. It is no secret.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// Its last four characters.
    pub hint: String,
    /// A role of the key's own: then both it and the account's must permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub role: Option<RoleName>,
    /// The networks that it may be used from. Empty: from anywhere.
    pub allowed_cidrs: Vec<String>,
    /// Whether it works.
    pub state: KeyState,
    /// When it was issued.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who issued it.
    pub created_by: Actor,
    /// From this instant on it is refused.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// It was rotated: from this instant on it is refused. Never later than
    /// `expiresAt`.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub retires_at: Option<Timestamp>,
    /// It was rotated: the key that replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub replaced_by: Option<KeyId>,
    /// How it was used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// How a key was used. What an instance of the authorizer has seen in the last
/// five minutes may not be among it yet.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When it was last let in.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub last_used_at: Option<Timestamp>,
    /// How often it was let in, at least, on each of the last 30 days (UTC) on
    /// which it was.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({ "2026-11-24": 12 }))]
    pub uses_by_day: BTreeMap<Date, u64>,
    /// When it was last presented after its end.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub presented_at: Option<Timestamp>,
    /// In how many minutes it was presented after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub presentations: Option<u64>,
}

/// A key that is no longer good. Of one that was revoked with nothing but AWS
/// credentials only `id`, `reason` and `retiredAt` are certain.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetiredKey {
    /// Its id.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// What people called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub name: Option<String>,
    /// Its last four characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub hint: Option<String>,
    /// A role of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub role: Option<RoleName>,
    /// The networks that it could be used from. Empty: from anywhere.
    pub allowed_cidrs: Vec<String>,
    /// Why it is no longer good: `revoked`, `expired` or `rotated`.
    #[schema(value_type = String, example = "revoked")]
    pub reason: RetiredReason,
    /// Since when.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub retired_at: Timestamp,
    /// Who saw to it, if it did not come by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub retired_by: Option<Actor>,
    /// The key that replaces it, if it was rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub replaced_by: Option<KeyId>,
    /// When it was issued.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub created_at: Option<Timestamp>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub created_by: Option<Actor>,
    /// When it expired, or would have.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub expires_at: Option<Timestamp>,
    /// How it was used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// What a new key is to be.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IssueKeyRequest {
    /// What people call it.
    #[schema(min_length = 1, max_length = 64, example = "batch server 1")]
    pub name: String,
    /// After so many days it expires: at most what the deployment allows and,
    /// if not said, 90 or that, whichever is less.
    #[schema(minimum = 1, maximum = 3650, required = false, value_type = u32)]
    pub expires_in_days: Option<u32>,
    /// A role of the key's own: then both it and the account's must permit, so
    /// that a key is never wider than its account.
    #[schema(max_length = 64, required = false, value_type = String)]
    pub role: Option<String>,
    /// The networks that it may be used from (at most 10, in CIDR notation).
    /// None: from anywhere.
    #[serde(default)]
    #[schema(max_items = 10, example = json!(["203.0.113.0/24"]))]
    pub allowed_cidrs: Vec<String>,
}

// The function that issues the key serializes this with `S = &str`. A client
// reads it with `SecretString`, which cannot be serialized.
/// A key just issued: the only answer that holds its secret.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(bound = "")]
pub struct IssuedKey<S = SecretString> {
    /// The key, as it will always be shown.
    #[serde(flatten)]
    pub key: Key,
    /// The whole key, to be sent as `Authorization: Bearer <secret>`. It is
    /// shown here and never again.
    #[schema(value_type = String, example = "kwsa_prod_…")]
    pub secret: S,
}

/// How a key is to be rotated.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RotateKeyRequest {
    /// For so many seconds the old key still works, but never beyond its
    /// expiry: a day if not said, a week at most. 0 stops it at once.
    #[schema(minimum = 0, maximum = 604_800, required = false, value_type = u32, default = 86_400)]
    pub grace_seconds: Option<u32>,
}

/// A key's successor just issued. This answer alone holds its secret.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(bound = "")]
pub struct RotatedKey<S = SecretString> {
    /// The successor.
    #[serde(flatten)]
    #[schema(value_type = IssuedKey)]
    pub issued: IssuedKey<S>,
    /// What it replaces.
    pub replaces: ReplacedKey,
}

/// A key that another one replaces.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedKey {
    /// The old key.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// From this instant on it is refused.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub retires_at: Timestamp,
}

// The function reads this with `SecretString`, which cannot be serialized. A
// client sends it with `K = &str`.
/// A key in hand.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(bound = "")]
pub struct LookupKeyRequest<K = SecretString> {
    /// The key, or a text that holds it: an `Authorization` header, a line of a
    /// file. It is read, and neither kept nor logged.
    #[schema(value_type = String, example = "Authorization: Bearer kwsa_prod_…")]
    pub key: K,
}

/// Whose a key is, and whether it is alive.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyLookup {
    /// Whether it opens anything now.
    pub alive: bool,
    /// Why it does not, in the words of the authorizer's log: `revoked`,
    /// `expired`, `retired` (it was rotated and its grace is over, or it went with
    /// its account), `disabled` (its account is), or `wrong_secret` (there is a key of this id, and this is not it).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "revoked")]
    pub reason: Option<Reason>,
    /// Whether its secret is the one that was issued. If it is not, somebody
    /// knows a key's id and made up the rest. Not said of a key whose verifier
    /// was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = bool)]
    pub secret_matches: Option<bool>,
    /// Its account's id.
    #[schema(value_type = String)]
    pub service_account_id: AccountId,
    /// Its account, unless that has been deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = ServiceAccount)]
    pub service_account: Option<ServiceAccount>,
    /// Its id.
    #[schema(value_type = String)]
    pub key_id: KeyId,
    /// The key of this id, unless only its end is on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Key)]
    pub key: Option<Key>,
    /// When it was revoked, expired or retired.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false, value_type = String)]
    pub retired_at: Option<Timestamp>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub retired_by: Option<Actor>,
}

/// What was revoked.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedKeys {
    /// The keys that this request revoked.
    #[schema(value_type = Vec<String>)]
    pub revoked_key_ids: Vec<KeyId>,
}

impl Key {
    /// `key` as the API shows it at `now`.
    #[must_use]
    pub fn new(key: &LiveKey, usage: &KeyUsage, now: Timestamp) -> Self {
        Self {
            id: key.id,
            name: key.name.to_string(),
            hint: key.hint.clone(),
            role: key.spec.role.clone(),
            allowed_cidrs: key.spec.cidrs.iter().collect(),
            state: KeyState::new(key, now),
            created_at: key.created_at,
            created_by: key.created_by.clone(),
            expires_at: key.spec.expires_at,
            retires_at: key.rotation.map(|rotation| rotation.retires_at),
            replaced_by: key.rotation.map(|rotation| rotation.replaced_by),
            usage: Usage::new(usage, now),
        }
    }
}

impl Usage {
    fn new(usage: &KeyUsage, now: Timestamp) -> Self {
        let today = utc_day(now);
        let is_shown = |day: Date| {
            let first = today.checked_sub((SHOWN_DAYS - 1).days());
            day <= today && first.is_ok_and(|first| day >= first)
        };
        let days = usage.uses_by_day.iter().filter(|(day, _)| is_shown(**day));
        Self {
            last_used_at: usage.last_used_at,
            uses_by_day: days.map(|(day, count)| (*day, *count)).collect(),
            presented_at: usage.presented_at,
            presentations: Some(usage.presentations).filter(|minutes| *minutes > 0),
        }
    }
}

impl RetiredKey {
    pub(super) fn new(usage: &KeyUsage, key: store::RetiredKey, now: Timestamp) -> Self {
        Self {
            id: key.id,
            name: key.name,
            hint: key.hint,
            role: key.role,
            allowed_cidrs: key.cidrs.iter().collect(),
            reason: key.reason,
            retired_at: key.retired_at,
            retired_by: key.retired_by,
            replaced_by: key.replaced_by,
            created_at: key.created_at,
            created_by: key.created_by,
            expires_at: key.expires_at,
            usage: Usage::new(usage, now),
        }
    }
}

impl KeyState {
    fn new(key: &LiveKey, now: Timestamp) -> Self {
        match key.ended(now).map(|end| end.reason) {
            Some(RetiredReason::Expired) => Self::Expired,
            Some(RetiredReason::Rotated | RetiredReason::Revoked) => Self::Retired,
            None if key.rotation.is_some() => Self::Retiring,
            None => Self::Active,
        }
    }
}
