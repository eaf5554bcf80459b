//! The peppers and the token keys, cached from Secrets Manager.
//!
//! One secret contains all peppers: `{"current": "v1", "v1": "<random>"}`, which is
//! what CloudFormation's `GenerateSecretString` creates. Every stored verifier names
//! its pepper's version, so adding `v2` breaks no key. [`SecretRotation`] adds a
//! version.
//!
//! Another secret contains the token keys, in the same form but with at most two versions.
//! After a rotation, [`TokenKeyring`] accepts the previous version for as long as it can have
//! unexpired tokens.
//!
//! How a running function notices a change of the secret:
//!
//! - The function reads the secret as soon as it needs a version that is not in the
//!   cache, so a new key or token works from its first use on.
//! - New keys and tokens use a version that is current or was current five minutes ago.
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
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::domain::{Clock, Pepper, SecretVersion, TokenKey};
use crate::telemetry;

use document::Document;
pub use document::SecretKind;
pub use rotation::{Progress, RotatedSecrets, RotationError, RotationStep, SecretRotation};

/// How long a version that is not in the secret counts as unknown without another read.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// The maximum number of unknown peppers looked up in [`UNKNOWN_FOR`]. Without this
/// limit, an attacker who can write the table could cause a read of the secret with
/// each item.
const MAX_UNKNOWN_PEPPERS: usize = 8;

/// The maximum number of unknown token keys looked up in [`UNKNOWN_FOR`]. Anyone can present
/// a forged token that names an unknown version.
const MAX_UNKNOWN_TOKEN_KEYS: usize = 1;

/// How long the result of a failed read of the secret is reused. Requests in that
/// time fail immediately, without a call each.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// How long the current version is cached. After a rotation, a running function may
/// issue keys with the previous pepper, and tokens with the previous token key, for this time.
const CURRENT_FOR: Duration = Duration::from_mins(5);

/// The age of the cache at which [`Keyring::renew`] reads the secret again, to forget
/// removed versions.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// How long to wait before retrying a failed renewal.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// The time limit of a renewal. A decision waits for the renewal.
const RENEWAL_LIMIT: Duration = Duration::from_millis(500);

/// How long a version of the token key is accepted after the rotation that replaces it: the
/// maximum lifetime of a token, 60 minutes, and [`CURRENT_FOR`].
const REPLACED_TOKEN_KEY_FOR: SignedDuration = SignedDuration::from_mins(65);

/// Why a version of a secret is not available.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyringError {
    /// Secrets Manager did not respond, or refused. A retry may help.
    #[error("the {0} secret cannot be read: {1}")]
    Unavailable(SecretKind, String),
    /// The secret's value is not a keyring. The message quotes no part of the value.
    #[error("the {0} secret is malformed: {1}")]
    Malformed(SecretKind, &'static str),
    /// The secret does not have this version, even when it is read again, or the version is a
    /// token key that was replaced.
    #[error("the {0} secret has no version `{version}`", version = .1.as_str())]
    UnknownVersion(SecretKind, SecretVersion),
}

impl KeyringError {
    /// The secret that the error is about.
    pub fn secret(&self) -> SecretKind {
        match self {
            Self::Unavailable(secret, _) | Self::Malformed(secret, _) | Self::UnknownVersion(secret, _) => {
                *secret
            }
        }
    }
}

/// The peppers of a deployment.
#[derive(Clone)]
pub struct Keyring {
    client: Client,
    secret_id: String,
    kind: SecretKind,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    versions: Option<Arc<Versions>>,
    fetched_at: Option<Timestamp>,
    /// The last attempt, if it failed, and when.
    failed: Option<(KeyringError, Timestamp)>,
    /// When the last renewal started.
    renewed_at: Option<Timestamp>,
    /// The versions that were not in the secret, and when each was looked up.
    missing: HashMap<SecretVersion, Timestamp>,
}

/// The versions in a secret. Token keys are HMAC keys like peppers.
struct Versions {
    current: SecretVersion,
    keys: HashMap<SecretVersion, Pepper>,
    /// When the last rotation of the token key began.
    since: Option<Timestamp>,
}

impl Versions {
    /// The key of `version`, unless the version has been replaced for too long at `now`.
    fn get(&self, version: &SecretVersion, now: Timestamp) -> Option<&Pepper> {
        let is_replaced = *version != self.current
            && self.since.is_some_and(|since| now.duration_since(since) >= REPLACED_TOKEN_KEY_FOR);
        self.keys.get(version).filter(|_| !is_replaced)
    }
}

impl Keyring {
    /// A keyring of the secret `secret_id` (a name or an ARN). This reads nothing yet.
    pub fn connect(config: &SdkConfig, secret_id: String, clock: Arc<dyn Clock>) -> Self {
        Self::with_kind(SecretKind::Pepper, config, secret_id, clock)
    }

    fn with_kind(kind: SecretKind, config: &SdkConfig, secret_id: String, clock: Arc<dyn Clock>) -> Self {
        Self { client: Client::new(config), secret_id, kind, clock, state: Arc::default() }
    }

    /// Reads the secret, so that the first event does not wait for the read. A
    /// failure is only logged: the first event tries again.
    pub async fn warm(&self) {
        if let Err(error) = self.current().await {
            tracing::warn!(cause = %error, "a secret could not be read at start-up");
            self.state.lock().await.failed = None;
        }
    }

