//! What needs an admin's attention.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use crate::domain::{AccountId, IdentityId, KeyId, RetiredReason, named_enum};

named_enum! {
    /// Why a key or an account needs attention.
    pub enum AttentionReason {
        /// A key was used after its end.
        UsedAfterEnd = "usedAfterEnd",
        /// A key or federated identity expires soon.
        Expiring = "expiring",
        /// A key has not been used for 90 days.
        Unused = "unused",
        /// An account is disabled.
        Disabled = "disabled",
    }
}

named_enum! {
    /// Why a key ended.
    pub enum EndReason {
        /// An admin revoked the key.
        Revoked = "revoked",
        Expired = "expired",
        /// The key was rotated, and its grace period has ended.
        Rotated = "rotated",
        /// The key ended with its account.
        AccountDeleted = "accountDeleted",
    }
}

impl From<RetiredReason> for EndReason {
    fn from(reason: RetiredReason) -> Self {
        match reason {
            RetiredReason::Revoked => Self::Revoked,
            RetiredReason::Expired => Self::Expired,
            RetiredReason::Rotated => Self::Rotated,
        }
    }
}

/// The keys and service accounts that need attention.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// The number of keys and service accounts in the whole deployment, whatever the
    /// filters of the request.
    pub counts: AttentionCounts,
    /// When the daily sweep that counted unused keys ended. Absent if no sweep was
    /// completed in the last three days: then no key is listed as unused.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub unused_counted_at: Option<Timestamp>,
    /// What needs attention. A page can have fewer items than `limit`, or none, and
    /// still have a `nextCursor`.
    #[schema(max_items = 100)]
    pub items: Vec<AttentionItem>,
    /// The `cursor` of the next page. Absent on the last page, and without `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    pub next_cursor: Option<String>,
}

/// The number of keys and service accounts that need attention, by reason. The numbers of
/// expiring keys, of keys used after their end and of disabled accounts can be a few
/// moments old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttentionCounts {
    /// The keys that were used after their end in the last 30 days. All these requests
    /// were refused. Further uses of the same key can take up to an hour to count.
    pub used_after_end: MinimumCount,
    /// The keys and federated identities that expire within 7 days. Rotated keys, and the
    /// keys and identities of disabled service accounts, do not count.
    pub expiring_in_7_days: MinimumCount,
    /// The keys and federated identities that expire within 30 days, including those that
    /// expire within 7 days.
    pub expiring_in_30_days: MinimumCount,
    /// The live keys that had not been used for 90 days when the last daily sweep counted
    /// them: see `unusedCountedAt`.
    pub unused: MinimumCount,
    /// The disabled service accounts.
    pub disabled_accounts: MinimumCount,
}

/// A number that can be incomplete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MinimumCount {
    /// The number of keys or service accounts.
    #[schema(example = 12)]
    pub count: usize,
    /// Whether the true number may be higher. Each number comes from one query of at most
    /// 1 MB, so a deployment with thousands of such keys gets a minimum.
    pub is_minimum: bool,
}

/// A key, a federated identity or, for the reason `disabled`, a service account that needs
/// attention.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttentionItem {
    /// Why the key or service account needs attention: `usedAfterEnd`, `expiring`,
    /// `unused` or `disabled`.
    #[schema(value_type = String, example = "expiring")]
    pub reason: AttentionReason,
    /// The service account.
    pub account: AccountSummary,
    /// The key, if the item is about a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = KeySummary)]
    pub key: Option<KeySummary>,
    /// The federated identity, if the item is about one. Only for the reason `expiring`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = IdentitySummary)]
    pub identity: Option<IdentitySummary>,
    /// When the key was last used after its end, when the key or identity expires, or since
    /// when the key has counted as unused. Absent for the reason `disabled`.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub at: Option<Timestamp>,
    /// When a request with the key or identity was last allowed. The true time can be later, but
    /// never earlier. Absent if no request was allowed.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub last_used_at: Option<Timestamp>,
    /// Why the key had ended when it was used: `revoked`, `expired`, `rotated` or
    /// `accountDeleted`. Only for the reason `usedAfterEnd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "revoked")]
    pub end_reason: Option<EndReason>,
}

/// The service account that an item is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountSummary {
    /// The id of the service account.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub id: AccountId,
    /// The name of the service account.
    #[schema(example = "nightly-batch")]
    pub name: String,
    /// The team or person responsible for the account. Empty if the account was deleted.
    #[schema(example = "data-team@example.com")]
    pub owner: String,
    /// Whether the account is enabled. `false` if the account was deleted.
    pub enabled: bool,
    /// When the account was deleted, if it was.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub deleted_at: Option<Timestamp>,
}

/// The key that an item is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySummary {
    /// The id of the key.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// The name of the key. Absent for some keys that were revoked directly in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "batch server 1")]
    pub name: Option<String>,
    /// The last four characters of the whole key. Absent for some keys that were revoked
    /// directly in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "x7Qz")]
    pub hint: Option<String>,
}

/// The federated identity that an item is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySummary {
    /// The id of the federated identity.
    #[schema(value_type = String, example = "fid_5tGh8JkLp2WqZ9xC")]
    pub id: IdentityId,
    /// The name of the identity.
    #[schema(example = "deploy workflow")]
    pub name: String,
}
