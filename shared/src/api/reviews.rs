//! Access reviews.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use super::{ListedServiceAccount, Observation};
use crate::domain::{self, Account, Actor, ReviewDecision, ReviewId};

/// Days within which a key expires that is counted as expiring.
const EXPIRING_DAYS: i64 = 30;

/// The answer of an access review.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReviewServiceAccountRequest {
    /// Whether the account still needs its access: `keep`, `narrow` (less) or `revoke`
    /// (none). The answer changes nothing else: narrow or revoke the access with the other
    /// operations.
    #[schema(example = "keep")]
    pub decision: String,
    /// The reason for the answer: at most 256 characters.
    #[serde(default)]
    #[schema(max_length = 256, example = "Still used by the billing team", default = "")]
    pub note: String,
}

/// An access review: an admin's answer on whether a service account still needs its access.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// The id of the review.
    #[schema(value_type = String, example = "rev_7mNq2VxLb4TzK9dE")]
    pub id: ReviewId,
    /// When the admin answered, to the millisecond.
    #[serde(serialize_with = "instant::milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The admin who answered.
    pub by: Actor,
    /// The answer: `keep`, `narrow` or `revoke`.
    #[schema(value_type = String, example = "keep")]
    pub decision: ReviewDecision,
    /// The reason for the answer. Can be empty.
    #[schema(example = "Still used by the billing team")]
    pub note: String,
}

/// A service account in the access review.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReviewedServiceAccount {
    /// The service account.
    #[serde(flatten)]
    pub listed: ListedServiceAccount,
    /// The number of live keys that expire within 30 days.
    pub expiring_key_count: usize,
    /// The number of live federated identities that expire within 30 days.
    pub expiring_identity_count: usize,
    /// The number of permissions of the account's role. Absent if the role was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = usize, example = 12)]
    pub permission_count: Option<usize>,
    /// The number of permissions that were not needed by any route that the account's keys
    /// used in the last 90 days. Absent if the recorded routes do not show which permissions
    /// were used. `getRoleUsage` says why, and names the permissions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = usize, example = 9)]
    pub unused_permission_count: Option<usize>,
    /// The most recent review. Absent if there was none in the last 400 days. The audit events
    /// of the account contain all reviews.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Review)]
    pub last_review: Option<Review>,
}

impl From<domain::Review> for Review {
    fn from(review: domain::Review) -> Self {
        let domain::Review { id, at, by, decision, note } = review;
        Self { id, at, by, decision, note: note.to_string() }
    }
}

impl ReviewedServiceAccount {
    /// An account with its latest review and the observed use of its role.
    pub fn new(review: Option<domain::Review>, observation: &Observation<'_>) -> Self {
        let Observation { account, role, last_uses, now, .. } = *observation;
        Self {
            listed: ListedServiceAccount::new(account, last_uses, now),
            expiring_key_count: expiring_keys(account, now),
            expiring_identity_count: expiring_identities(account, now),
            permission_count: role.map(|role| role.permissions.len()),
            unused_permission_count: observation.unused_permissions(),
            last_review: review.map(Review::from),
        }
    }
}

/// The number of live keys that expire soon.
fn expiring_keys(account: &Account, now: Timestamp) -> usize {
    let is_expiring = |key: &&domain::LiveKey| key.ended(now).is_none() && is_soon(key.spec.expires_at, now);
    account.keys.iter().filter(is_expiring).count()
}

/// The number of live federated identities that expire soon.
fn expiring_identities(account: &Account, now: Timestamp) -> usize {
    let is_expiring = |identity: &&domain::FederatedIdentity| {
        identity.ended(now).is_none() && identity.spec.expires_at.is_some_and(|at| is_soon(at, now))
    };
    account.identities.iter().filter(is_expiring).count()
}

fn is_soon(at: Timestamp, now: Timestamp) -> bool {
    at.duration_since(now) <= jiff::SignedDuration::from_hours(24 * EXPIRING_DAYS)
}
