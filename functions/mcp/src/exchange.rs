//! The client of `exchange-token`, which checks credentials and makes request tokens.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::Builder;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use shared::api::{
    CredentialPermissions, DirectEvent, PermissionsAnswer, PermissionsEvent, RequestConfirmation,
    RequestTokenAnswer, RequestTokenEvent,
};
use shared::config::{ConfigError, Setup, variable};
use shared::domain::ApiId;
use shared::policy::Method;
use shared::telemetry;

use crate::guard::Caller;
use crate::record::Outcome;
use crate::refusal::Refusal;

/// The time limit of one attempt. `exchange-token` answers within 5 s, and its cold start takes
/// less than one.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(6);

/// The time limit of an invocation with both attempts.
const INVOCATION_LIMIT: Duration = Duration::from_secs(8);

/// The maximum number of credentials that an instance remembers.
const MAX_ACCEPTED: usize = 256;

/// The client of `exchange-token`.
pub(crate) struct ExchangeFunction {
    client: Client,
    name: String,
    accepted: Accepted,
}

/// The credentials that `exchange-token` accepted last, as hashes that only this process can
/// compute. A match authorizes nothing: it only lets a call skip the early check of its credential.
#[derive(Default)]
struct Accepted {
    hasher: RandomState,
    hashes: Mutex<VecDeque<u64>>,
}

impl Accepted {
    fn contains(&self, caller: &Caller) -> bool {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.contains(&self.hash(caller))
    }

    /// Remembers the caller's credential if it was accepted, and forgets it if not.
    fn set(&self, caller: &Caller, is_accepted: bool) {
        let hash = self.hash(caller);
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.retain(|other| *other != hash);
        if is_accepted {
            hashes.push_back(hash);
        }
        if hashes.len() > MAX_ACCEPTED {
            hashes.pop_front();
        }
    }

    fn hash(&self, caller: &Caller) -> u64 {
        self.hasher.hash_one((caller.credential.expose_secret(), caller.gateway.source))
    }
}

/// A request for which a token is needed.
pub(crate) struct WantedRequest<'a> {
    pub(crate) api: &'a ApiId,
    pub(crate) method: Method,
    /// The path at API Gateway, percent-encoded.
    pub(crate) path: String,
    /// The name of the tool.
    pub(crate) tool: &'a str,
    pub(crate) confirmation: Option<RequestConfirmation>,
}

impl ExchangeFunction {
    /// Creates the client, without any calls.
    ///
    /// # Errors
    /// A variable is missing.
    pub(crate) fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let limits = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .operation_timeout(INVOCATION_LIMIT)
            .build();
        let config = Builder::from(&setup.lambda_config())
            .timeout_config(limits)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            name: setup.variables.text(variable::EXCHANGE_FUNCTION)?,
            accepted: Accepted::default(),
        })
    }

    /// Whether this instance remembers that the caller's credential was accepted from the caller's
    /// address.
    pub(crate) fn knows(&self, caller: &Caller) -> bool {
        self.accepted.contains(caller)
    }

    /// Checks the caller's credential, unless this instance knows it. A call does this before it
    /// reads the registered API, so that callers without a valid credential cause no other work and
    /// learn nothing from the time that a call takes. The call itself is decided when its request
    /// token is made.
    ///
    /// # Errors
    /// The credential is refused, or there is no answer.
    pub(crate) async fn check_new(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.knows(caller) { Ok(()) } else { self.permissions(caller).await.map(|_| ()) }
    }

    /// Asks what the caller's credential permits.
    ///
    /// # Errors
    /// The credential is refused, or there is no answer.
    pub(crate) async fn permissions(&self, caller: &Caller) -> Result<CredentialPermissions, Refusal> {
        let event = PermissionsEvent { credential: caller.credential.clone(), source: caller.gateway.source };
        match self.invoke(caller, &DirectEvent::Permissions(event)).await? {
            PermissionsAnswer::Permitted(permitted) => {
                self.accepted.set(caller, true);
                Ok(permitted)
            }
            PermissionsAnswer::Refused { .. } => Err(self.refused(caller)),
            PermissionsAnswer::Unavailable {} => Err(unavailable(caller, "exchange-token could not decide")),
        }
    }

    /// Asks for a token for one request.
    ///
    /// # Errors
    /// The credential is refused, or there is no answer.
    pub(crate) async fn request_token(
        &self,
        caller: &Caller,
        wanted: WantedRequest<'_>,
    ) -> Result<RequestTokenAnswer, Refusal> {
        let event = RequestTokenEvent {
            credential: caller.credential.clone(),
            source: caller.gateway.source,
            api: wanted.api.clone(),
            method: wanted.method.name().to_owned(),
            path: wanted.path,
            tool: Some(wanted.tool.to_owned()),
            mcp_api: Some(caller.api.clone()),
            confirmation: wanted.confirmation,
        };
        match self.invoke(caller, &DirectEvent::RequestToken(event)).await? {
            RequestTokenAnswer::Refused { .. } => Err(self.refused(caller)),
            RequestTokenAnswer::Unavailable {} => Err(unavailable(caller, "exchange-token could not decide")),
            answer @ (RequestTokenAnswer::Issued { .. }
            | RequestTokenAnswer::Unconfirmed { .. }
            | RequestTokenAnswer::NotPermitted { .. }
            | RequestTokenAnswer::ConfirmationRefused { .. }) => Ok(answer),
        }
    }

    /// Forgets the caller's credential, so that the caller's next call checks the credential first.
    /// Returns the refusal.
    fn refused(&self, caller: &Caller) -> Refusal {
        self.accepted.set(caller, false);
        Refusal::Credential
    }

    /// Invokes the function. No cause contains the event or the answer, because both contain
    /// credentials.
    async fn invoke<A: DeserializeOwned>(&self, caller: &Caller, event: &DirectEvent) -> Result<A, Refusal> {
        let event = serde_json::to_vec(event)
            .map_err(|_| unavailable(caller, "the event for exchange-token cannot be written"))?;
        let invocation = self.client.invoke().function_name(&self.name).payload(Blob::new(event));
        let output =
            invocation.send().await.map_err(|error| unavailable(caller, telemetry::cause(&error)))?;
        if output.function_error.is_some() {
            return Err(unavailable(caller, "exchange-token failed"));
        }
        let answer = output.payload.map(Blob::into_inner).unwrap_or_default();
        serde_json::from_slice(&answer)
            .map_err(|_| unavailable(caller, "the answer of exchange-token is malformed"))
    }
}

/// A failure of Keyward, whose cause is logged.
pub(crate) fn unavailable(caller: &Caller, cause: impl ToString) -> Refusal {
    caller.record.fail(Outcome::Outage, cause);
    Refusal::Unavailable
}
