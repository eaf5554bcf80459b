//! The results of a search.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::attention::{IdentitySummary, KeySummary};
use super::federated_identities::IdentityState;
use super::instant;
use super::keys::KeyState;
use crate::domain::{AccountId, RoleName, named_enum};

named_enum! {
    /// A field that contains the searched text.
    pub enum MatchedField {
        Id = "id",
        Name = "name",
        Owner = "owner",
        /// The name of a tag, its value, or both with `=` between them.
        Tags = "tags",
        /// The last four characters of a key.
        Hint = "hint",
    }
}

/// The service accounts, keys and federated identities that a search found.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchResults {
    /// The service accounts with the text in their own fields.
    #[schema(max_items = 50)]
    pub accounts: Vec<FoundAccount>,
    /// The keys with the text in their own fields. Their service accounts are not in
    /// `accounts`, unless they match too.
    #[schema(max_items = 50)]
    pub keys: Vec<FoundKey>,
    /// The federated identities with the text in their own fields, like `keys`.
    #[schema(max_items = 50)]
    pub federated_identities: Vec<FoundIdentity>,
    /// The number of service accounts that this response searched.
    #[schema(example = 312)]
    pub searched_accounts: usize,
    /// The `cursor` with which the search continues. Absent if everything was searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    pub next_cursor: Option<String>,
}

/// A service account that matches a search.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundAccount {
    /// The id of the service account.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub id: AccountId,
    /// The name of the service account.
    #[schema(example = "nightly-batch")]
    pub name: String,
    /// The team or person responsible for the account. Empty if the account was deleted.
    #[schema(example = "data-team@example.com")]
    pub owner: String,
    /// The name of the account's role. Absent if the account was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "ServiceAccountReader")]
    pub role: Option<RoleName>,
    /// Whether the account is enabled. `false` if the account was deleted.
    pub enabled: bool,
    /// When the account was deleted, if it was.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub deleted_at: Option<Timestamp>,
    /// The fields that contain the text: `id`, `name`, `owner` or `tags`.
    #[schema(value_type = Vec<String>, example = json!(["name"]))]
    pub matched: Vec<MatchedField>,
}

/// A key that matches a search.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundKey {
    /// The key.
    #[serde(flatten)]
    pub key: KeySummary,
    /// The state of the key.
    pub state: KeyState,
    /// The service account.
    pub account: FoundKeyAccount,
    /// The fields that contain the text: `id`, `name` or `hint`.
    #[schema(value_type = Vec<String>, example = json!(["hint"]))]
    pub matched: Vec<MatchedField>,
}

/// A federated identity that matches a search.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundIdentity {
    /// The federated identity.
    #[serde(flatten)]
    pub identity: IdentitySummary,
    /// The state of the identity: `active`, `expired` or `deleted`. Whether its issuer is still
    /// trusted is not checked.
    #[schema(value_type = String, example = "active")]
    pub state: IdentityState,
    /// The service account.
    pub account: FoundKeyAccount,
    /// The fields that contain the text: `id` or `name`.
    #[schema(value_type = Vec<String>, example = json!(["name"]))]
    pub matched: Vec<MatchedField>,
}

/// The service account of a key or federated identity that matches a search.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundKeyAccount {
    /// The id of the service account.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub id: AccountId,
    /// The name of the account, even if the account was deleted.
    #[schema(example = "nightly-batch")]
    pub name: String,
}
