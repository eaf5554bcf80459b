//! The caller of a request, as the authorizer determined it.

use jiff::Timestamp;

use super::{AccountId, Environment, FoldedName, GrantId, InvalidText, RoleName, TokenId, named_enum};

/// The names of the values in the authorizer's context. The authorizer writes the
/// context. Functions and business APIs can read it.
pub mod context {
    pub const PRINCIPAL_TYPE: &str = "principalType";
    pub const PRINCIPAL_ID: &str = "principalId";
    pub const PRINCIPAL_NAME: &str = "principalName";
    /// The id of the key that the request was made with, or that its token was made from.
    pub const KEY_ID: &str = "keyId";
    /// The id of the federated identity that the token was made from.
    pub const IDENTITY_ID: &str = "identityId";
    /// The id of the token.
    pub const TOKEN_ID: &str = "tokenId";
    /// When the token expires.
    pub const TOKEN_EXPIRES_AT: &str = "tokenExpiresAt";
    /// The ids of the tokens that the token was made from, oldest first, separated by spaces.
    pub const ACTORS: &str = "actors";
    pub const ROLE: &str = "role";
    /// The own role of the key or federated identity.
    pub const KEY_ROLE: &str = "keyRole";
    /// The names of the roles that narrow the token, separated by spaces.
    pub const TOKEN_ROLES: &str = "tokenRoles";
    pub const ENVIRONMENT: &str = "environment";
    /// The reason for a refusal. Only a refusal of a valid credential to a REST API has a
    /// context.
    /// That context contains only this value and [`MISSING_PERMISSION`].
    pub const REASON: &str = "reason";
    /// The narrowest permission that would cover a refused request.
    pub const MISSING_PERMISSION: &str = "missingPermission";
}

named_enum! {
    /// The two kinds of principal.
    pub enum PrincipalType {
        /// A program with a key or token.
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

/// A program that authenticated with a key or token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountCaller {
    pub account: AccountId,
    pub account_name: String,
    /// The key, or the grant that the token was made from.
    pub grant: GrantId,
    /// The account's role.
    pub role: RoleName,
    /// The own role of the key or federated identity, if it has one.
    pub grant_role: Option<RoleName>,
    /// The token. `None` if the program authenticated with a key.
    pub token: Option<TokenCaller>,
    /// The environment of the key or token.
    pub environment: Environment,
}

/// The token with which a program authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCaller {
    pub id: TokenId,
    /// The first second in which the token is refused.
    pub expires_at: Timestamp,
    /// The roles that narrow the token.
    pub roles: Vec<RoleName>,
    /// The tokens that the token was made from, oldest first.
    pub parents: Vec<TokenId>,
}

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Admin(Actor),
    ServiceAccount(ServiceAccountCaller),
}
