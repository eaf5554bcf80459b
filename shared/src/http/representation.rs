//! How the API shows things: camelCase, times in RFC 3339.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Account, Actor, Event, FieldChange, LiveKey};
use crate::store::Page;

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
    /// How many of its keys have not expired.
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
    /// It has expired.
    Expired,
    /// It was revoked, or has gone with its account: it is on record, and no
    /// longer one of its account's.
    Retired,
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
    /// To which account.
    pub service_account_id: String,
    /// The account's name at that time.
    pub service_account_name: String,
    /// To which key, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub key_id: Option<String>,
    /// What changed, for an update.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub changes: Vec<FieldChange>,
    /// The request that did it.
    pub request_id: String,
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
        let live = || account.keys.iter().filter(|key| !key.is_expired(now));
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
            state: if key.is_expired(now) { KeyState::Expired } else { KeyState::Active },
            created_at: seconds(key.created_at),
            created_by: key.created_by.clone(),
            expires_at: seconds(key.spec.expires_at),
        }
    }
}

impl From<Event> for AuditEvent {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            r#type: event.event_type.name().to_owned(),
            at: format!("{:.3}", event.at),
            actor: event.actor,
            service_account_id: event.account.to_string(),
            service_account_name: event.account_name,
            key_id: event.key.map(|key| key.to_string()),
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
