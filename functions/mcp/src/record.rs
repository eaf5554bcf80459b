//! The log line of a request. It contains neither arguments nor credentials.

use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::domain::{AccountId, ApiName, GrantId};
use shared::telemetry::loggable;

/// The outcome of a request. Each request has exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The message was answered without any lookup: `ping`, a notification, a method that this
    /// server does not have, or a malformed message.
    #[default]
    Protocol,
    /// The metadata of a protected resource was returned.
    Metadata,
    /// `initialize` or `server/discover` succeeded.
    Described,
    /// Tools were listed.
    Listed,
    /// Tools were searched.
    Searched,
    /// The API answered with a 2xx status.
    Called,
    /// The API answered with another status.
    ApiError,
    /// No address of the API's host is public.
    ApiAddress,
    /// The API cannot be reached.
    ApiUnreachable,
    /// The API did not answer in time.
    ApiTimeout,
    /// The API's answer is not valid HTTP or is incomplete.
    ApiResponse,
    /// The API has no tool with this name.
    UnknownTool,
    /// The arguments do not match the tool's input schema.
    InvalidArguments,
    /// The cursor of a list is not valid any more.
    InvalidCursor,
    /// A role does not permit the call.
    NotPermitted,
    /// The client was asked to confirm the call.
    ConfirmationAsked,
    /// The user declined the call.
    Declined,
    /// The confirmation is not valid for this call.
    ConfirmationInvalid,
    /// The confirmation was used before.
    ConfirmationUsed,
    /// The API requires confirmation, and the client cannot ask its user.
    CannotConfirm,
    WrongHost,
    NoRoute,
    NoCredential,
    MalformedCredential,
    CredentialRefused,
    UnknownApi,
    Timeout,
    Outage,
}

impl Outcome {
    /// The name in the log.
    const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Metadata => "metadata",
            Self::Described => "described",
            Self::Listed => "listed",
            Self::Searched => "searched",
            Self::Called => "called",
            Self::ApiError => "api_error",
            Self::ApiAddress => "api_address",
            Self::ApiUnreachable => "api_unreachable",
            Self::ApiTimeout => "api_timeout",
            Self::ApiResponse => "api_response",
            Self::UnknownTool => "unknown_tool",
            Self::InvalidArguments => "invalid_arguments",
            Self::InvalidCursor => "invalid_cursor",
            Self::NotPermitted => "not_permitted",
            Self::ConfirmationAsked => "confirmation_asked",
            Self::Declined => "declined",
            Self::ConfirmationInvalid => "confirmation_invalid",
            Self::ConfirmationUsed => "confirmation_used",
            Self::CannotConfirm => "cannot_confirm",
            Self::WrongHost => "wrong_host",
            Self::NoRoute => "no_route",
            Self::NoCredential => "no_credential",
            Self::MalformedCredential => "malformed_credential",
            Self::CredentialRefused => "credential_refused",
            Self::UnknownApi => "unknown_api",
            Self::Timeout => "timeout",
            Self::Outage => "outage",
        }
    }

    /// Whether Keyward itself failed.
    const fn is_failure(self) -> bool {
        matches!(self, Self::Timeout | Self::Outage)
    }
}

/// What the log line says, collected while a request is handled.
#[derive(Default)]
pub(crate) struct Record(Mutex<Entry>);

#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) method: Option<&'static str>,
    pub(crate) api: Option<ApiName>,
    /// The account and grant that the credential names.
    pub(crate) named: Option<(AccountId, GrantId)>,
    pub(crate) tool: Option<String>,
    pub(crate) outcome: Outcome,
    /// The status of the API's answer.
    pub(crate) api_status: Option<u16>,
    /// The cause of a failure.
    pub(crate) cause: Option<String>,
}

impl Record {
    /// The entry, to change it.
    pub(crate) fn entry(&self) -> MutexGuard<'_, Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the outcome.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.entry().outcome = outcome;
    }

    /// Sets the outcome of a failure and its cause.
    pub(crate) fn fail(&self, outcome: Outcome, cause: impl ToString) {
        let mut entry = self.entry();
        entry.outcome = outcome;
        entry.cause = Some(cause.to_string());
    }

    /// Writes the log line.
    pub(crate) fn log(&self, request_id: &str, status: u16, milliseconds: u64) {
        let entry = self.entry();
        let (method, outcome) = (entry.method.unwrap_or("-"), entry.outcome.name());
        let api = entry.api.as_ref().map(ApiName::as_str);
        let account = entry.named.map(|(account, _)| account.to_string());
        let grant = entry.named.map(|(_, grant)| grant.to_string());
        let cause = entry.cause.as_deref().map(|cause| loggable(cause, 500));
        let (api_status, tool, cause) = (entry.api_status, entry.tool.as_deref(), cause.as_deref());
        // The level of an event is a constant, so each level has its own event.
        macro_rules! write {
            ($level:ident) => {
                tracing::$level!(
                    request_id,
                    api,
                    method,
                    tool,
                    account,
                    grant,
                    outcome,
                    status,
                    api_status,
                    milliseconds,
                    cause,
                    "answered"
                )
            };
        }
        if entry.outcome.is_failure() { write!(error) } else { write!(info) }
    }
}
