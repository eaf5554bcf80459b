//! The peppers, from Secrets Manager, cached.
//!
//! One secret holds them all: `{"current": "v1", "v1": "<random>"}`, which is
//! what CloudFormation's `GenerateSecretString` makes by itself. Every stored
//! verifier names its version, so adding `v2` breaks no key.

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

/// How long a version that the secret does not hold counts as unknown without
/// asking again.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// How long the current version counts as the current one without asking again:
/// after a rotation, a function that runs already makes keys with the pepper
/// before for so long at most.
const CURRENT_FOR: Duration = Duration::from_mins(5);

/// Why no pepper could be had.
#[derive(Debug, thiserror::Error)]
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
    /// The last version that was found missing, and when.
    missing: Option<(PepperVersion, Timestamp)>,
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
    /// is logged and changes nothing: the next use tries again.
    pub async fn warm(&self) {
        if let Err(error) = self.current().await {
            tracing::warn!(cause = %error, "the keyring could not be read at start-up");
        }
    }

    /// The pepper for new verifiers, and its version.
    ///
    /// # Errors
    /// When the secret cannot be read or is no keyring.
    pub async fn current(&self) -> Result<(PepperVersion, Pepper), KeyringError> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let is_fresh = state.fetched_at.is_some_and(|at| now.duration_since(at).unsigned_abs() < CURRENT_FOR);
        let peppers =
            if is_fresh { self.cached(&mut state).await? } else { self.refresh(&mut state).await? };
        // `parse` made sure that the current version is there.
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
        let now = self.clock.now();
        let asked_lately = state.missing.as_ref().is_some_and(|(missing, at)| {
            missing == version && now.duration_since(*at).unsigned_abs() < UNKNOWN_FOR
        });
        if asked_lately {
            return Err(unknown());
        }
        let peppers = self.refresh(&mut state).await?;
        let found = peppers.versions.get(version).cloned();
        state.missing = found.is_none().then(|| (version.clone(), now));
        found.ok_or_else(unknown)
    }

    async fn cached(&self, state: &mut State) -> Result<Arc<Peppers>, KeyringError> {
        match &state.peppers {
            Some(peppers) => Ok(Arc::clone(peppers)),
            None => self.refresh(state).await,
        }
    }

    async fn refresh(&self, state: &mut State) -> Result<Arc<Peppers>, KeyringError> {
        let peppers = Arc::new(self.fetch().await?);
        state.peppers = Some(Arc::clone(&peppers));
        state.fetched_at = Some(self.clock.now());
        Ok(peppers)
    }

    async fn fetch(&self) -> Result<Peppers, KeyringError> {
        let answer = self.client.get_secret_value().secret_id(&self.secret_id).send().await;
        let secret = answer
            .map_err(|error| KeyringError::Unavailable(telemetry::cause(&error)))?
            .secret_string
            .map(Zeroizing::new)
            .ok_or(KeyringError::Malformed("it has no string value"))?;
        parse(&secret)
    }
}

fn parse(secret: &str) -> Result<Peppers, KeyringError> {
    let malformed = KeyringError::Malformed;
    // serde_json's messages can quote the input: none of them is kept.
    let members: HashMap<String, Zeroizing<String>> =
        serde_json::from_str(secret).map_err(|_| malformed("it is not a JSON object of strings"))?;
    let mut current = None;
    let mut versions = HashMap::new();
    for (name, value) in &members {
        if name == "current" {
            current = PepperVersion::parse(value);
        } else {
            let version =
                PepperVersion::parse(name).ok_or(malformed("a member is neither `current` nor a version"))?;
            let pepper = Pepper::new(value.as_bytes()).ok_or(malformed("a pepper is too short"))?;
            versions.insert(version, pepper);
        }
    }
    let current = current.filter(|current| versions.contains_key(current));
    Ok(Peppers { current: current.ok_or(malformed("`current` names no version that it holds"))?, versions })
}
