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
    if let Some(end) = spec.ended(rotation, now) {
        return Err(end.reason.into());
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

/// The kind of API that a request was sent to. Each kind has an authorizer
/// function of its own, because API Gateway hands the credential to the backend:
/// a credential that can manage keys must never reach a business API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Keyward's own API, below [`RESERVED_PREFIX`](super::RESERVED_PREFIX).
    Iam,
    /// Any other API. Nothing below the reserved prefix is permitted there.
    Business,
}

impl Api {
    /// Its name in the configuration and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Business => "business",
        }
    }

    /// The API of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Iam, Self::Business].into_iter().find(|api| api.name() == name)
    }

    /// The API that serves `target`.
    #[must_use]
    pub fn serving(target: &Target<'_>) -> Self {
        if target.is_reserved() { Self::Iam } else { Self::Business }
    }
}

/// What a principal may do, as far as it is known when the decision is made.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// An admin user, by a token of an IAM client: the IAM API and nothing else.
    IamAdmin,
    /// An admin user, by a token of an API client: business APIs and nothing else.
    ApiAdmin,
    /// A valid key whose roles were not read: `whoami` and nothing else.
    KeyWithoutRoles,
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
    /// The permission of the account's role that decided. `None` for an admin
    /// user, and for `whoami`.
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
    /// The path or the API is reserved for another kind of credential.
    Reserved,
    /// No permission of the account's role covers it.
    Role,
    /// The account's role does, and no permission of the key's own role.
    KeyRole,
}

/// Whether `grant` permits `target` at an API of this kind.
///
/// # Errors
/// Why not.
pub fn decide<'a>(api: Api, grant: Grant<'a>, target: &Target<'_>) -> Result<Allowed<'a>, Refusal> {
    let allowed = |permission, key_permission| Ok(Allowed { permission, key_permission });
    match (api, grant) {
        (Api::Iam, Grant::IamAdmin) if target.is_iam_api() => allowed(None, None),
        (Api::Iam, Grant::KeyWithoutRoles | Grant::Key { .. }) if target.is_whoami() => allowed(None, None),
        (Api::Business, Grant::ApiAdmin) if !target.is_reserved() => allowed(None, None),
        (Api::Business, Grant::Key { role, key_role }) if !target.is_reserved() => {
            let permission = role.permission_for(target).ok_or(Refusal::Role)?;
            let key_permission =
                key_role.map(|role| role.permission_for(target).ok_or(Refusal::KeyRole)).transpose()?;
            allowed(Some(permission), key_permission)
        }
        (Api::Iam | Api::Business, _) => Err(Refusal::Reserved),
    }
}
