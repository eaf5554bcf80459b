//! How the API shows things: camelCase, times in RFC 3339. The console reads
//! what the functions write.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    Account, AccountUsage, Actor, BuiltInRole, Event, FieldChange, KeyId, KeyUsage, LiveKey, RetiredReason,
    Subject, utc_day,
};
use crate::policy;
use crate::store::{self, CustomRole, ListedRole, Page};

/// Days, today among them, whose uses are shown.
pub const SHOWN_DAYS: i32 = 30;

/// A service account.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// `sa_` and 16 letters and digits.
    #[schema(example = "sa_4hQ0bTnYwLzR8sVc")]
    pub id: String,
    /// Unique, whatever its case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What its keys may do at most.
    #[schema(example = "ServiceAccountReader")]
    pub role: String,
    /// Whether its keys work at all.
    pub enabled: bool,
    /// Who answers for it.
    pub owner: String,
    /// Labels of the admin's own.
    pub tags: BTreeMap<String, String>,
    /// How many of its keys still work, or would if it were enabled.
    pub live_key_count: usize,
    /// When the next of its live keys expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub next_key_expires_at: Option<String>,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who created it.
    pub created_by: Actor,
    /// When it or its keys were last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Who last changed it or its keys.
    pub updated_by: Actor,
}

/// A service account as the list shows it, with how its keys are used. What an
/// instance of the authorizer has seen in the last five minutes may not be among
/// it yet.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedServiceAccount {
    /// The account.
    #[serde(flatten)]
    pub account: ServiceAccount,
    /// When one of its keys, retired ones among them, was last let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub last_used_at: Option<String>,
    /// When one of its keys was last presented after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub presented_at: Option<String>,
    /// How many of its live keys nobody has used for 90 days, and were issued
    /// before. One that was rotated is not counted: another key replaces it.
    pub unused_key_count: usize,
}

/// A service account with its keys.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountWithKeys {
    /// The account.
    #[serde(flatten)]
    pub account: ServiceAccount,
    /// Its keys, oldest first. One that has come to its end by itself may be
    /// among them for a while.
    pub keys: Vec<Key>,
    /// Its retired keys, the newest first: 100 at most.
    #[schema(max_items = 100)]
    pub retired_keys: Vec<RetiredKey>,
}

/// Whether a key works.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
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
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `key_` and 16 letters and digits. It is no secret.
    #[schema(example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its last four characters.
    pub hint: String,
    /// A role of the key's own: then both it and the account's must permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub role: Option<String>,
    /// The networks that it may be used from. Empty: from anywhere.
    pub allowed_cidrs: Vec<String>,
    /// Whether it works.
    pub state: KeyState,
    /// When it was issued.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who issued it.
    pub created_by: Actor,
    /// From this instant on it is refused.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// It was rotated: from this instant on it is refused. Never later than
    /// `expiresAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub retires_at: Option<String>,
    /// It was rotated: the key that replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub replaced_by: Option<String>,
    /// How it was used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// How a key was used. What an instance of the authorizer has seen in the last
/// five minutes may not be among it yet.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When it was last let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub last_used_at: Option<String>,
    /// How often it was let in, at least, on each of the last 30 days (UTC) on
    /// which it was.
    #[schema(example = json!({ "2026-11-24": 12 }))]
    pub uses_by_day: BTreeMap<String, u64>,
    /// When it was last presented after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub presented_at: Option<String>,
    /// In how many minutes it was presented after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub presentations: Option<u64>,
}

