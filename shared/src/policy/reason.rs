//! The reasons for decisions. Each decision has exactly one reason, which is logged.
//! Only admins and the holders of valid keys learn this reason.

use super::Refusal;
use crate::domain::{RetiredReason, named_enum};

named_enum! {
    /// The reason for a decision.
    pub enum Reason {
        /// Allowed.
        Allowed = "allowed",
        /// No credential.
        Missing = "missing",
        /// No well-formed Bearer credential, or more than one.
        Malformed = "malformed",
        /// A key of another environment.
        ForeignEnvironment = "foreign_environment",
        /// The account, key or federated identity does not exist, or the key, issuer or client
        /// of an admin's token is unknown.
        Unknown = "unknown",
        /// The key or federated identity was revoked.
        Revoked = "revoked",
        /// The key was rotated and its grace period is over, or the account of the key or
        /// federated identity was deleted. The record of a key keeps its verifier for 400 days,
        /// also after its account is deleted, so the key is still recognized.
        Retired = "retired",
        /// The key, federated identity or token has expired.
        Expired = "expired",
        /// The account is disabled.
        Disabled = "disabled",
        /// The key's secret, or the signature or a tag of the token, is wrong.
        WrongSecret = "wrong_secret",
        /// The issuer of the federated identity is no longer trusted, or has been registered
        /// again since the token was made.
        Issuer = "issuer",
        /// The request token is bound to another request.
        Request = "request",
        /// The token is not for the audience of this API.
        Audience = "audience",
        /// The token has the scope `aws.cognito.signin.user.admin`, which allows changes to
        /// the admin's own email address, password and MFA. Backends see the tokens for
        /// business APIs, so these must not have this scope.
        Scope = "scope",
        /// No role permits the request, or the user is not an admin.
        Role = "role",
        /// The key cannot be used from this network.
        Network = "network",
        /// The method or path could mean something else to the backend.
        AmbiguousPath = "ambiguous_path",
        /// The event's method and path do not match its ARN, so it is uncertain which request
        /// API Gateway routed.
        PathMismatch = "path_mismatch",
        /// The path or the API is reserved for another kind of credential.
        Reserved = "reserved",
        /// No decision was possible, because a dependency failed.
        Outage = "outage",
    }
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

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Reserved => Self::Reserved,
            Refusal::Role(_) | Refusal::GrantRole(_) | Refusal::TokenRole(_) => Self::Role,
        }
    }
}
