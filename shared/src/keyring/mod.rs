//! The peppers, cached from Secrets Manager.
//!
//! One secret contains all peppers: `{"current": "v1", "v1": "<random>"}`, which is
//! what CloudFormation's `GenerateSecretString` creates. Every stored verifier names
//! its pepper's version, so adding `v2` breaks no key. [`SecretRotation`] adds a
//! version.
//!
//! How a running function notices a change of the secret:
//!
//! - The function reads the secret as soon as it needs a version that is not in the
//!   cache, so a new key works from its first use on.
//! - New keys use a version that is current or was current five minutes ago.
//! - An authorizer forgets a removed version within fifteen minutes
//!   ([`Keyring::renew`]).
//! - While Secrets Manager does not respond, the cache stays valid.

mod document;
mod rotation;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use jiff::Timestamp;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::domain::{Clock, Pepper, SecretVersion};
use crate::telemetry;

use document::{Document, SecretKind};
pub use rotation::{Progress, RotatedSecrets, RotationError, RotationStep, SecretRotation};

/// How long a version that is not in the secret counts as unknown without another read.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// The maximum number of unknown versions looked up in [`UNKNOWN_FOR`]. Without this
/// limit, an attacker who can write the table could cause a read of the secret with
/// each item.
const MAX_UNKNOWN: usize = 8;

/// How long the result of a failed read of the secret is reused. Requests in that
/// time fail immediately, without a call each.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// How long the current version is cached. After a rotation, a running function may
/// issue keys with the previous pepper for this time.
const CURRENT_FOR: Duration = Duration::from_mins(5);

/// The age of the cache at which [`Keyring::renew`] reads the secret again, to forget
/// removed versions.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// How long to wait before retrying a failed renewal.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// The time limit of a renewal. A decision waits for the renewal.
const RENEWAL_LIMIT: Duration = Duration::from_millis(500);

/// Why a pepper is not available.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyringError {
    /// Secrets Manager did not respond, or refused. A retry may help.
    #[error("the pepper secret cannot be read: {0}")]
    Unavailable(String),
    /// The secret's value is not a keyring. The message quotes no part of the value.
    #[error("the pepper secret is malformed: {0}")]
    Malformed(&'static str),
    /// The secret does not have this version, even when it is read again.
    #[error("the pepper secret has no version `{}`", .0.as_str())]
    UnknownVersion(SecretVersion),
}

/// The peppers of a deployment.
#[derive(Clone)]
pub struct Keyring {
    client: Client,
    secret_id: String,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    peppers: Option<Arc<Peppers>>,
    fetched_at: Option<Timestamp>,
    /// The last attempt, if it failed, and when.
    failed: Option<(KeyringError, Timestamp)>,
    /// When the last renewal started.
    renewed_at: Option<Timestamp>,
    /// The versions that were not in the secret, and when each was looked up.
    missing: HashMap<SecretVersion, Timestamp>,
}

struct Peppers {
    current: SecretVersion,
    versions: HashMap<SecretVersion, Pepper>,
}

impl Keyring {
    /// A keyring of the secret `secret_id` (a name or an ARN). This reads nothing yet.
    pub fn connect(config: &SdkConfig, secret_id: String, clock: Arc<dyn Clock>) -> Self {
        Self { client: Client::new(config), secret_id, clock, state: Arc::default() }
    }

    /// Reads the secret, so that the first event does not wait for the read. A
    /// failure is only logged: the first event tries again.
    pub async fn warm(&self) {
        if let Err(error) = self.current().await {
            tracing::warn!(cause = %error, "the keyring could not be read at start-up");
            self.state.lock().await.failed = None;
        }
    }

    /// Returns the pepper for new verifiers, and its version.
    pub async fn current(&self) -> Result<(SecretVersion, Pepper), KeyringError> {
        let mut state = self.state.lock().await;
        let is_fresh = self.is_within(state.fetched_at, CURRENT_FOR);
        let peppers =
            if is_fresh { self.cached(&mut state).await? } else { self.refresh(&mut state).await? };
        // `Document::parse` checks that the keyring has its current version.
        let pepper = peppers.versions.get(&peppers.current).cloned();
        pepper
            .map(|pepper| (peppers.current.clone(), pepper))
            .ok_or_else(|| KeyringError::UnknownVersion(peppers.current.clone()))
    }

