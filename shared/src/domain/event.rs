//! Audit events: who did what to which account or role, and when.

use jiff::Timestamp;

use super::{AccountId, Actor, EventId, KeyId, RoleName};

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl EventType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in the API and in the table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The type of this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|event| event.name() == name)
            }
        }
    };
}

event_types! {
    /// An account was created.
    ServiceAccountCreated = "serviceAccount.created",
    /// An account was changed: see the event's changes.
    ServiceAccountUpdated = "serviceAccount.updated",
    /// An account was deleted.
    ServiceAccountDeleted = "serviceAccount.deleted",
    /// A key was issued.
    KeyIssued = "key.issued",
    /// A key was rotated: another one replaces it. See the event's changes.
    KeyRotated = "key.rotated",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// A custom role was registered.
    RoleCreated = "role.created",
    /// A custom role was replaced: see the event's changes.
    RoleUpdated = "role.updated",
    /// A custom role was deleted.
    RoleDeleted = "role.deleted",
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An account, or one of its keys.
    Account {
        /// The account.
        id: AccountId,
        /// Its name at that time.
        name: String,
        /// The key, if it is about one.
        key: Option<KeyId>,
    },
    /// A custom role.
    Role(RoleName),
}

/// The change of one field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct FieldChange {
    /// The name of the field in the API.
    #[schema(example = "role")]
    pub field: String,
    /// The previous value. Empty if there was none.
    #[schema(example = "ServiceAccountReader")]
    pub from: String,
    /// The new value. Empty if there is none.
    #[schema(example = "ServiceAccountWriter")]
    pub to: String,
}

impl FieldChange {
    /// The change of `field` from `from` to `to`, if there is one.
    #[must_use]
    pub fn between(field: &str, from: &str, to: Option<&str>) -> Option<Self> {
        to.filter(|to| *to != from).map(|to| Self {
            field: field.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }
}

/// An audit event. It is written in the transaction of the change that it
/// tells of, and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id, which sorts by time.
    pub id: EventId,
    /// What happened.
    pub event_type: EventType,
    /// When, to the millisecond.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// To what.
    pub subject: Subject,
    /// What changed, for an update.
    pub changes: Vec<FieldChange>,
    /// The request that did it.
    pub request_id: String,
}
