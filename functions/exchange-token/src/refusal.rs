//! Refused exchanges.

use shared::api::{ConfirmationRefusal, TokenErrorCode};
use shared::authentication::{EndedCredential, Rejected, Rejection};
use shared::domain::EntropyError;
use shared::keyring::KeyringError;
use shared::policy::{ExchangeReason, Permission, Reason, Refusal as PolicyRefusal};
use shared::store::StoreError;

use crate::issuer_keys::KeysUnavailable;

/// Why no token is issued.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request itself is wrong. The client learns what is wrong.
    Request { error: TokenErrorCode, reason: ExchangeReason, description: &'static str },
    /// The credential is refused. The client does not learn why.
    Credential(ExchangeReason),
    /// The authorizer would refuse the key or token too. The client does not learn why.
    Rejected(Box<RefusedCredential>),
    /// No decision was possible, and a retry might succeed. Contains the cause for the log.
    Unavailable { reason: ExchangeReason, cause: String },
    /// The credential is valid, but does not permit the request of a request token.
    NotPermitted { reason: Reason, missing_permission: Option<Permission> },
    /// The confirmation of a request is refused.
    Confirmation(ConfirmationRefusal),
}

/// A key or token that the authorizer would refuse too.
#[derive(Debug)]
pub(crate) struct RefusedCredential {
    /// The reason. [`Reason::Unknown`] as long as `not_live` is set.
    pub(crate) reason: Reason,
    /// Whether the account is known to exist.
    pub(crate) account_exists: bool,
    /// Whether the key or token is genuine.
    pub(crate) is_genuine: bool,
    /// The credential, if its grant is not live. Why is found out after the answer.
    pub(crate) not_live: Option<EndedCredential>,
    /// Why the reason is uncertain, for the log.
    pub(crate) cause: Option<String>,
}

impl Refusal {
    /// A malformed request.
    pub(crate) fn invalid_request(description: &'static str) -> Self {
        Self::Request {
            error: TokenErrorCode::InvalidRequest,
            reason: ExchangeReason::MalformedRequest,
            description,
        }
    }

    /// A request for a resource or audience that tokens cannot be limited to.
    pub(crate) fn invalid_target(description: &'static str) -> Self {
        Self::Request { error: TokenErrorCode::InvalidTarget, reason: ExchangeReason::Target, description }
    }

    /// A request with a scope that cannot be granted.
    pub(crate) fn invalid_scope(description: &'static str) -> Self {
        Self::Request { error: TokenErrorCode::InvalidScope, reason: ExchangeReason::Scope, description }
    }

    /// The reason, for the log.
    pub(crate) fn reason(&self) -> ExchangeReason {
        match self {
            Self::Request { reason, .. } | Self::Credential(reason) | Self::Unavailable { reason, .. } => {
                *reason
            }
            Self::Rejected(refused) => refused.reason.into(),
            Self::NotPermitted { reason, .. } => (*reason).into(),
            Self::Confirmation(ConfirmationRefusal::Invalid) => ExchangeReason::ConfirmationInvalid,
            Self::Confirmation(ConfirmationRefusal::Used) => ExchangeReason::ConfirmationUsed,
        }
    }

    /// The cause, for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        match self {
            Self::Unavailable { cause, .. } => Some(cause),
            Self::Request { description, .. } => Some(description),
            Self::Rejected(refused) => refused.cause.as_deref(),
            Self::Credential(_) | Self::NotPermitted { .. } | Self::Confirmation(_) => None,
        }
    }

    /// The permission that the roles lack for the request of a request token.
    pub(crate) fn missing_permission(&self) -> Option<&Permission> {
        match self {
            Self::NotPermitted { missing_permission, .. } => missing_permission.as_ref(),
            Self::Request { .. }
            | Self::Credential(_)
            | Self::Rejected(_)
            | Self::Unavailable { .. }
            | Self::Confirmation(_) => None,
        }
    }

    /// A failed dependency.
    pub(crate) fn outage(cause: impl ToString) -> Self {
        Self::Unavailable { reason: ExchangeReason::Outage, cause: cause.to_string() }
    }

    /// A fault in this function.
    pub(crate) fn internal(cause: impl ToString) -> Self {
        Self::outage(cause)
    }

    /// An exchange that took too long.
    pub(crate) fn timeout() -> Self {
        Self::outage("the exchange took too long")
    }
}

impl From<ExchangeReason> for Refusal {
    fn from(reason: ExchangeReason) -> Self {
        Self::Credential(reason)
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        let Rejected { cause, account_exists, is_genuine } = rejected;
        let (reason, not_live, cause) = match cause {
            Rejection::Refused(reason) => (reason, None, None),
            Rejection::NotLive(credential) => (Reason::Unknown, Some(credential), None),
            Rejection::Unverifiable(cause) => (Reason::WrongSecret, None, Some(cause)),
            Rejection::Outage(cause) => return Self::outage(cause),
        };
        Self::Rejected(Box::new(RefusedCredential { reason, account_exists, is_genuine, not_live, cause }))
    }
}

impl From<PolicyRefusal> for Refusal {
    fn from(refusal: PolicyRefusal) -> Self {
        Self::NotPermitted {
            reason: Reason::from(&refusal),
            missing_permission: refusal.missing_permission().cloned(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::outage(error)
    }
}

impl From<EntropyError> for Refusal {
    fn from(error: EntropyError) -> Self {
        Self::outage(error)
    }
}

impl From<KeysUnavailable> for Refusal {
    fn from(error: KeysUnavailable) -> Self {
        Self::Unavailable { reason: error.reason, cause: error.cause }
    }
}

impl From<KeyringError> for Refusal {
    fn from(error: KeyringError) -> Self {
        Self::outage(error)
    }
}
