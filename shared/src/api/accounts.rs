//! Service accounts.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::activity::UnverifiedCounts;
use super::federated_identities::{EndedFederatedIdentity, FederatedIdentity};
use super::instant;
use super::keys::{Key, RetiredKey};
use crate::activity::GrantActivity;
use crate::domain::{Account, AccountId, Actor, GrantId, IssuerName, LiveKey, RoleName, unused_since};
use crate::store::{self, AccountActivity, LastUse};

/// A service account: the identity of a program.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// The id: `sa_` and 16 letters and digits. It never changes.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub id: AccountId,
    /// The name. It is unique in the deployment, ignoring case.
    #[schema(example = "nightly-batch")]
    pub name: String,
    /// What the account is for. Can be empty.
    #[schema(example = "Writes the nightly reports")]
    pub description: String,
    /// The name of the account's role. Its keys can never do more than this
    /// role permits.
    #[schema(value_type = String, example = "ServiceAccountReader")]
    pub role: RoleName,
    /// Whether the account is enabled. All keys of a disabled account are
    /// refused.
    pub enabled: bool,
    /// The team or person responsible for the account. Can be empty.
    #[schema(example = "data-team@example.com")]
    pub owner: String,
    /// Labels of your own, each with a value.
    #[schema(example = json!({ "team": "data" }))]
    pub tags: BTreeMap<String, String>,
    /// The number of live keys: those that were not revoked, have not expired,
    /// and are not past their grace period after a rotation. The keys of a
    /// disabled account count too.
    pub live_key_count: usize,
    /// The number of federated identities that have not expired.
    pub live_identity_count: usize,
    /// When the first of the live keys expires. Absent if there is no live key.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub next_key_expires_at: Option<Timestamp>,
    /// When the account was created.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The admin who created the account.
    pub created_by: Actor,
    /// When the account or one of its keys was last changed by an admin.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The admin who last changed the account or one of its keys.
    pub updated_by: Actor,
}

/// A service account in a list, with a summary of how its keys are used.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedServiceAccount {
    /// The service account.
    #[serde(flatten)]
    pub account: ServiceAccount,
    /// When a request with one of the account's keys was last allowed. Keys
    /// that have ended count too. The true time can be later, but never
    /// earlier. Absent if no request was allowed.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub last_used_at: Option<Timestamp>,
    /// When one of the account's keys was last used after it had ended. The
    /// request was refused. The true time can be later, but never earlier.
    /// Absent if no key was used after its end.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub used_after_end_at: Option<Timestamp>,
    /// The number of live keys that were issued at least 90 days ago and were
    /// not used in the last 90 days. Rotated keys do not count. A key whose last
    /// use could not be recorded can count too.
    pub unused_key_count: usize,
}

/// A page of the list of service accounts.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountList {
    /// The items of the page.
    pub items: Vec<ListedServiceAccount>,
    /// The `cursor` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    pub next_cursor: Option<String>,
    /// The number of service accounts that were compared with the filters for this page.
    /// Present only if the search stopped before the page was full, although there are
    /// more accounts. `nextCursor` continues the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = usize)]
    pub searched_accounts: Option<usize>,
}

/// A service account with its keys and federated identities.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountWithKeys {
    /// The service account.
    #[serde(flatten)]
    pub account: ServiceAccount,
    /// The account's keys, oldest first. A key that has expired, or whose grace
    /// period is over, can stay in this list for a while: see `state`.
    pub keys: Vec<Key>,
    /// The most recently retired keys, newest first. At most 100.
    #[schema(max_items = 100)]
    pub retired_keys: Vec<RetiredKey>,
    /// The account's federated identities, oldest first. An identity that has expired can stay
    /// in this list for a while: see `state`.
    #[schema(max_items = 40)]
    pub federated_identities: Vec<FederatedIdentity>,
    /// The most recently ended federated identities, newest first. At most 100.
    #[schema(max_items = 100)]
    pub ended_federated_identities: Vec<EndedFederatedIdentity>,
    /// The number of recent requests with an unverified key that names the
    /// account.
    pub unverified: UnverifiedCounts,
}

