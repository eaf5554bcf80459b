//! Role names. Permissions are in [`crate::policy`].

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::ids::from_text;
use super::named_enum;

named_enum! {
    /// The roles that every deployment has. They cannot be redefined.
    #[derive(Hash)]
    pub enum BuiltInRole {
        /// Every method and path outside of the reserved `/iam`.
        Admin = "ServiceAccountAdmin",
        /// Every method on the data paths (`DataPrefixes`).
        Writer = "ServiceAccountWriter",
        /// `GET`, `HEAD` and `OPTIONS` on the data paths (`DataPrefixes`).
        Reader = "ServiceAccountReader",
    }
}

impl BuiltInRole {
    /// The role's description in the API.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Admin => "Any method on any path except below /iam",
            Self::Writer => "Any method on the data paths of this deployment",
            Self::Reader => "GET, HEAD and OPTIONS on the data paths of this deployment",
        }
    }
}

/// A role's name: a letter, then letters, digits, `.`, `_` and `-`, at most 64
/// characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct RoleName(String);

/// Text that is not a valid role name.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must start with a letter, followed by up to 63 letters, digits, dots, underscores and hyphens")]
pub struct InvalidRoleName;

impl RoleName {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a valid name.
    pub fn parse(text: &str) -> Result<Self, InvalidRoleName> {
        let is_valid = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.len() <= Self::MAX_CHARS
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidRoleName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an owned text.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The built-in role with this name, if there is one.
    pub fn built_in(&self) -> Option<BuiltInRole> {
        BuiltInRole::parse(&self.0)
    }
}

/// The name of a custom role. It differs from every built-in role's name, ignoring case,
/// so that people cannot confuse the roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CustomRoleName(RoleName);

impl CustomRoleName {
    /// Checks that `name` is not the name of a built-in role.
    ///
    /// # Errors
    /// A built-in role has this name. Returns that role.
    pub fn new(name: RoleName) -> Result<Self, BuiltInRole> {
        let mut built_in = BuiltInRole::ALL.into_iter();
        match built_in.find(|role| role.name().eq_ignore_ascii_case(&name.0)) {
            Some(role) => Err(role),
            None => Ok(Self(name)),
        }
    }

    /// The name.
    pub fn name(&self) -> &RoleName {
        &self.0
    }
}

impl std::str::FromStr for RoleName {
    type Err = InvalidRoleName;

    fn from_str(text: &str) -> Result<Self, InvalidRoleName> {
        Self::parse(text)
    }
}

impl From<BuiltInRole> for RoleName {
    fn from(role: BuiltInRole) -> Self {
        Self(role.name().to_owned())
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RoleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}
