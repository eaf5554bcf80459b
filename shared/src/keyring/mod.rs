//! The peppers, from Secrets Manager, cached.
//!
//! One secret holds them all: `{"current": "v1", "v1": "<random>"}`, which is
//! what CloudFormation's `GenerateSecretString` makes by itself. Every stored
//! verifier names its version, so adding `v2` breaks no key. [`PepperRotation`]
//! adds one.
//!
//! What a function that runs already knows of a change of the secret:
//!
//! - a version that it does not know, it asks for at once, and a new key works
//!   from its first use on;
//! - for new keys it takes the version that is current, or was five minutes ago;
//! - a version that somebody took out of the secret, an authorizer forgets within
//!   fifteen minutes ([`Keyring::renew`]);
//! - while Secrets Manager does not answer, what is known stays known.

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

use crate::domain::{Clock, Pepper, PepperVersion};
use crate::telemetry;

use document::Document;
pub use rotation::{PepperRotation, Progress, RotationError, RotationStep};

/// How long a version that the secret does not hold counts as unknown without
/// asking again.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// So many versions are asked for in vain in [`UNKNOWN_FOR`], and no more:
/// whoever can write the table could name a new one in each item.
const MAX_UNKNOWN: usize = 8;

/// How long a failure to read the secret stands for the next attempts. Requests
/// that arrive meanwhile fail at once, and make no call each.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// How long the current version counts as the current one without asking again:
/// after a rotation, a function that runs already makes keys with the pepper
/// before for so long at most.
const CURRENT_FOR: Duration = Duration::from_mins(5);

/// After so long the secret is read anew, to forget versions that it no longer
/// holds.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// A renewal that failed is not tried again before.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// How long a renewal may take. A decision waits for it.
const RENEWAL_LIMIT: Duration = Duration::from_millis(500);

/// Why no pepper could be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyringError {
    /// Secrets Manager did not answer as it should. Trying again may help.
    #[error("the pepper secret cannot be read: {0}")]
    Unavailable(String),
    /// The secret is no keyring. The message holds nothing of it.
    #[error("the pepper secret is no keyring: {0}")]
    Malformed(&'static str),
    /// The secret does not hold this version, not even when read anew.
    #[error("the pepper secret holds no version `{}`", .0.as_str())]
    UnknownVersion(PepperVersion),
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
    /// When the last renewal was begun.
    renewed_at: Option<Timestamp>,
    /// The versions that were found missing lately, and when.
    missing: HashMap<PepperVersion, Timestamp>,
}

struct Peppers {
    current: PepperVersion,
    versions: HashMap<PepperVersion, Pepper>,
}

impl Keyring {
    /// The keyring in the secret `secret_id` (a name or an ARN). Nothing is
    /// read yet.
    #[must_use]
    pub fn connect(config: &SdkConfig, secret_id: String, clock: Arc<dyn Clock>) -> Self {
        Self { client: Client::new(config), secret_id, clock, state: Arc::default() }
    }

    /// Reads the secret, so that the first event does not wait for it. A failure
    /// is logged and changes nothing: the first event tries again.
    pub async fn warm(&self) {
        if let Err(error) = self.current().await {
            tracing::warn!(cause = %error, "the keyring could not be read at start-up");
            self.state.lock().await.failed = None;
        }
    }

    /// The pepper for new verifiers, and its version.
    ///
    /// # Errors
    /// When the secret cannot be read or is no keyring.
    pub async fn current(&self) -> Result<(PepperVersion, Pepper), KeyringError> {
        let mut state = self.state.lock().await;
        let is_fresh = self.is_within(state.fetched_at, CURRENT_FOR);
        let peppers =
            if is_fresh { self.cached(&mut state).await? } else { self.refresh(&mut state).await? };
        // `Document::parse` made sure that the current version is there.
        let pepper = peppers.versions.get(&peppers.current).cloned();
        pepper
            .map(|pepper| (peppers.current.clone(), pepper))
            .ok_or_else(|| KeyringError::UnknownVersion(peppers.current.clone()))
    }

    /// The pepper of `version`. A version that is not in the cache is looked
    /// for once in the secret itself. Callers that miss together wait for one
    /// call, made while the lock is held.
    ///
    /// # Errors
    /// When the secret cannot be read, is no keyring, or lacks the version.
    pub async fn get(&self, version: &PepperVersion) -> Result<Pepper, KeyringError> {
        let mut state = self.state.lock().await;
        if let Some(pepper) = self.cached(&mut state).await?.versions.get(version) {
            return Ok(pepper.clone());
        }
        let unknown = || KeyringError::UnknownVersion(version.clone());
        state.missing.retain(|_, at| self.is_within(Some(*at), UNKNOWN_FOR));
        if state.missing.contains_key(version) || state.missing.len() >= MAX_UNKNOWN {
            return Err(unknown());
        }
        let found = self.refresh(&mut state).await?.versions.get(version).cloned();
        if found.is_none() {
            state.missing.insert(version.clone(), self.clock.now());
        }
        found.ok_or_else(unknown)
    }

    /// Reads the secret anew if that was last done fifteen minutes ago, so that
    /// a version which somebody took out of it is forgotten. Otherwise it costs
    /// nothing. Meant to run beside the read of the table: nobody else waits
    /// for it. A failure changes nothing, and is tried again a minute later.
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
                // What somebody else has read meanwhile is newer.
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

    /// Reads the secret, unless that has failed just now.
    async fn refresh(&self, state: &mut State) -> Result<Arc<Peppers>, KeyringError> {
        if let Some((error, at)) = &state.failed
            && self.is_within(Some(*at), FAILED_FOR)
        {
            return Err(error.clone());
        }
        match self.fetch().await {
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
        let answer = self.client.get_secret_value().secret_id(&self.secret_id).send().await;
        let secret = answer
            .map_err(|error| KeyringError::Unavailable(telemetry::cause(&error)))?
            .secret_string
            .map(Zeroizing::new)
            .ok_or(KeyringError::Malformed(document::NO_TEXT))?;
        let Document { current, peppers } = Document::parse(&secret).map_err(KeyringError::Malformed)?;
        let versions = peppers.into_iter().map(|(version, (_, pepper))| (version, pepper)).collect();
        Ok(Peppers { current, versions })
    }
}