    /// Returns the pepper for new verifiers, and its version.
    pub async fn current(&self) -> Result<(SecretVersion, Pepper), KeyringError> {
        let mut state = self.state.lock().await;
        let is_fresh = self.is_within(state.fetched_at, CURRENT_FOR);
        let versions =
            if is_fresh { self.cached(&mut state).await? } else { self.refresh(&mut state).await? };
        // `Document::parse` checks that the keyring has its current version.
        let pepper = versions.keys.get(&versions.current).cloned();
        pepper
            .map(|pepper| (versions.current.clone(), pepper))
            .ok_or_else(|| KeyringError::UnknownVersion(self.kind, versions.current.clone()))
    }

    /// Returns the pepper of `version`. If the version is not in the cache, this
    /// reads the secret once, while holding the lock, so that concurrent callers
    /// wait for one read.
    pub async fn get(&self, version: &SecretVersion) -> Result<Pepper, KeyringError> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let cached = self.cached(&mut state).await?;
        if let Some(pepper) = cached.get(version, now) {
            return Ok(pepper.clone());
        }
        let unknown = || KeyringError::UnknownVersion(self.kind, version.clone());
        // Every rotation of the token key adds a higher version, so a lower one is gone.
        let (is_gone, max_unknown) = match self.kind {
            SecretKind::Pepper => (false, MAX_UNKNOWN_PEPPERS),
            SecretKind::TokenKey => (*version < cached.current, MAX_UNKNOWN_TOKEN_KEYS),
        };
        state.missing.retain(|_, at| self.is_within(Some(*at), UNKNOWN_FOR));
        if is_gone || state.missing.contains_key(version) || state.missing.len() >= max_unknown {
            return Err(unknown());
        }
        let pepper = self.refresh(&mut state).await?.get(version, now).cloned();
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
            let is_due = state.versions.is_some()
                && !self.is_within(state.fetched_at, KEPT_FOR)
                && !self.is_within(state.renewed_at, RENEWED_AGAIN_AFTER);
            if !is_due {
                return;
            }
            state.renewed_at = Some(self.clock.now());
            state.fetched_at
        };
        match tokio::time::timeout(RENEWAL_LIMIT, Box::pin(self.fetch())).await {
            Ok(Ok(versions)) => {
                let mut state = self.state.lock().await;
                // If another task has read the secret meanwhile, its result is newer.
                if state.fetched_at == before {
                    self.keep(&mut state, versions);
                }
            }
            Ok(Err(error)) => tracing::warn!(cause = %error, "a secret could not be renewed"),
            Err(_) => tracing::warn!(cause = "it took too long", "a secret could not be renewed"),
        }
    }

    fn is_within(&self, at: Option<Timestamp>, limit: Duration) -> bool {
        at.is_some_and(|at| self.clock.now().duration_since(at).unsigned_abs() < limit)
    }

    async fn cached(&self, state: &mut State) -> Result<Arc<Versions>, KeyringError> {
        match &state.versions {
            Some(versions) => Ok(Arc::clone(versions)),
            None => self.refresh(state).await,
        }
    }

    /// Reads the secret, unless a read failed within [`FAILED_FOR`].
    async fn refresh(&self, state: &mut State) -> Result<Arc<Versions>, KeyringError> {
        if let Some((error, at)) = &state.failed
            && self.is_within(Some(*at), FAILED_FOR)
        {
            return Err(error.clone());
        }
        match Box::pin(self.fetch()).await {
            Ok(versions) => Ok(self.keep(state, versions)),
            Err(error) => {
                state.failed = Some((error.clone(), self.clock.now()));
                Err(error)
            }
        }
    }

    fn keep(&self, state: &mut State, versions: Versions) -> Arc<Versions> {
        let versions = Arc::new(versions);
        state.versions = Some(Arc::clone(&versions));
        state.fetched_at = Some(self.clock.now());
        state.failed = None;
        versions
    }

    async fn fetch(&self) -> Result<Versions, KeyringError> {
        let response = self.client.get_secret_value().secret_id(&self.secret_id).send().await;
        let secret = response
            .map_err(|error| KeyringError::Unavailable(self.kind, telemetry::cause(&error)))?
            .secret_string
            .map(Zeroizing::new)
            .ok_or(KeyringError::Malformed(self.kind, document::NO_TEXT))?;
        let document = Document::parse(&secret, self.kind);
        let Document { current, since, versions, .. } =
            document.map_err(|problem| KeyringError::Malformed(self.kind, problem))?;
        let keys = versions.into_iter().map(|(version, (_, key))| (version, key)).collect();
        Ok(Versions { current, keys, since })
    }
}

/// The token keys of a deployment.
#[derive(Clone)]
pub struct TokenKeyring(Keyring);

impl TokenKeyring {
    /// A keyring of the secret `secret_id` (a name or an ARN). This reads nothing yet.
    pub fn connect(config: &SdkConfig, secret_id: String, clock: Arc<dyn Clock>) -> Self {
        Self(Keyring::with_kind(SecretKind::TokenKey, config, secret_id, clock))
    }

    /// Reads the secret. See [`Keyring::warm`].
    pub async fn warm(&self) {
        self.0.warm().await;
    }

    /// Returns the key for new tokens, and its version.
    pub async fn current(&self) -> Result<(SecretVersion, TokenKey), KeyringError> {
        let (version, key) = self.0.current().await?;
        Ok((version, key.into()))
    }

    /// Returns the key of `version`. Reads the secret at most once every ten seconds for
    /// versions that are not in the cache, and never for one that was replaced.
    pub async fn get(&self, version: &SecretVersion) -> Result<TokenKey, KeyringError> {
        self.0.get(version).await.map(Into::into)
    }

    /// Reads the secret again if the cache is fifteen minutes old. See [`Keyring::renew`].
    pub async fn renew(&self) {
        self.0.renew().await;
    }
}
