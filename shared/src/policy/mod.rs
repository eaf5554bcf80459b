//! Decides whether a principal may send METHOD PATH. A decision does no I/O and does not
//! allocate memory per permission.
//!
//! A [`Target`] is the request that the backend sees. It is parsed once, and refused if
//! further decoding could change its meaning. A [`Role`] is a list of [`Permission`]s.
//! Only [`decide`] creates an [`Allowed`].

mod decision;
mod exchange_reason;
mod explanation;
mod permission;
mod prefix;
mod reason;
mod role;
mod target;
mod usage;

pub use decision::{
    Allowed, Api, Grant, GrantRoles, Refusal, Source, can_permit, check_identity_use, check_use, decide,
};
pub use exchange_reason::ExchangeReason;
pub use explanation::{ConsultedRole, ConsultedRoles, ExplainedDecision, GrantKind};
pub use permission::{
    InvalidPermission, InvalidPermissions, MAX_PERMISSIONS, Permission, Permissions, Unreachable,
};
pub use prefix::{InvalidPrefix, PathPrefix};
pub use reason::Reason;
pub use role::{BuiltInRoles, Role};
pub use target::{
    AmbiguousPath, InvalidPath, Method, RESERVED_PREFIX, Target, UnknownMethod, check_path_form,
};
pub use usage::{NoSuggestion, ObservedRoute, PermissionUse, RoleUsage, permissions_for};
