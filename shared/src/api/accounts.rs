//! Service accounts.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::instant;
use super::keys::{Key, RetiredKey};
use crate::domain::{Account, AccountId, AccountUsage, Actor, KeyId, KeyUsage, RoleName};
use crate::store;

/// A service account.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// `sa_` and 16 letters and digits.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub id: AccountId,
    /// Unique, whatever its case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What its keys may do at most.
    #[schema(value_type = String, example = "ServiceAccountReader")]
    pub role: RoleName,
    /// Whether its keys work at all.
    pub enabled: bool,
    /// Who answers for it.
    pub owner: String,
    /// Labels of the admin's own.
    pub tags: BTreeMap<String, String>,
    /// How many of its keys still work, or would if it were enabled.
    pub live_key_count: usize,
    /// When the next of its live keys expires.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub next_key_expires_at: Option<Timestamp>,
    /// When it was created.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who created it.
    pub created_by: Actor,
    /// When it or its keys were last changed.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Who last changed it or its keys.
    pub updated_by: Actor,
}

/// A service account as the list shows it, with how its keys are used. What an
/// instance of the authorizer has seen in the last five minutes may not be among
/// it yet.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedServiceAccount {
    /// The account.
    #[serde(flatten)]
    pub account: ServiceAccount,
    /// When one of its keys, retired ones among them, was last let in.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub last_used_at: Option<Timestamp>,
    /// When one of its keys was last presented after its end.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub presented_at: Option<Timestamp>,
    /// How many of its live keys nobody has used for 90 days, and were issued
    /// before. One that was rotated is not counted: another key replaces it.
    pub unused_key_count: usize,
}

/// A service account with its keys.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
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

/// What a new service account is made of.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateServiceAccountRequest {
    /// Unique, whatever its case.
    #[schema(min_length = 1, max_length = 64, example = "nightly-batch")]
    pub name: String,
    /// What its keys may do at most.
    #[schema(max_length = 64, example = "ServiceAccountReader")]
    pub role: String,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub description: String,
    /// Who answers for it.
    #[serde(default)]
    #[schema(max_length = 128, example = "data-team@example.com")]
    pub owner: String,
    /// At most 10 labels of your own.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What to change (a JSON merge patch, RFC 7396). A field that is left out
/// stays; `null` empties those that may be empty.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpdateServiceAccountRequest {
    /// A new name.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 64)]
    pub name: Option<String>,
    /// Another description.
    #[serde(default, deserialize_with = "empty_if_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, max_length = 256)]
    pub description: Option<String>,
    /// Another role. It counts from the next check on, for every key.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, max_length = 64)]
    pub role: Option<String>,
    /// Whether the account's keys work at all. It counts from the next check on.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub enabled: Option<bool>,
    /// Another owner.
    #[serde(default, deserialize_with = "empty_if_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, max_length = 128)]
    pub owner: Option<String>,
    /// Other tags: the whole set.
    #[serde(default, deserialize_with = "empty_if_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, required = false)]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Reads a member that must have a value: `null` is refused.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads a member whose `null` means the empty value.
fn empty_if_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(|value| Some(value.unwrap_or_default()))
}

impl ServiceAccount {
    /// `account` as the API shows it at `now`.
    #[must_use]
    pub fn new(account: &Account, now: Timestamp) -> Self {
        let live = || account.keys.iter().filter(|key| key.ended(now).is_none());
        Self {
            id: account.id,
            name: account.name.to_string(),
            description: account.description.to_string(),
            role: account.role.clone(),
            enabled: account.enabled,
            owner: account.owner.to_string(),
            tags: account.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            live_key_count: live().count(),
            next_key_expires_at: live().map(|key| key.spec.expires_at).min(),
            created_at: account.created_at,
            created_by: account.created_by.clone(),
            updated_at: account.updated_at,
            updated_by: account.updated_by.clone(),
        }
    }
}

impl ListedServiceAccount {
    /// `account`, whose keys have this usage, as a list shows it at `now`.
    #[must_use]
    pub fn new(account: &Account, usage: &HashMap<KeyId, KeyUsage>, now: Timestamp) -> Self {
        let usage = AccountUsage::new(account, usage, now);
        Self {
            account: ServiceAccount::new(account, now),
            last_used_at: usage.last_used_at,
            presented_at: usage.presented_at,
            unused_key_count: usage.unused_keys,
        }
    }
}

impl ServiceAccountWithKeys {
    /// `account` with its live and `retired` keys, as the API shows it at `now`.
    #[must_use]
    pub fn new(
        account: &Account,
        retired: Vec<store::RetiredKey>,
        usage: &HashMap<KeyId, KeyUsage>,
        now: Timestamp,
    ) -> Self {
        let unused = KeyUsage::default();
        let usage_of = |key: KeyId| usage.get(&key).unwrap_or(&unused);
        Self {
            account: ServiceAccount::new(account, now),
            keys: account.keys.iter().map(|key| Key::new(key, usage_of(key.id), now)).collect(),
            retired_keys: retired
                .into_iter()
                .map(|key| RetiredKey::new(usage_of(key.id), key, now))
                .collect(),
        }
    }
}
