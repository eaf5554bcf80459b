//! The decision whether a request is allowed.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Permission, Reason, Role, Target};
use crate::domain::{KeySpec, Rotation, named_enum};

/// The source address of a request with a credential of a service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Address(IpAddr),
    /// The address is unknown, so only a key without networks can be used.
    Unknown,
    /// Any address that the key permits: in an explanation, and for a request token, whose
    /// source was checked when the token was made.
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
    check_enabled(enabled)?;
    let is_permitted = match source {
        Source::Address(address) => spec.cidrs.permit(Some(address)),
        Source::Unknown => spec.cidrs.permit(None),
        Source::Permitted => true,
    };
    if is_permitted { Ok(()) } else { Err(Reason::Network) }
}

/// Checks that a federated identity can be used at `now`: the identity has not expired, and
/// its account is enabled. An identity has no networks.
///
/// # Errors
/// The reason why the identity is refused.
pub fn check_identity_use(
    expires_at: Option<Timestamp>,
    enabled: bool,
    now: Timestamp,
) -> Result<(), Reason> {
    if expires_at.is_some_and(|at| now.as_second() >= at.as_second()) {
        return Err(Reason::Expired);
    }
    check_enabled(enabled)
}

fn check_enabled(enabled: bool) -> Result<(), Reason> {
    if enabled { Ok(()) } else { Err(Reason::Disabled) }
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

/// The roles that must all permit a request with a credential of a service account.
#[derive(Clone, Copy, Debug)]
pub struct GrantRoles<'a> {
    /// The account's role.
    pub account: &'a Role,
    /// The own role of the key or federated identity, if it has one.
    pub grant: Option<&'a Role>,
    /// The roles that narrow the token. Empty for a key.
    pub token: &'a [Arc<Role>],
}

impl<'a> GrantRoles<'a> {
    /// Only the account's role.
    pub fn new(account: &'a Role) -> Self {
        Self { account, grant: None, token: &[] }
    }
}

/// The rights of a principal.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// An admin with a token of an IAM client, which is valid only at the IAM API.
    IamAdmin,
    /// An admin with a token of an API client, which is valid only at business APIs.
    ApiAdmin,
    /// A valid credential of a service account whose roles were not read. Only `whoami` is
    /// allowed.
    ServiceAccountWithoutRoles,
    /// A valid credential of a service account.
    ServiceAccount(GrantRoles<'a>),
}

/// Proof that a request is allowed. Only [`decide`] creates it.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    permission: Option<&'a Permission>,
    grant_permission: Option<&'a Permission>,
}

impl<'a> Allowed<'a> {
    /// The permission of the account's role that allowed the request. `None` for an
    /// admin, and for `whoami`.
    pub fn permission(&self) -> Option<&'a Permission> {
        self.permission
    }

    /// The permission of the grant's own role that allowed the request, if the grant has a
    /// role.
    pub fn grant_permission(&self) -> Option<&'a Permission> {
        self.grant_permission
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
    /// The account's role covers the request, but the own role of the key or federated
    /// identity does not. Contains the missing permission.
    GrantRole(Permission),
    /// The roles of the account and the grant cover the request, but a role that narrows the
    /// token does not. Contains the missing permission.
    TokenRole(Permission),
}

impl Refusal {
    /// The narrowest permission that would cover the request, if a role refused it.
    pub fn missing_permission(&self) -> Option<&Permission> {
        match self {
            Self::Reserved => None,
            Self::Role(missing) | Self::GrantRole(missing) | Self::TokenRole(missing) => Some(missing),
        }
    }
}

/// Decides whether `grant` permits `target` at this kind of API.
///
/// # Errors
/// The reason why the request is refused.
pub fn decide<'a>(api: Api, grant: Grant<'a>, target: &Target<'_>) -> Result<Allowed<'a>, Refusal> {
    let without_permission = Allowed { permission: None, grant_permission: None };
    match (api, grant) {
        (Api::Iam, Grant::IamAdmin) if target.is_iam_api() => Ok(without_permission),
        (Api::Iam, Grant::ServiceAccountWithoutRoles | Grant::ServiceAccount(_)) if target.is_whoami() => {
            Ok(without_permission)
        }
        (Api::Business, Grant::ApiAdmin) if !target.is_reserved() => Ok(without_permission),
        (Api::Business, Grant::ServiceAccount(roles)) if !target.is_reserved() => permit(roles, target),
        (Api::Iam | Api::Business, _) => Err(Refusal::Reserved),
    }
}

/// Checks that each role has a permission that covers `target`.
fn permit<'a>(roles: GrantRoles<'a>, target: &Target<'_>) -> Result<Allowed<'a>, Refusal> {
    let find = |role: &'a Role, refusal: fn(Permission) -> Refusal| {
        role.permission_for(target).ok_or_else(|| refusal(Permission::for_target(target)))
    };
    let permission = find(roles.account, Refusal::Role)?;
    let grant_permission = roles.grant.map(|role| find(role, Refusal::GrantRole)).transpose()?;
    for role in roles.token {
        find(role, Refusal::TokenRole)?;
    }
    Ok(Allowed { permission: Some(permission), grant_permission })
}

/// Whether a request exists that `wanted` covers and that all of `roles` permit together at a
/// business API. Without roles, no request is permitted.
///
/// It is not enough that each role overlaps with `wanted`: `GET /teams/{id}` cannot be permitted
/// by a role with `GET /teams/1` and another role with `GET /teams/2`.
#[must_use]
pub fn can_permit(roles: &[&Role], wanted: &Permission) -> bool {
    !roles.is_empty() && permit_any(roles, wanted)
}

/// Like [`can_permit`], but without roles, every request that a role could permit is permitted.
fn permit_any(roles: &[&Role], wanted: &Permission) -> bool {
    let Some((role, others)) = roles.split_first() else {
        return wanted.check_reachable().is_ok();
    };
    // Without these two checks, finding that only the last role refuses could take as many steps as
    // the product of the numbers of permissions of all roles.
    if !roles.iter().all(|role| role.permissions.iter().any(|permission| permission.overlaps(wanted))) {
        return false;
    }
    if role.permissions.iter().any(|permission| permission.covers_all_of(wanted)) {
        return permit_any(others, wanted);
    }
    role.permissions
        .iter()
        .filter_map(|permission| permission.common(wanted))
        .any(|common| permit_any(others, &common))
}