    /// Returns the pepper of `version`. If the version is not in the cache, this
    /// reads the secret once, while holding the lock, so that concurrent callers
    /// wait for one read.
    pub async fn get(&self, version: &SecretVersion) -> Result<Pepper, KeyringError> {
        let mut state = self.state.lock().await;
        if let Some(pepper) = self.cached(&mut state).await?.versions.get(version) {
            return Ok(pepper.clone());
        }
        let unknown = || KeyringError::UnknownVersion(version.clone());
        state.missing.retain(|_, at| self.is_within(Some(*at), UNKNOWN_FOR));
        if state.missing.contains_key(version) || state.missing.len() >= MAX_UNKNOWN {
            return Err(unknown());
        }
        let pepper = self.refresh(&mut state).await?.versions.get(version).cloned();
        if pepper.is_none() {
            state.missing.insert(version.clone(), self.clock.now());
        }
        pepper.ok_or_else(unknown)
    }

    /// Reads the secret again if the cache is fifteen minutes old, to forget removed
    /// versions. Otherwise this costs nothing. Run this in parallel with the read
    /// of the table: other requests do not wait for the renewal. A failure keeps
    /// the cache, and is retried a minute later.
    pub async fn renew(&self) {
        let before = {
            let mut state = self.state.lock().await;
            let is_due = state.peppers.is_some()
                && !self.is_within(state.fetched_at, KEPT_FOR)
                && !self.is_within(state.renewed_at, RENEWED_AGAIN_AFTER);
            if !is_due {
                return;
            }
            state.renewed_at = Some(self.clock.now());
            state.fetched_at
        };
        match tokio::time::timeout(RENEWAL_LIMIT, Box::pin(self.fetch())).await {
            Ok(Ok(peppers)) => {
                let mut state = self.state.lock().await;
                // If another task has read the secret meanwhile, its result is newer.
                if state.fetched_at == before {
                    self.keep(&mut state, peppers);
                }
            }
            Ok(Err(error)) => tracing::warn!(cause = %error, "the keyring could not be renewed"),
            Err(_) => tracing::warn!(cause = "it took too long", "the keyring could not be renewed"),
        }
    }

    fn is_within(&self, at: Option<Timestamp>, limit: Duration) -> bool {
        at.is_some_and(|at| self.clock.now().duration_since(at).unsigned_abs() < limit)
    }

    async fn cached(&self, state: &mut State) -> Result<Arc<Peppers>, KeyringError> {
        match &state.peppers {
            Some(peppers) => Ok(Arc::clone(peppers)),
            None => self.refresh(state).await,
        }
    }

    /// Reads the secret, unless a read failed within [`FAILED_FOR`].
    async fn refresh(&self, state: &mut State) -> Result<Arc<Peppers>, KeyringError> {
        if let Some((error, at)) = &state.failed
            && self.is_within(Some(*at), FAILED_FOR)
        {
            return Err(error.clone());
        }
        match Box::pin(self.fetch()).await {
            Ok(peppers) => Ok(self.keep(state, peppers)),
            Err(error) => {
                state.failed = Some((error.clone(), self.clock.now()));
                Err(error)
            }
        }
    }

    fn keep(&self, state: &mut State, peppers: Peppers) -> Arc<Peppers> {
        let peppers = Arc::new(peppers);
        state.peppers = Some(Arc::clone(&peppers));
        state.fetched_at = Some(self.clock.now());
        state.failed = None;
        peppers
    }

    async fn fetch(&self) -> Result<Peppers, KeyringError> {
        let response = self.client.get_secret_value().secret_id(&self.secret_id).send().await;
        let secret = response
            .map_err(|error| KeyringError::Unavailable(telemetry::cause(&error)))?
            .secret_string
            .map(Zeroizing::new)
            .ok_or(KeyringError::Malformed(document::NO_TEXT))?;
        let document = Document::parse(&secret, SecretKind::Pepper).map_err(KeyringError::Malformed)?;
        let Document { current, versions, .. } = document;
        let versions = versions.into_iter().map(|(version, (_, pepper))| (version, pepper)).collect();
        Ok(Peppers { current, versions })
    }
}
