//! What a client is told of a decision.

use shared::policy::Reason;

/// What the client is told of a reason: no more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// It may pass.
    Allowed,
    /// The credential is not good. All of these look the same.
    Unauthorized,
    /// The credential may be good and does not suffice.
    Forbidden,
    /// Ask again later.
    Failed,
}

impl Face {
    /// What the client is told of `reason`.
    pub(crate) const fn of(reason: Reason) -> Self {
        match reason {
            Reason::Allowed => Self::Allowed,
            Reason::Missing
            | Reason::Malformed
            | Reason::ForeignEnvironment
            | Reason::Unknown
            | Reason::Revoked
            | Reason::Retired
            | Reason::Expired
            | Reason::Disabled
            | Reason::WrongSecret
            | Reason::Audience
            | Reason::Scope => Self::Unauthorized,
            Reason::Role
            | Reason::Network
            | Reason::AmbiguousPath
            | Reason::PathMismatch
            | Reason::Reserved => Self::Forbidden,
            Reason::Outage => Self::Failed,
        }
    }
}
