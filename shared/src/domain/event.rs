//! Audit events: which admin changed which account or role, and when.

use jiff::Timestamp;

use super::{
    AccountId, Actor, ApiName, EventId, FederatedIdentity, GrantId, IdentityId, IssuerName, KeyId, LiveKey,
    RoleName, named_enum,
};

named_enum! {
    /// The type of an audit event.
    pub enum EventType {
        ServiceAccountCreated = "serviceAccount.created",
        ServiceAccountUpdated = "serviceAccount.updated",
        ServiceAccountDeleted = "serviceAccount.deleted",
        /// An admin answered whether the account still needs its access. The event's changes
        /// have the answer.
        ServiceAccountReviewed = "serviceAccount.reviewed",
        KeyIssued = "key.issued",
        /// A successor replaced the key. The event's changes name the successor.
        KeyRotated = "key.rotated",
        KeyRevoked = "key.revoked",
        FederatedIdentityCreated = "federatedIdentity.created",
        FederatedIdentityDeleted = "federatedIdentity.deleted",
        RoleCreated = "role.created",
        RoleUpdated = "role.updated",
        RoleDeleted = "role.deleted",
        IssuerCreated = "issuer.created",
        IssuerUpdated = "issuer.updated",
        IssuerDeleted = "issuer.deleted",
        ApiRegistered = "api.registered",
        ApiChanged = "api.changed",
        ApiDeleted = "api.deleted",
    }
}

impl EventType {
    /// Whether events of this type are about an account or one of its grants.
    pub fn is_about_account(self) -> bool {
        match self {
            Self::ServiceAccountCreated
            | Self::ServiceAccountUpdated
            | Self::ServiceAccountDeleted
            | Self::ServiceAccountReviewed
            | Self::KeyIssued
            | Self::KeyRotated
            | Self::KeyRevoked
            | Self::FederatedIdentityCreated
            | Self::FederatedIdentityDeleted => true,
            Self::RoleCreated
            | Self::RoleUpdated
            | Self::RoleDeleted
            | Self::IssuerCreated
            | Self::IssuerUpdated
            | Self::IssuerDeleted
            | Self::ApiRegistered
            | Self::ApiChanged
            | Self::ApiDeleted => false,
        }
    }
}

/// The subject of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An account, or one of its grants.
    Account {
        id: AccountId,
        /// The account's name at that time.
        name: String,
        /// The key or federated identity, in events about one.
        grant: Option<GrantId>,
    },
    /// A custom role.
    Role(RoleName),
    /// A trusted issuer.
    Issuer(IssuerName),
    /// A protected API.
    Api(ApiName),
}

/// A key that an event names. Events that were recorded by earlier versions do not contain it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct EventKey {
    /// The id of the key.
    #[schema(value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub id: KeyId,
    /// The name of the key.
    #[schema(example = "batch server 1")]
    pub name: String,
    /// The last four characters of the whole key.
    #[schema(example = "x7Qz")]
    pub hint: String,
}

impl From<&LiveKey> for EventKey {
    fn from(key: &LiveKey) -> Self {
        Self { id: key.id, name: key.name.to_string(), hint: key.hint.clone() }
    }
}

/// A federated identity that an event names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct EventIdentity {
    /// The id of the federated identity.
    #[schema(value_type = String, example = "fid_5tGh8JkLp2WqZ9xC")]
    pub id: IdentityId,
    /// The name of the federated identity.
    #[schema(example = "deploy workflow")]
    pub name: String,
}

impl From<&FederatedIdentity> for EventIdentity {
    fn from(identity: &FederatedIdentity) -> Self {
        Self { id: identity.id, name: identity.name.to_string() }
    }
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
    /// The change of `field` from `from` to `to`. `None` if `to` is absent or equals
    /// `from`.
    pub fn between<T: PartialEq + ToString + ?Sized>(field: &str, from: &T, to: Option<&T>) -> Option<Self> {
        to.filter(|to| *to != from).map(|to| Self {
            field: field.to_owned(),
            from: from.to_string(),
            to: to.to_string(),
        })
    }
}

/// An audit event. It is written in the same transaction as the change that it
/// describes, and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id. Ids sort by time.
    pub id: EventId,
    pub event_type: EventType,
    /// When the change was made, to the millisecond.
    pub at: Timestamp,
    /// The admin who made the change.
    pub actor: Actor,
    pub subject: Subject,
    /// The keys that the event names: the key of the subject and its successor.
    pub keys: Vec<EventKey>,
    /// The federated identity of the subject.
    pub identity: Option<EventIdentity>,
    /// The changed fields.
    pub changes: Vec<FieldChange>,
    /// The id of the request that made the change.
    pub request_id: String,
}
