//! Names of roles. What a role permits is in [`crate::policy`].

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::ids::from_text;

/// The roles that every deployment has. They cannot be redefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuiltInRole {
    /// All operations, but for the reserved `/iam/`.
    Admin,
    /// Every method on organization and team data.
    Writer,
    /// `GET`, `HEAD` and `OPTIONS` on organization and team data.
    Reader,
}

impl BuiltInRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Writer, Self::Reader];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "ServiceAccountAdmin",
            Self::Writer => "ServiceAccountWriter",
            Self::Reader => "ServiceAccountReader",
        }
    }

    /// What it is for, in words.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Admin => "Everything but the reserved /iam",
            Self::Writer => "Any method on organization and team data",
            Self::Reader => "GET, HEAD and OPTIONS on organization and team data",
        }
    }
}

/// A role's name: a letter, then letters, digits, `.`, `_` and `-`, at most 64
/// characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct RoleName(String);

/// Text that is no role's name.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a role's name is a letter and up to 63 letters, digits, dots, underscores and dashes")]
pub struct InvalidRoleName;

impl RoleName {
    /// The most characters it can have.
    pub const MAX_CHARS: usize = 64;

    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> Result<Self, InvalidRoleName> {
        let form = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.len() <= Self::MAX_CHARS
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if form { Ok(Self(text.to_owned())) } else { Err(InvalidRoleName) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The built-in role of this name, if it is one.
    #[must_use]
    pub fn built_in(&self) -> Option<BuiltInRole> {
        BuiltInRole::ALL.into_iter().find(|role| role.name() == self.0)
    }
}

/// The name of a role that admins may register: it is no built-in one's, not
/// even in another case, since people would take the one for the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CustomRoleName(RoleName);

impl CustomRoleName {
    /// Checks that `name` is free for admins to use.
    ///
    /// # Errors
    /// With the built-in role that has this name.
    pub fn new(name: RoleName) -> Result<Self, BuiltInRole> {
        let mut built_in = BuiltInRole::ALL.into_iter();
        match built_in.find(|role| role.name().eq_ignore_ascii_case(&name.0)) {
            Some(role) => Err(role),
            None => Ok(Self(name)),
        }
    }

    /// The name.
    #[must_use]
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