/// A key that is no longer good. Of one that was revoked with nothing but AWS
/// credentials only `id`, `reason` and `retiredAt` are certain.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetiredKey {
    /// Its id.
    #[schema(example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: String,
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
    #[schema(required = false)]
    pub role: Option<String>,
    /// The networks that it could be used from. Empty: from anywhere.
    pub allowed_cidrs: Vec<String>,
    /// Why it is no longer good: `revoked`, `expired` or `rotated`.
    #[schema(example = "revoked")]
    pub reason: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub retired_at: String,
    /// Who saw to it, if it did not come by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub retired_by: Option<Actor>,
    /// The key that replaces it, if it was rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub replaced_by: Option<String>,
    /// When it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub created_at: Option<String>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub created_by: Option<Actor>,
    /// When it expired, or would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub expires_at: Option<String>,
    /// How it was used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// An audit event.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Sorts by time.
    #[schema(example = "01JDEJ5Z7W4Q5T7Z8N1R2K3M4P")]
    pub id: String,
    /// What happened.
    #[schema(example = "key.issued")]
    pub r#type: String,
    /// When, to the millisecond.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who did it.
    pub actor: Actor,
    /// To which account, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub service_account_id: Option<String>,
    /// The account's name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub service_account_name: Option<String>,
    /// To which key, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub key_id: Option<String>,
    /// To which custom role, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub role: Option<String>,
    /// What changed, for an update or a rotation. For a role each permission that
    /// came (from nothing) or went (to nothing), when it is created or deleted
    /// too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub changes: Vec<FieldChange>,
    /// The request that did it.
    pub request_id: String,
}

/// A role.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Its name.
    #[schema(example = "ReportsReader")]
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether every deployment has it. Such a role cannot be put or deleted.
    pub built_in: bool,
    /// What it permits, in the order of the paths. Nothing else is permitted.
    #[schema(example = json!(["GET /reports/{id}", "ANY /reports/{id}/notes/{proxy+}"]))]
    pub permissions: Vec<String>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub created_at: Option<String>,
    /// Who created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub created_by: Option<Actor>,
    /// When it was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    pub updated_at: Option<String>,
    /// Who last changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub updated_by: Option<Actor>,
}

/// A page of a list.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one: pass it as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// The list that shows `page`, each item by `show`.
    pub fn of<U>(page: Page<U, impl ToString>, show: impl FnMut(U) -> T) -> Self {
        Self {
            next_cursor: page.next.map(|cursor| cursor.to_string()),
            items: page.items.into_iter().map(show).collect(),
        }
    }
}

impl ServiceAccount {
    /// How `account` is shown at `now`.
    #[must_use]
    pub fn of(account: &Account, now: Timestamp) -> Self {
        let live = || account.keys.iter().filter(|key| key.ended(now).is_none());
        Self {
            id: account.id.to_string(),
            name: account.name.to_string(),
            description: account.description.to_string(),
            role: account.role.to_string(),
            enabled: account.enabled,
            owner: account.owner.to_string(),
            tags: account.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            live_key_count: live().count(),
            next_key_expires_at: live().map(|key| key.spec.expires_at).min().map(seconds),
            created_at: seconds(account.created_at),
            created_by: account.created_by.clone(),
            updated_at: seconds(account.updated_at),
            updated_by: account.updated_by.clone(),
        }
    }
}

impl ListedServiceAccount {
    /// How `account`, whose keys were used as `usage` says, is shown at `now`.
    #[must_use]
    pub fn of(account: &Account, usage: &HashMap<KeyId, KeyUsage>, now: Timestamp) -> Self {
        let usage = AccountUsage::new(account, usage, now);
        Self {
            account: ServiceAccount::of(account, now),
            last_used_at: usage.last_used_at.map(seconds),
            presented_at: usage.presented_at.map(seconds),
            unused_key_count: usage.unused_keys,
        }
    }
}

impl ServiceAccountWithKeys {
    /// How `account`, its keys and its `retired` ones are shown at `now`.
    #[must_use]
    pub fn of(
        account: &Account,
        retired: Vec<store::RetiredKey>,
        usage: &HashMap<KeyId, KeyUsage>,
        now: Timestamp,
    ) -> Self {
        let unused = KeyUsage::default();
        let usage_of = |key: KeyId| usage.get(&key).unwrap_or(&unused);
        Self {
            account: ServiceAccount::of(account, now),
            keys: account.keys.iter().map(|key| Key::of(key, usage_of(key.id), now)).collect(),
            retired_keys: retired.into_iter().map(|key| RetiredKey::of(usage_of(key.id), key, now)).collect(),
        }
    }
}

