//! May this principal do METHOD PATH? Pure, and without an allocation for each
//! permission.
//!
//! A [`Target`] is what the backend will see, parsed once and refused when any
//! further decoding could turn it into something else. A [`Role`] is a list of
//! [`Permission`]s. [`decide`] is the one place where an [`Allowed`] is made.

mod decision;
mod permission;
mod prefix;
mod role;
mod target;

pub use decision::{Allowed, Grant, Refusal, decide};
pub use permission::{InvalidPermission, MAX_PERMISSIONS, Permission};
pub use prefix::{BasePaths, InvalidPrefix, PathPrefix};
pub use role::{BuiltInRoles, Role};
pub use target::{AmbiguousPath, Method, RESERVED_PREFIX, Target};
