//! Keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::ServiceAccount;
use super::activity::{LastUse, RecentCounts};
use super::federated_identities::FederatedIdentity;
use super::instant;
use crate::activity::GrantActivity;
use crate::domain::{AccountId, Actor, IdentityId, KeyEnd, KeyId, LiveKey, RetiredReason, RoleName};
use crate::policy::Reason;
use crate::store;

/// The number of days, including today, whose uses are shown.
pub const SHOWN_DAYS: i32 = 30;

/// The state of a key: `active` (it works), `retiring` (it was rotated and
/// works until `retiresAt`), `retired` (its grace period after a rotation is
/// over, or it is one of the retired keys) or `expired`. A key only works while
/// its account is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// The key works if its account is enabled.
    Active,
    /// The key was rotated, and works until `retiresAt` if its account is enabled.
    Retiring,
    /// The grace period of the key is over, or the key is one of the retired keys.
    Retired,
    Expired,
}

/// A key, without its secret.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The id: `key_` and 16 letters and digits. It is not secret.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// The name of the key, for people. It need not be unique.
    #[schema(example = "batch server 1")]
    pub name: String,
    /// The last four characters of the whole key, so that people can recognize
    /// it.
    #[schema(example = "x7Qz")]
    pub hint: String,
    /// The name of the key's own role, if it has one. Both this role and the
    /// account's role must permit a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "ReportsReader")]
    pub role: Option<RoleName>,
    /// The networks that the key can be used from, in CIDR notation. Empty if
    /// it can be used from anywhere.
    #[schema(example = json!(["203.0.113.0/24"]))]
    pub allowed_cidrs: Vec<String>,
    /// The state of the key.
    pub state: KeyState,
    /// When the key was issued.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The admin who issued the key.
    pub created_by: Actor,
    /// When the key expires. It is refused from this instant on.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When the grace period of a rotated key ends. The key is refused from
    /// this instant on, which is never later than `expiresAt`. Absent if the
    /// key was not rotated.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub retires_at: Option<Timestamp>,
    /// The id of the successor of a rotated key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "key_2bNv8RtYw3EuK6cM")]
    pub replaced_by: Option<KeyId>,
    /// How the key was used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// How a key, or the tokens of a federated identity, were used.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The number of recent requests with the key.
    #[serde(flatten)]
    pub recent: RecentCounts,
    /// When the key was last used.
    #[serde(flatten)]
    pub last_use: LastUse,
    /// The number of allowed requests on each of the last 30 days (UTC). Days
    /// without allowed requests are left out. The true numbers can be higher,
    /// but never lower.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({ "2026-11-24": 12 }))]
    pub uses_by_day: BTreeMap<Date, u64>,
}

