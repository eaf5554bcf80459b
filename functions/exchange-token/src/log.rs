//! The log line of each exchange.

use std::net::IpAddr;

use shared::api::RequestTokenEvent;
use shared::domain::{AccountId, ApiName, GrantId, IssuerName, TokenClaims};
use shared::policy::{ExchangeReason, Permission};
use shared::telemetry::loggable;

use crate::refusal::Refusal;

/// The maximum number of characters of a text from outside that are logged.
const MAX_LOGGED: usize = 256;

/// What is known about an exchange.
#[derive(Default)]
pub(crate) struct Trace {
    /// The account and grant, as the request names them.
    pub(crate) named: Option<(AccountId, GrantId)>,
    /// The issuer of the federated identity.
    pub(crate) issuer: Option<IssuerName>,
    /// The `sub` claim of a JWT whose signature is right.
    pub(crate) subject: Option<String>,
    /// The path of the claim that does not have a required value.
    pub(crate) claim: Option<String>,
}

/// How an exchange was requested.
pub(crate) struct Exchange {
    pub(crate) request_id: String,
    pub(crate) kind: Kind,
    /// The client's address, if addresses are recorded.
    pub(crate) source: Option<IpAddr>,
}

/// The kinds of requests for an exchange.
pub(crate) enum Kind {
    /// A request to the token endpoint, with its OAuth grant type if that is supported.
    TokenEndpoint { grant_type: Option<&'static str> },
    /// A direct invocation that asks what a credential permits.
    Permissions,
    /// A direct invocation that asks for a request token.
    RequestToken(Box<RequestTokenEvent>),
}

impl Kind {
    /// The OAuth grant type, or the kind of direct invocation, for the log.
    fn grant_type(&self) -> Option<&'static str> {
        match self {
            Self::TokenEndpoint { grant_type } => *grant_type,
            Self::Permissions => Some("permissions"),
            Self::RequestToken(_) => Some("request_token"),
        }
    }

    /// The event that asks for a request token.
    fn event(&self) -> Option<&RequestTokenEvent> {
        match self {
            Self::RequestToken(event) => Some(event),
            Self::TokenEndpoint { .. } | Self::Permissions => None,
        }
    }

    /// The method and path of the request that the credential was sent with, or that it was to
    /// be used for.
    pub(crate) fn line(&self) -> Option<(&str, &str)> {
        match self {
            Self::TokenEndpoint { .. } => Some(("POST", "/iam/v1/token")),
            Self::Permissions => None,
            Self::RequestToken(event) => Some((&event.method, &event.path)),
        }
    }
}

/// The outcome of an exchange that was not refused.
pub(crate) enum Success {
    Issued(Box<TokenClaims>),
    Listed,
    Unconfirmed,
}

impl Exchange {
    /// Logs the exchange in one line. A failed dependency is an error. A changed item in the
    /// table and an issuer that fails are warnings.
    pub(crate) fn log(&self, trace: &Trace, outcome: Result<&Success, &Refusal>) {
        let (reason, claims) = match outcome {
            Ok(Success::Issued(claims)) => (ExchangeReason::Issued, Some(claims)),
            Ok(Success::Listed) => (ExchangeReason::Listed, None),
            Ok(Success::Unconfirmed) => (ExchangeReason::Unconfirmed, None),
            Err(refusal) => (refusal.reason(), None),
        };
        let refusal = outcome.err();
        let Self { request_id, kind, source } = self;
        let request = kind.event();
        let parent = claims.and_then(|claims| claims.parents.last());
        let (principal, grant) = trace.named.unzip();
        let safe = |text: Option<&str>| text.map(|text| loggable(text, MAX_LOGGED).into_owned());
        // An issuer's server can choose parts of it.
        let cause = safe(refusal.and_then(Refusal::cause));
        let missing_permission = refusal.and_then(Refusal::missing_permission).map(Permission::as_str);
        macro_rules! exchange {
            ($level:ident) => {
                tracing::$level!(
                    request_id,
                    reason = reason.name(),
                    grant_type = kind.grant_type(),
                    source = source.map(|source| source.to_string()),
                    principal = principal.map(|account| account.to_string()),
                    key_id = grant.and_then(GrantId::key).map(|key| key.to_string()),
                    identity_id = grant.and_then(GrantId::identity).map(|identity| identity.to_string()),
                    issuer = trace.issuer.as_ref().map(IssuerName::as_str),
                    subject = safe(trace.subject.as_deref()),
                    claim = safe(trace.claim.as_deref()),
                    mcp_api = request.and_then(|request| request.mcp_api.as_ref()).map(ApiName::as_str),
                    tool = safe(request.and_then(|request| request.tool.as_deref())),
                    api_id = request.map(|request| request.api.as_str()),
                    method = safe(request.map(|request| request.method.as_str())),
                    path = safe(request.map(|request| request.path.as_str())),
                    missing_permission,
                    token_id = claims.map(|claims| claims.id.to_string()),
                    parent_id = parent.map(|parent| parent.to_string()),
                    expires_in = claims.map(|claims| claims.lifetime_seconds),
                    cause,
                    "exchange"
                )
            };
        }
        if reason == ExchangeReason::Outage {
            exchange!(error);
        } else if reason == ExchangeReason::Seal || matches!(refusal, Some(Refusal::Unavailable { .. })) {
            exchange!(warn);
        } else {
            exchange!(info);
        }
    }
}
