//! Audit events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, instant};
use crate::domain::{
    AccountId, Actor, ApiName, Event, EventId, EventIdentity, EventKey, EventType, FieldChange, GrantId,
    IssuerName, KeyId, RoleName, Subject,
};
use crate::store::{AllEventsCursor, Page};

/// An audit event: a change and who made it. Events are never changed.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// The id of the event, a ULID. Ids sort by time.
    #[schema(value_type = String, example = "01JDEJ5Z7W4Q5T7Z8N1R2K3M4P")]
    pub id: EventId,
    /// What happened: `serviceAccount.created`, `serviceAccount.updated`,
    /// `serviceAccount.deleted`, `serviceAccount.reviewed`, `key.issued`, `key.rotated`, `key.revoked`,
    /// `federatedIdentity.created`, `federatedIdentity.deleted`, `role.created`, `role.updated`,
    /// `role.deleted`, `issuer.created`, `issuer.updated`, `issuer.deleted`, `api.registered`,
    /// `api.changed` or `api.deleted`.
    #[schema(value_type = String, example = "key.issued")]
    pub r#type: EventType,
    /// When the change was made, to the millisecond.
    #[serde(serialize_with = "instant::milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The admin who made the change.
    pub actor: Actor,
    /// The id of the service account. Absent in events about roles, issuers and APIs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub service_account_id: Option<AccountId>,
    /// The name of the service account at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "nightly-batch")]
    pub service_account_name: Option<String>,
    /// The id of the key, in events about keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "key_9fKd2LmXo5PqZ7aB")]
    pub key_id: Option<KeyId>,
    /// The names and last characters of the keys that the event names: the key and, in a
    /// rotation, its successor. Events that an earlier version recorded do not have
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub keys: Vec<EventKey>,
    /// The federated identity, in events about federated identities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = EventIdentity)]
    pub federated_identity: Option<EventIdentity>,
    /// The name of the trusted issuer, in events about issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "github")]
    pub issuer: Option<IssuerName>,
    /// The name of the custom role, in events about roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "ReportsReader")]
    pub role: Option<RoleName>,
    /// The name of the protected API, in events about APIs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "teams")]
    pub api: Option<ApiName>,
    /// The fields that changed, in updates, rotations and events about roles, issuers and APIs, and
    /// the `decision` and `note` of a review and the rule of a new federated identity, each from
    /// an empty string.
    /// Each permission that a role, or the `include` or `exclude` of an API, gains is a change from
    /// an empty string, and each permission that it loses is a change to an empty string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub changes: Vec<FieldChange>,
    /// The id of the request that made the change. The logs have the same id.
    pub request_id: String,
}

/// A page of the events that match a filter.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundEvents {
    /// The page.
    #[serde(flatten)]
    pub list: List<AuditEvent>,
    /// How far back the events were searched: later pages have only events at or before this
    /// instant. Present if the search stopped before it found a full page. Continue
    /// with `nextCursor`.
    #[serde(
        default,
        serialize_with = "instant::optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(required = false, value_type = String, format = DateTime)]
    pub searched_back_to: Option<Timestamp>,
}

impl FoundEvents {
    /// Converts a page of at most `limit` events.
    pub fn new(page: Page<Event, AllEventsCursor>, limit: i32) -> Self {
        let is_full = usize::try_from(limit).is_ok_and(|limit| page.items.len() >= limit);
        let searched_back_to = page.next.filter(|_| !is_full).map(AllEventsCursor::at);
        Self { list: List::new(page, AuditEvent::from), searched_back_to }
    }
}

impl From<Event> for AuditEvent {
    fn from(event: Event) -> Self {
        let (account, name, grant) = match &event.subject {
            Subject::Account { id, name, grant } => (Some(*id), Some(name.clone()), *grant),
            Subject::Role(_) | Subject::Issuer(_) | Subject::Api(_) => (None, None, None),
        };
        let (role, issuer, api) = match event.subject {
            Subject::Account { .. } => (None, None, None),
            Subject::Role(role) => (Some(role), None, None),
            Subject::Issuer(issuer) => (None, Some(issuer), None),
            Subject::Api(api) => (None, None, Some(api)),
        };
        Self {
            id: event.id,
            r#type: event.event_type,
            at: event.at,
            actor: event.actor,
            service_account_id: account,
            service_account_name: name,
            key_id: grant.and_then(GrantId::key),
            keys: event.keys,
            federated_identity: event.identity,
            issuer,
            role,
            api,
            changes: event.changes,
            request_id: event.request_id,
        }
    }
}
