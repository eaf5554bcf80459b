//! Audit events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use crate::domain::{AccountId, Actor, Event, EventId, EventType, FieldChange, KeyId, RoleName, Subject};

/// An audit event.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Sorts by time.
    #[schema(value_type = String, example = "01JDEJ5Z7W4Q5T7Z8N1R2K3M4P")]
    pub id: EventId,
    /// What happened.
    #[schema(value_type = String, example = "key.issued")]
    pub r#type: EventType,
    /// When, to the millisecond.
    #[serde(serialize_with = "instant::milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// To which account, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub service_account_id: Option<AccountId>,
    /// The account's name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub service_account_name: Option<String>,
    /// To which key, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub key_id: Option<KeyId>,
    /// To which custom role, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub role: Option<RoleName>,
    /// What changed, for an update or a rotation. For a role each permission that
    /// came (from nothing) or went (to nothing), when it is created or deleted
    /// too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub changes: Vec<FieldChange>,
    /// The request that did it.
    pub request_id: String,
}

impl From<Event> for AuditEvent {
    fn from(event: Event) -> Self {
        let (account, name, key, role) = match event.subject {
            Subject::Account { id, name, key } => (Some(id), Some(name), key, None),
            Subject::Role(role) => (None, None, None, Some(role)),
        };
        Self {
            id: event.id,
            r#type: event.event_type,
            at: event.at,
            actor: event.actor,
            service_account_id: account,
            service_account_name: name,
            key_id: key,
            role,
            changes: event.changes,
            request_id: event.request_id,
        }
    }
}
