//! Why a decision came out as it did: exactly one reason a decision, in the
//! log alone.

use shared::domain::RetiredReason;

/// The reason of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Allowed.
    Allowed,
    /// No credential.
    Missing,
    /// No well-formed Bearer credential, or more than one.
    Malformed,
    /// A key of another environment.
    ForeignEnvironment,
    /// No such account or key; a token of an unknown key, issuer or client. A
    /// deleted account's keys are unknown too: no verifier of them is kept.
    Unknown,
    /// The key was revoked.
    Revoked,
    /// The key was rotated, and its grace is over.
    Retired,
    /// The key or token has expired.
    Expired,
    /// The account is disabled.
    Disabled,
    /// The secret is not the key's, or the signature not the issuer's.
    WrongSecret,
    /// No role permits it; or the person is no admin.
    Role,
    /// The key may not be used from there.
    Network,
    /// The method or path could mean something else to the backend.
    AmbiguousPath,
    /// The path is reserved for another kind of credential.
    Reserved,
    /// We could not find out: something that we depend on is down or wrong.
    Outage,
}

/// What of a good key's scope refused a request: said in the log, in
/// `refused_by`, beside the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The role of its account.
    AccountRole,
    /// A role of its own. The account's would permit.
    KeyRole,
    /// The networks that it may be used from.
    Network,
}

impl Scope {
    /// Its name in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AccountRole => "account_role",
            Self::KeyRole => "key_role",
            Self::Network => "network",
        }
    }

    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::AccountRole | Self::KeyRole => Reason::Role,
            Self::Network => Reason::Network,
        }
    }
}

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

impl From<RetiredReason> for Reason {
    fn from(reason: RetiredReason) -> Self {
        match reason {
            RetiredReason::Revoked => Self::Revoked,
            RetiredReason::Expired => Self::Expired,
            RetiredReason::Rotated => Self::Retired,
        }
    }
}

impl Reason {
    /// Its name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::ForeignEnvironment => "foreign_environment",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Retired => "retired",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::WrongSecret => "wrong_secret",
            Self::Role => "role",
            Self::Network => "network",
            Self::AmbiguousPath => "ambiguous_path",
            Self::Reserved => "reserved",
            Self::Outage => "outage",
        }
    }

    /// What the client is told.
    pub(crate) const fn face(self) -> Face {
        match self {
            Self::Allowed => Face::Allowed,
            Self::Missing
            | Self::Malformed
            | Self::ForeignEnvironment
            | Self::Unknown
            | Self::Revoked
            | Self::Retired
            | Self::Expired
            | Self::Disabled
            | Self::WrongSecret => Face::Unauthorized,
            Self::Role | Self::Network | Self::AmbiguousPath | Self::Reserved => Face::Forbidden,
            Self::Outage => Face::Failed,
        }
    }
}
