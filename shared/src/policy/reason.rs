//! The reasons of decisions. Each decision has exactly one reason, which is logged.
//! Only the responses to admins who explain a decision or look up a key contain it.

use super::Refusal;
use crate::domain::RetiredReason;

/// The reason of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Allowed.
    Allowed,
    /// No credential.
    Missing,
    /// No well-formed Bearer credential, or more than one.
    Malformed,
    /// A key of another environment.
    ForeignEnvironment,
    /// The account or key does not exist, or the token's key, issuer or client is
    /// unknown.
    Unknown,
    /// The key was revoked.
    Revoked,
    /// The key was rotated and its grace period is over, or its account was deleted.
    /// The record of a key keeps its verifier for 400 days, also after its account is
    /// deleted, so the key is still recognized.
    Retired,
    /// The key or token has expired.
    Expired,
    /// The account is disabled.
    Disabled,
    /// The key's secret or the token's signature is wrong.
    WrongSecret,
    /// The token is not for the audience of this API.
    Audience,
    /// The token has the scope `aws.cognito.signin.user.admin`, which allows changes to
    /// the admin's own email address, password and MFA. Backends see the tokens for
    /// business APIs, so these must not have this scope.
    Scope,
    /// No role permits the request, or the user is not an admin.
    Role,
    /// The key cannot be used from this network.
    Network,
    /// The method or path could mean something else to the backend.
    AmbiguousPath,
    /// The event's method and path do not match its ARN, so it is uncertain which request
    /// API Gateway routed.
    PathMismatch,
    /// The path or the API is reserved for another kind of credential.
    Reserved,
    /// No decision was possible, because a dependency failed.
    Outage,
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
    /// The name in the log.
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
            Self::Audience => "audience",
            Self::Scope => "scope",
            Self::Role => "role",
            Self::Network => "network",
            Self::AmbiguousPath => "ambiguous_path",
            Self::PathMismatch => "path_mismatch",
            Self::Reserved => "reserved",
            Self::Outage => "outage",
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Reserved => Self::Reserved,
            Refusal::Role | Refusal::KeyRole => Self::Role,
        }
    }
}
