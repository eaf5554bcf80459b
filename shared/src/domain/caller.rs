//! The caller of a request, as the authorizer determined it.

use super::{AccountId, Environment, FoldedName, InvalidText, KeyId, RoleName, named_enum};

/// The names of the values in the authorizer's context. The authorizer writes the
/// context. Functions and business APIs can read it.
pub mod context {
    pub const PRINCIPAL_TYPE: &str = "principalType";
    pub const PRINCIPAL_ID: &str = "principalId";
    pub const PRINCIPAL_NAME: &str = "principalName";
    pub const KEY_ID: &str = "keyId";
    pub const ROLE: &str = "role";
    pub const KEY_ROLE: &str = "keyRole";
    pub const ENVIRONMENT: &str = "environment";
    /// The reason for a refusal. Only a refusal of a valid key to a REST API has a context.
    /// That context contains only this value and [`MISSING_PERMISSION`].
    pub const REASON: &str = "reason";
    /// The narrowest permission that would cover a refused request.
    pub const MISSING_PERMISSION: &str = "missingPermission";
}

named_enum! {
    /// The two kinds of principal.
    pub enum PrincipalType {
        /// A program with a key.
        ServiceAccount = "serviceAccount",
        /// A member of the admin group.
        Admin = "admin",
    }
}

/// An admin who made a change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Actor {
    /// The `sub` claim of the admin's token.
    #[schema(example = "5f0c9a52-3061-70d5-9e0a-2f6b6a7c1d84")]
    pub id: String,
    /// The `email` claim of the token, or its `username` if there is no email,
    /// or its `sub`.
    #[schema(example = "admin@example.com")]
    pub name: String,
}

/// Part of the id or name of an admin, to search for the admin's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorSearch(FoldedName);

impl ActorSearch {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 256;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is empty or too long.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let folded = FoldedName::new(text);
        match folded.as_str().chars().count() {
            0 => Err(InvalidText::Empty),
            1..=Self::MAX_CHARS => Ok(Self(folded)),
            _ => Err(InvalidText::TooLong(Self::MAX_CHARS)),
        }
    }

    /// Whether the id or the name of `actor` contains the text, ignoring case.
    pub fn finds(&self, actor: &Actor) -> bool {
        let parts = [&actor.id, &actor.name].map(|part| FoldedName::new(part));
        parts.iter().any(|part| part.as_str().contains(self.0.as_str()))
    }
}

/// A program that authenticated with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCaller {
    pub account: AccountId,
    pub account_name: String,
    pub key: KeyId,
    /// The account's role.
    pub role: RoleName,
    /// The key's own role, if it has one.
    pub key_role: Option<RoleName>,
    /// The environment of the key.
    pub environment: Environment,
}

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Admin(Actor),
    Key(KeyCaller),
}
