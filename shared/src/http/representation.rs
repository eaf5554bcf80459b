//! How the API shows things: camelCase, times in RFC 3339.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Account, Actor, BuiltInRole, Event, FieldChange, LiveKey, RetiredReason, Subject};
use crate::policy;
use crate::store::{CustomRole, ListedRole, Page};

/// A service account.
#[derive(Debug, Serialize, ToSchema)]
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

/// A service account with its keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceAccountWithKeys {
    /// The account.
    #[serde(flatten)]
    pub account: ServiceAccount,
    /// Its keys, oldest first. Revoked ones are gone.
    pub keys: Vec<Key>,
}

/// Whether a key works.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
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
#[derive(Debug, Serialize, ToSchema)]
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
}

/// An audit event.
#[derive(Debug, Serialize, ToSchema)]
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub changes: Vec<FieldChange>,
    /// The request that did it.
    pub request_id: String,
}

/// A role.
#[derive(Debug, Serialize, ToSchema)]
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
#[derive(Debug, Serialize, ToSchema)]
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
    pub fn of<U>(page: Page<U>, show: impl FnMut(U) -> T) -> Self {
        Self {
            next_cursor: page.next.map(|cursor| cursor.encode()),
            items: page.items.into_iter().map(show).collect(),
        }
    }
}

impl ServiceAccount {
    /// How `account` is shown at `now`.
    #[must_use]
    pub fn of(account: &Account, now: Timestamp) -> Self {
        let live = || account.keys.iter().filter(|key| key.over(now).is_none());
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

impl ServiceAccountWithKeys {
    /// How `account` and its keys are shown at `now`.
    #[must_use]
    pub fn of(account: &Account, now: Timestamp) -> Self {
        Self {
            account: ServiceAccount::of(account, now),
            keys: account.keys.iter().map(|key| Key::of(key, now)).collect(),
        }
    }
}

impl Key {
    /// How `key` is shown at `now`.
    #[must_use]
    pub fn of(key: &LiveKey, now: Timestamp) -> Self {
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
        }
    }
}

impl KeyState {
    fn of(key: &LiveKey, now: Timestamp) -> Self {
        match key.over(now).map(|over| over.reason) {
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