/// A key that has ended. If the key was revoked directly in the table, with AWS
/// credentials, only `id`, `reason` and `retiredAt` are certain to be present.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetiredKey {
    /// The id of the key.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// The name of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "batch server 1")]
    pub name: Option<String>,
    /// The last four characters of the whole key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "x7Qz")]
    pub hint: Option<String>,
    /// The name of the key's own role, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "ReportsReader")]
    pub role: Option<RoleName>,
    /// The networks that the key could be used from, in CIDR notation. Empty if
    /// it could be used from anywhere.
    #[schema(example = json!(["203.0.113.0/24"]))]
    pub allowed_cidrs: Vec<String>,
    /// How the key ended: `revoked`, `expired` or `rotated`.
    #[schema(value_type = String, example = "revoked")]
    pub reason: RetiredReason,
    /// When the key ended.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub retired_at: Timestamp,
    /// The admin who ended the key. Absent if the key expired or its grace
    /// period ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub retired_by: Option<Actor>,
    /// The id of the successor, if the key was rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "key_2bNv8RtYw3EuK6cM")]
    pub replaced_by: Option<KeyId>,
    /// When the key was issued.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub created_at: Option<Timestamp>,
    /// The admin who issued the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub created_by: Option<Actor>,
    /// When the key expired, or would have expired.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub expires_at: Option<Timestamp>,
    /// How the key was used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// A new key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IssueKeyRequest {
    /// The name of the key, for people: 1 to 64 characters. It need not be
    /// unique.
    #[schema(min_length = 1, max_length = 64, example = "batch server 1")]
    pub name: String,
    /// The lifetime in days, from 1 to the longest that the deployment allows
    /// (365 by default). If omitted, the lifetime is 90 days, or the longest
    /// allowed if that is shorter.
    #[schema(minimum = 1, maximum = 3650, required = false, value_type = u32, example = 90)]
    pub expires_in_days: Option<u32>,
    /// The name of a role that narrows the key. Both this role and the
    /// account's role must permit a request, so a key can never do more than
    /// its account.
    #[schema(max_length = 64, required = false, value_type = String, example = "ReportsReader")]
    pub role: Option<String>,
    /// The networks that the key can be used from, in CIDR notation (IPv4 or
    /// IPv6): at most 10. If omitted or empty, the key can be used from
    /// anywhere.
    #[serde(default)]
    #[schema(max_items = 10, example = json!(["203.0.113.0/24"]), default = json!([]))]
    pub allowed_cidrs: Vec<String>,
}

// The function that issues the key serializes this with `S = &str`. A client
// reads it with `SecretString`, which cannot be serialized.
/// A new key with its secret. No other response contains the secret.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(bound = "")]
pub struct IssuedKey<S = SecretString> {
    /// The key, without its secret.
    #[serde(flatten)]
    pub key: Key,
    /// The whole key. Send it as `Authorization: Bearer <secret>`. It is never
    /// returned again.
    #[schema(value_type = String, example = "kwsa_prod_…")]
    pub secret: S,
}

/// How to rotate a key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RotateKeyRequest {
    /// The grace period in seconds, in which the old key still works: from 0 to
    /// 604,800 (a week). It ends early if the old key expires first. 0 ends the
    /// old key at once.
    #[schema(minimum = 0, maximum = 604_800, required = false, value_type = u32, default = 86_400)]
    pub grace_seconds: Option<u32>,
}

/// The successor of a rotated key, with its secret. No other response contains
/// the secret.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(bound = "")]
pub struct RotatedKey<S = SecretString> {
    /// The successor.
    #[serde(flatten)]
    #[schema(value_type = IssuedKey)]
    pub issued: IssuedKey<S>,
    /// The key that was rotated.
    pub replaces: ReplacedKey,
}

/// A key that was rotated.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedKey {
    /// The id of the old key.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// When the grace period of the old key ends. The key is refused from this
    /// instant on.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub retires_at: Timestamp,
}

// The function reads this with `SecretString`, which cannot be serialized. A
// client sends it with `K = &str`.
/// A key or token to look up.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(bound = "")]
pub struct LookupKeyRequest<K = SecretString> {
    /// The key or token, or a text that contains exactly one key or token of this
    /// environment, such as an `Authorization` header or a line of a file. The
    /// text is neither stored nor logged.
    #[schema(value_type = String, example = "Authorization: Bearer kwsa_prod_…")]
    pub key: K,
}