/// A new service account.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateServiceAccountRequest {
    /// The name: 1 to 64 characters. It must be unique in the deployment,
    /// ignoring case.
    #[schema(min_length = 1, max_length = 64, example = "nightly-batch")]
    pub name: String,
    /// The name of a built-in or custom role. The account's keys can never do
    /// more than this role permits.
    #[schema(max_length = 64, example = "ServiceAccountReader")]
    pub role: String,
    /// What the account is for: at most 256 characters.
    #[serde(default)]
    #[schema(max_length = 256, example = "Writes the nightly reports", default = "")]
    pub description: String,
    /// The team or person responsible for the account: at most 128 characters.
    #[serde(default)]
    #[schema(max_length = 128, example = "data-team@example.com", default = "")]
    pub owner: String,
    /// Labels of your own, at most 10. The name of a tag has 1 to 32 letters,
    /// digits and `._:/-`. Its value has at most 64 characters.
    #[serde(default)]
    #[schema(example = json!({ "team": "data" }), default = json!({}))]
    pub tags: BTreeMap<String, String>,
}

/// Changes to a service account, as a JSON merge patch (RFC 7396). Fields that
/// are left out do not change.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpdateServiceAccountRequest {
    /// The new name: 1 to 64 characters. It must be unique in the deployment,
    /// ignoring case.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 64, example = "nightly-batch")]
    pub name: Option<String>,
    /// The new description: at most 256 characters. `null` clears it.
    #[serde(default, deserialize_with = "empty_if_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, max_length = 256, example = "Writes the nightly reports")]
    pub description: Option<String>,
    /// The name of the new role. It applies from the next request on, for all
    /// keys of the account.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, max_length = 64, example = "ServiceAccountReader")]
    pub role: Option<String>,
    /// `false` refuses all keys of the account from the next request on. `true`
    /// accepts them again.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub enabled: Option<bool>,
    /// The new owner: at most 128 characters. `null` clears it.
    #[serde(default, deserialize_with = "empty_if_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, max_length = 128, example = "data-team@example.com")]
    pub owner: Option<String>,
    /// The new tags, which replace all existing tags. `null` removes all tags.
    /// The limits are those of `createServiceAccount`.
    #[serde(default, deserialize_with = "empty_if_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, required = false, example = json!({ "team": "data" }))]
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
            live_identity_count: account
                .identities
                .iter()
                .filter(|identity| identity.ended(now).is_none())
                .count(),
            next_key_expires_at: live().map(|key| key.spec.expires_at).min(),
            created_at: account.created_at,
            created_by: account.created_by.clone(),
            updated_at: account.updated_at,
            updated_by: account.updated_by.clone(),
        }
    }
}

impl ListedServiceAccount {
    /// `account`, whose grants were last used at these times, as a list shows it at `now`.
    pub fn new(account: &Account, last_uses: &HashMap<GrantId, LastUse>, now: Timestamp) -> Self {
        let is_unused = |key: &&LiveKey| {
            let last_used_at = last_uses.get(&key.id.into()).and_then(|last_use| last_use.last_used_at);
            unused_since(key, last_used_at, now).is_some()
        };
        Self {
            account: ServiceAccount::new(account, now),
            last_used_at: last_uses.values().filter_map(|last_use| last_use.last_used_at).max(),
            used_after_end_at: last_uses.values().filter_map(|last_use| last_use.used_after_end_at).max(),
            unused_key_count: account.keys.iter().filter(is_unused).count(),
        }
    }
}

impl ServiceAccountWithKeys {
    /// `account` with its live and `retired` grants, as the API shows it at `now`. `trusted` are
    /// the names of all trusted issuers.
    pub fn new(
        account: &Account,
        retired: store::RetiredGrants,
        trusted: &HashSet<IssuerName>,
        activity: &AccountActivity,
        now: Timestamp,
    ) -> Self {
        let unused = GrantActivity::default();
        let activity_of = |grant: GrantId| activity.grants.get(&grant).unwrap_or(&unused);
        Self {
            account: ServiceAccount::new(account, now),
            keys: account.keys.iter().map(|key| Key::new(key, activity_of(key.id.into()), now)).collect(),
            retired_keys: retired
                .keys
                .into_iter()
                .map(|key| RetiredKey::new(activity_of(key.id.into()), key, now))
                .collect(),
            federated_identities: account
                .identities
                .iter()
                .map(|own| FederatedIdentity::new(own, trusted, activity_of(own.id.into()), now))
                .collect(),
            ended_federated_identities: retired
                .identities
                .into_iter()
                .map(|own| EndedFederatedIdentity::new(activity_of(own.id.into()), own, now))
                .collect(),
            unverified: UnverifiedCounts::new(&activity.unverified, now),
        }
    }
}
