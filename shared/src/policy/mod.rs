//! May this principal do METHOD PATH? Pure, and without an allocation for each
//! permission.
//!
//! A [`Target`] is what the backend will see, parsed once and refused when any
//! further decoding could turn it into something else. A [`Role`] is a list of
//! [`Permission`]s. [`decide`] is the one place where an [`Allowed`] is made.

mod decision;
mod permission;
mod prefix;
mod reason;
mod role;
mod target;

pub use decision::{Allowed, Api, Grant, Refusal, Source, check_use, decide};
pub use permission::{
    InvalidPermission, InvalidPermissions, MAX_PERMISSIONS, Permission, Permissions, Unreachable,
};
pub use prefix::{InvalidPrefix, PathPrefix};
pub use reason::Reason;
pub use role::{BuiltInRoles, Role};
pub use target::{AmbiguousPath, Method, RESERVED_PREFIX, Target};
