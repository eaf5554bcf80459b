//! The decision.

use super::{Permission, Role, Target};

/// What a principal may do, as far as it is known when the decision is made.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// An admin user, by a token of the IAM client: the IAM API and nothing else.
    IamAdmin,
    /// An admin user, by a token of an API client: everything but the IAM API.
    ApiAdmin,
    /// A key: its account's role, and its own if it has one.
    Key {
        /// The account's role.
        role: &'a Role,
        /// The key's own role. Both must permit.
        key_role: Option<&'a Role>,
    },
}

/// That a principal may do what it asked for. [`decide`] alone makes one.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    permission: Option<&'a Permission>,
}

impl<'a> Allowed<'a> {
    /// The account role's permission that decided, for a key's request to
    /// anything but `whoami`.
    #[must_use]
    pub fn permission(&self) -> Option<&'a Permission> {
        self.permission
    }
}

/// Why a principal may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The path is reserved for another kind of credential.
    Reserved,
    /// No permission of the account's role covers it.
    Role,
    /// The account's role does, and no permission of the key's own role.
    KeyRole,
}

/// Whether `grant` permits `target`.
///
/// # Errors
/// Why not.
pub fn decide<'a>(grant: Grant<'a>, target: &Target<'_>) -> Result<Allowed<'a>, Refusal> {
    let allowed = |permission| Ok(Allowed { permission });
    match grant {
        Grant::IamAdmin if target.is_iam_api() => allowed(None),
        Grant::ApiAdmin if !target.is_reserved() => allowed(None),
        Grant::Key { .. } if target.is_whoami() => allowed(None),
        Grant::Key { role, key_role } if !target.is_reserved() => {
            let permission = role.permission_for(target).ok_or(Refusal::Role)?;
            if key_role.is_some_and(|role| role.permission_for(target).is_none()) {
                return Err(Refusal::KeyRole);
            }
            allowed(Some(permission))
        }
        Grant::IamAdmin | Grant::ApiAdmin | Grant::Key { .. } => Err(Refusal::Reserved),
    }
}
