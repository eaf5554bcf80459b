//! The decision.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{Permission, Reason, Role, Target};
use crate::domain::{KeySpec, Rotation};

/// Where a request with a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this address.
    Address(IpAddr),
    /// From nowhere that we know of: only a key without networks may be used.
    Unknown,
    /// From somewhere that the key may be used from, for the sake of argument.
    Permitted,
}

/// Whether a key may be used at all, rotated or not: at `now`, from `source`, by an account that
/// is enabled or not.
///
/// # Errors
/// Why not.
pub fn check_use(
    spec: &KeySpec,
    rotation: Option<&Rotation>,
    enabled: bool,
    now: Timestamp,
    source: Source,
) -> Result<(), Reason> {
    if let Some(over) = spec.over(rotation, now) {
        return Err(over.reason.into());
    }
    if !enabled {
        return Err(Reason::Disabled);
    }
    let is_permitted = match source {
        Source::Address(address) => spec.cidrs.permit(Some(address)),
        Source::Unknown => spec.cidrs.permit(None),
        Source::Permitted => true,
    };
    if is_permitted { Ok(()) } else { Err(Reason::Network) }
}

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
    key_permission: Option<&'a Permission>,
}

impl<'a> Allowed<'a> {
    /// The account role's permission that decided, for a key's request to
    /// anything but `whoami`.
    #[must_use]
    pub fn permission(&self) -> Option<&'a Permission> {
        self.permission
    }

    /// The key's own role's permission that decided too, if it has such a role.
    #[must_use]
    pub fn key_permission(&self) -> Option<&'a Permission> {
        self.key_permission
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
    let allowed = |permission, key_permission| Ok(Allowed { permission, key_permission });
    match grant {
        Grant::IamAdmin if target.is_iam_api() => allowed(None, None),
        Grant::ApiAdmin if !target.is_reserved() => allowed(None, None),
        Grant::Key { .. } if target.is_whoami() => allowed(None, None),
        Grant::Key { role, key_role } if !target.is_reserved() => {
            let permission = role.permission_for(target).ok_or(Refusal::Role)?;
            let key_permission =
                key_role.map(|role| role.permission_for(target).ok_or(Refusal::KeyRole)).transpose()?;
            allowed(Some(permission), key_permission)
        }
        Grant::IamAdmin | Grant::ApiAdmin | Grant::Key { .. } => Err(Refusal::Reserved),
    }
}
