//! The decision whether a request is allowed.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{Permission, Reason, Role, Target};
use crate::domain::{KeySpec, Rotation, named_enum};

/// The source address of a request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Address(IpAddr),
    /// The address is unknown, so only a key without networks can be used.
    Unknown,
    /// Any address that the key permits, for an explanation.
    Permitted,
}

/// Checks that a key can be used at `now` from `source`: the key has not ended, its
/// account is enabled, and its networks include the source.
///
/// # Errors
/// The reason why the key is refused.
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

named_enum! {
    /// The kind of API that a request was sent to. Each kind has an authorizer
    /// function of its own, because API Gateway hands the credential to the backend:
    /// a credential that can manage keys must never reach a business API.
    pub enum Api {
        /// Keyward's own API, below [`RESERVED_PREFIX`](super::RESERVED_PREFIX).
        Iam = "iam",
        /// Any other API. Nothing below the reserved prefix is permitted there.
        Business = "business",
    }
}

impl Api {
    /// The API that serves `target`.
    pub fn serving(target: &Target<'_>) -> Self {
        if target.is_reserved() { Self::Iam } else { Self::Business }
    }
}

/// The rights of a principal.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// An admin with a token of an IAM client, which is valid only at the IAM API.
    IamAdmin,
    /// An admin with a token of an API client, which is valid only at business APIs.
    ApiAdmin,
    /// A valid key whose roles were not read. Only `whoami` is allowed.
    KeyWithoutRoles,
    /// A valid key with its account's role and its own role, if it has one.
    Key {
        /// The account's role.
        role: &'a Role,
        /// The key's own role. Both roles must permit a request.
        key_role: Option<&'a Role>,
    },
}

/// Proof that a request is allowed. Only [`decide`] creates it.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    permission: Option<&'a Permission>,
    key_permission: Option<&'a Permission>,
}

impl<'a> Allowed<'a> {
    /// The permission of the account's role that allowed the request. `None` for an
    /// admin, and for `whoami`.
    pub fn permission(&self) -> Option<&'a Permission> {
        self.permission
    }

    /// The permission of the key's own role that allowed the request, if the key has a
    /// role.
    pub fn key_permission(&self) -> Option<&'a Permission> {
        self.key_permission
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The path or the API is reserved for another kind of credential.
    Reserved,
    /// No permission of the account's role covers the request. Contains the missing
    /// permission.
    Role(Permission),
    /// The account's role covers the request, but the key's own role does not. Contains
    /// the missing permission.
    KeyRole(Permission),
}

impl Refusal {
    /// The narrowest permission that would cover the request, if a role refused it.
    pub fn missing_permission(&self) -> Option<&Permission> {
        match self {
            Self::Reserved => None,
            Self::Role(missing) | Self::KeyRole(missing) => Some(missing),
        }
    }
}

/// Decides whether `grant` permits `target` at this kind of API.
///
/// # Errors
/// The reason why the request is refused.
pub fn decide<'a>(api: Api, grant: Grant<'a>, target: &Target<'_>) -> Result<Allowed<'a>, Refusal> {
    let allowed = |permission, key_permission| Ok(Allowed { permission, key_permission });
    match (api, grant) {
        (Api::Iam, Grant::IamAdmin) if target.is_iam_api() => allowed(None, None),
        (Api::Iam, Grant::KeyWithoutRoles | Grant::Key { .. }) if target.is_whoami() => allowed(None, None),
        (Api::Business, Grant::ApiAdmin) if !target.is_reserved() => allowed(None, None),
        (Api::Business, Grant::Key { role, key_role }) if !target.is_reserved() => {
            let missing = || Permission::for_target(target);
            let permission = role.permission_for(target).ok_or_else(|| Refusal::Role(missing()))?;
            let key_permission = key_role
                .map(|role| role.permission_for(target).ok_or_else(|| Refusal::KeyRole(missing())))
                .transpose()?;
            allowed(Some(permission), key_permission)
        }
        (Api::Iam | Api::Business, _) => Err(Refusal::Reserved),
    }
}