impl Key {
    /// How `key` is shown at `now`.
    #[must_use]
    pub fn of(key: &LiveKey, usage: &KeyUsage, now: Timestamp) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            hint: key.hint.clone(),
            role: key.spec.role.as_ref().map(ToString::to_string),
            allowed_cidrs: key.spec.cidrs.iter().collect(),
            state: KeyState::of(key, now),
            created_at: seconds(key.created_at),
            created_by: key.created_by.clone(),
            expires_at: seconds(key.spec.expires_at),
            retires_at: key.rotation.map(|rotation| seconds(rotation.retires_at)),
            replaced_by: key.rotation.map(|rotation| rotation.replaced_by.to_string()),
            usage: Usage::of(usage, now),
        }
    }
}

impl Usage {
    fn of(usage: &KeyUsage, now: Timestamp) -> Self {
        let today = utc_day(now);
        let is_shown = |day: Date| {
            let first = today.checked_sub((SHOWN_DAYS - 1).days());
            day <= today && first.is_ok_and(|first| day >= first)
        };
        let days = usage.uses_by_day.iter().filter(|(day, _)| is_shown(**day));
        Self {
            last_used_at: usage.last_used_at.map(seconds),
            uses_by_day: days.map(|(day, many)| (day.to_string(), *many)).collect(),
            presented_at: usage.presented_at.map(seconds),
            presentations: Some(usage.presentations).filter(|many| *many > 0),
        }
    }
}

impl RetiredKey {
    fn of(usage: &KeyUsage, key: store::RetiredKey, now: Timestamp) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            hint: key.hint,
            role: key.role.map(|role| role.to_string()),
            allowed_cidrs: key.cidrs.iter().collect(),
            reason: key.reason.name().to_owned(),
            retired_at: seconds(key.retired_at),
            retired_by: key.retired_by,
            replaced_by: key.replaced_by.map(|key| key.to_string()),
            created_at: key.created_at.map(seconds),
            created_by: key.created_by,
            expires_at: key.expires_at.map(seconds),
            usage: Usage::of(usage, now),
        }
    }
}

impl KeyState {
    fn of(key: &LiveKey, now: Timestamp) -> Self {
        match key.ended(now).map(|end| end.reason) {
            Some(RetiredReason::Expired) => Self::Expired,
            Some(RetiredReason::Rotated | RetiredReason::Revoked) => Self::Retired,
            None if key.rotation.is_some() => Self::Retiring,
            None => Self::Active,
        }
    }
}

/// What a role permits, one text a permission.
#[must_use]
pub fn permissions(role: &policy::Role) -> Vec<String> {
    role.permissions.iter().map(ToString::to_string).collect()
}

impl Role {
    /// How the built-in `role` is shown, which permits what `permits` says.
    #[must_use]
    pub fn built_in(role: BuiltInRole, permits: &policy::Role) -> Self {
        Self {
            name: role.name().to_owned(),
            description: role.description().to_owned(),
            built_in: true,
            permissions: permissions(permits),
            created_at: None,
            created_by: None,
            updated_at: None,
            updated_by: None,
        }
    }
}

impl From<CustomRole> for Role {
    fn from(custom: CustomRole) -> Self {
        Self {
            name: custom.role.name.to_string(),
            description: custom.description.to_string(),
            built_in: false,
            permissions: permissions(&custom.role),
            created_at: Some(seconds(custom.created_at)),
            created_by: Some(custom.created_by),
            updated_at: Some(seconds(custom.updated_at)),
            updated_by: Some(custom.updated_by),
        }
    }
}

impl From<ListedRole> for Role {
    fn from(role: ListedRole) -> Self {
        match role {
            ListedRole::BuiltIn(role, permits) => Self::built_in(role, &permits),
            ListedRole::Custom(custom) => custom.into(),
        }
    }
}

impl From<Event> for AuditEvent {
    fn from(event: Event) -> Self {
        let (account, name, key, role) = match event.subject {
            Subject::Account { id, name, key } => (Some(id), Some(name), key, None),
            Subject::Role(role) => (None, None, None, Some(role)),
        };
        Self {
            id: event.id.to_string(),
            r#type: event.event_type.name().to_owned(),
            at: format!("{:.3}", event.at),
            actor: event.actor,
            service_account_id: account.map(|account| account.to_string()),
            service_account_name: name,
            key_id: key.map(|key| key.to_string()),
            role: role.map(|role| role.to_string()),
            changes: event.changes,
            request_id: event.request_id,
        }
    }
}

/// An instant to the second.
#[must_use]
pub fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}