/// What is known about a key or token.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyLookup {
    /// Whether the key works now, from the networks that it allows. For a token: whether the
    /// token works now, if it is genuine. Its tags are not checked, so anyone who knows the ids
    /// could have written it.
    pub alive: bool,
    /// Why the key or token is refused, as in the authorizer's log: `revoked`,
    /// `expired`, `retired` (the key's grace period after a rotation is over, or
    /// the account was deleted), `disabled` (the account is disabled),
    /// `wrong_secret` (a key has this id, but another secret) or `issuer` (the
    /// issuer of the federated identity is no longer trusted). Absent if the key
    /// or token works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "revoked")]
    pub reason: Option<Reason>,
    /// Whether the secret is the one that was issued. If not, the key is not
    /// genuine, although its ids exist. Absent for a token, and if the record of the
    /// retired key contains nothing to compare the secret with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = bool)]
    pub secret_matches: Option<bool>,
    /// The id of the service account.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub service_account_id: AccountId,
    /// The service account. Absent if it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = ServiceAccount)]
    pub service_account: Option<ServiceAccount>,
    /// When the token expires, as the token says. At most an hour after it was made. Present
    /// only if the text contains a token.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false, value_type = String)]
    pub token_expires_at: Option<Timestamp>,
    /// The id of the key, or of the key that the token was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub key_id: Option<KeyId>,
    /// The key. Absent if its record contains only how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Key)]
    pub key: Option<Key>,
    /// The id of the federated identity that the token was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "fid_5tGh8JkLp2WqZ9xC")]
    pub identity_id: Option<IdentityId>,
    /// The federated identity. Absent if it has ended: `getServiceAccount` returns the ended
    /// identities of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = FederatedIdentity)]
    pub federated_identity: Option<FederatedIdentity>,
    /// When the key or federated identity ended. Absent if it is still one of the
    /// account's.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false, value_type = String)]
    pub retired_at: Option<Timestamp>,
    /// The admin who ended the key or federated identity. Absent if it is still one
    /// of the account's, expired, or reached the end of its grace period.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub retired_by: Option<Actor>,
}

/// The keys and federated identities that were ended.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedKeys {
    /// The ids of the keys that this request revoked. Empty if there were none.
    #[schema(value_type = Vec<String>, example = json!(["key_9fKd2LmXo5PqZ7aB"]))]
    pub revoked_key_ids: Vec<KeyId>,
    /// The ids of the federated identities that this request ended. Empty if there were none.
    #[schema(value_type = Vec<String>, example = json!(["fid_5tGh8JkLp2WqZ9xC"]))]
    pub ended_identity_ids: Vec<IdentityId>,
}

impl Key {
    /// `key` as the API shows it at `now`.
    pub fn new(key: &LiveKey, activity: &GrantActivity, now: Timestamp) -> Self {
        Self {
            id: key.id,
            name: key.name.to_string(),
            hint: key.hint.clone(),
            role: key.spec.role.clone(),
            allowed_cidrs: key.spec.cidrs.iter().collect(),
            state: KeyState::new(key.ended(now), key.rotation.is_some()),
            created_at: key.created_at,
            created_by: key.created_by.clone(),
            expires_at: key.spec.expires_at,
            retires_at: key.rotation.map(|rotation| rotation.retires_at),
            replaced_by: key.rotation.map(|rotation| rotation.replaced_by),
            usage: Usage::new(activity, now),
        }
    }
}

impl Usage {
    pub(super) fn new(activity: &GrantActivity, now: Timestamp) -> Self {
        let days = activity.series.by_day(now, SHOWN_DAYS).into_iter();
        let uses = days.map(|(day, counts)| (day, counts.allowed()));
        Self {
            recent: RecentCounts::new(&activity.series, now),
            last_use: LastUse::new(activity),
            uses_by_day: uses.filter(|(_, allowed)| *allowed > 0).collect(),
        }
    }
}

impl RetiredKey {
    pub(super) fn new(activity: &GrantActivity, key: store::RetiredKey, now: Timestamp) -> Self {
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
            usage: Usage::new(activity, now),
        }
    }
}

impl KeyState {
    /// The state of a key that has this `end`, if any, among its account's keys.
    pub fn new(end: Option<KeyEnd>, is_rotated: bool) -> Self {
        match end.map(|end| end.reason) {
            Some(RetiredReason::Expired) => Self::Expired,
            Some(RetiredReason::Rotated | RetiredReason::Revoked) => Self::Retired,
            None if is_rotated => Self::Retiring,
            None => Self::Active,
        }
    }
}
