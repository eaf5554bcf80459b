//! Adds a version to the pepper or to the token key, in the four steps of a Secrets
//! Manager rotation.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>
//!
//! A rotation of the pepper removes no version, because verifiers of live and retired keys
//! name their version, and keys stop working without it. Each version takes about 70
//! bytes, so a secret has room for nearly 900.
//!
//! A rotation of the token key keeps only the version that was current, and records when it
//! began, so that readers know when no unexpired token needs that version any more.
//!
//! Every step can be repeated, whether it succeeded or was interrupted. The
//! rotation's token identifies the new version. The last step makes that version
//! current with a call that Secrets Manager refuses if the current version has
//! changed since the check.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use zeroize::Zeroizing;

use super::document::{self, Document, SecretKind};
use crate::domain::{Clock, Entropy, EntropyError, PepperText, named_enum};
use crate::telemetry;

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// A step of a rotation. The variants are in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationStep {
    /// Creates the pending value.
    CreateSecret,
    /// Does nothing: no other service has a copy of the secret.
    SetSecret,
    /// Checks the pending value against the current one.
    TestSecret,
    /// Makes the pending value current.
    FinishSecret,
}

named_enum! {
    /// The result of a step.
    pub enum Progress {
        /// The step created the pending value.
        Made = "made",
        /// The pending value already existed.
        Kept = "kept",
        /// The step had nothing to do.
        Nothing = "nothing",
        /// The pending value passed the check.
        Tested = "tested",
        /// The step made the pending value current.
        Finished = "finished",
        /// The rotation had already finished.
        AlreadyFinished = "already_finished",
    }
}

/// Why a step failed. The current value has not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Secrets Manager did not respond, or refused. A retry may help.
    #[error("the call to Secrets Manager failed: {0}")]
    Unavailable(String),
    /// The secret is neither the pepper nor the token key.
    #[error("this function does not rotate the secret")]
    UnknownSecret,
    /// No rotation with this token is in progress.
    #[error("this rotation is not in progress: {0}")]
    NotInProgress(&'static str),
    /// The current value is malformed or full. The message quotes no part of it.
    #[error("the current value cannot be used: {0}")]
    Current(&'static str),
    /// The pending value must not become current. The message quotes no part of it.
    #[error("the pending value cannot be used: {0}")]
    Pending(&'static str),
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl<E: std::error::Error + Send + Sync + 'static> From<SdkError<E>> for RotationError {
    fn from(error: SdkError<E>) -> Self {
        Self::Unavailable(telemetry::cause(&error))
    }
}

/// The ARN (or, in local mode, the name) of each secret that can be rotated.
#[derive(Clone, Debug)]
pub struct RotatedSecrets {
    /// The pepper secret.
    pub pepper: String,
    /// The token key secret.
    pub token_key: String,
}

impl RotatedSecrets {
    /// What the secret with this ARN or name contains. Two names for one secret are an error
    /// too, so that no pepper is ever rotated like a token key.
    fn kind(&self, secret: &str) -> Result<SecretKind, RotationError> {
        match (self.pepper == secret, self.token_key == secret) {
            (true, false) => Ok(SecretKind::Pepper),
            (false, true) => Ok(SecretKind::TokenKey),
            (true, true) | (false, false) => Err(RotationError::UnknownSecret),
        }
    }
}

/// Rotates the pepper and the token key.
#[derive(Clone)]
pub struct SecretRotation {
    client: Client,
    secrets: RotatedSecrets,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A secret during its rotation.
struct Rotated<'a> {
    client: &'a Client,
    /// The secret's ARN or name.
    secret: &'a str,
    kind: SecretKind,
    /// Identifies the rotation. This is also the id of the new version.
    token: &'a str,
}

impl SecretRotation {
    /// Uses Secrets Manager with `config`. This calls nothing yet.
    pub fn connect(
        config: &SdkConfig,
        secrets: RotatedSecrets,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { client: Client::new(config), secrets, clock, entropy }
    }

    /// Runs one step of the rotation `token` of `secret`, which must be one of the secrets of
    /// this rotation. Steps can be repeated.
    pub async fn run(
        &self,
        step: RotationStep,
        secret: &str,
        token: &str,
    ) -> Result<Progress, RotationError> {
        let kind = self.secrets.kind(secret)?;
        let rotated = Rotated { client: &self.client, secret, kind, token };
        if rotated.is_finished().await? {
            return Ok(Progress::AlreadyFinished);
        }
        match step {
            RotationStep::CreateSecret => rotated.create(&*self.clock, &*self.entropy).await,
            RotationStep::SetSecret => Ok(Progress::Nothing),
            RotationStep::TestSecret => rotated.test().await,
            RotationStep::FinishSecret => rotated.finish().await,
        }
    }
}

impl Rotated<'_> {
    /// Whether the version of the rotation `token` is current. If it is neither current
    /// nor pending, Secrets Manager does not know the rotation, which is an error.
    async fn is_finished(&self) -> Result<bool, RotationError> {
        let described = self.client.describe_secret().secret_id(self.secret).send().await?;
        if described.rotation_enabled != Some(true) {
            return Err(RotationError::NotInProgress("rotation is not enabled for the secret"));
        }
        let stages = described.version_ids_to_stages.as_ref().and_then(|versions| versions.get(self.token));
        let is_at = |stage: &str| stages.is_some_and(|stages| stages.iter().any(|own| own == stage));
        if is_at(CURRENT) {
            Ok(true)
        } else if is_at(PENDING) {
            Ok(false)
        } else {
            Err(RotationError::NotInProgress("no pending version has this token"))
        }
    }

    async fn create(&self, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Progress, RotationError> {
        let (version_id, current) = self.current().await?;
        if version_id == self.token {
            return Ok(Progress::AlreadyFinished);
        }
        if self.is_created(&current).await? {
            return Ok(Progress::Kept);
        }
        let new = PepperText::generate(entropy)?;
        let text = current.with(&new, clock.now()).map_err(RotationError::Current)?;
        let put = self
            .client
            .put_secret_value()
            .secret_id(self.secret)
            .client_request_token(self.token)
            .version_stages(PENDING)
            .secret_string(text.as_str());
        match put.send().await {
            Ok(_) => Ok(Progress::Made),
            // A concurrent attempt of this step came first: its version counts.
            Err(error) => {
                let is_taken =
                    error.as_service_error().is_some_and(PutSecretValueError::is_resource_exists_exception);
                if is_taken && self.is_created(&current).await? {
                    Ok(Progress::Kept)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    async fn test(&self) -> Result<Progress, RotationError> {
        let (_, current) = self.current().await?;
        let pending = self.pending().await?.ok_or(RotationError::Pending("it has not been created yet"))?;
        // When an operator enables rotation without starting one, Secrets Manager
        // runs only this step, with a version that `createSecret` never saw.
        if !pending.is_same(&current) {
            pending.succeeds(&current).map_err(RotationError::Pending)?;
        }
        Ok(Progress::Tested)
    }

    async fn finish(&self) -> Result<Progress, RotationError> {
        let (version_id, current) = self.current().await?;
        // A concurrent attempt of this step came first.
        if version_id == self.token {
            return Ok(Progress::AlreadyFinished);
        }
        let pending = self.pending().await?.ok_or(RotationError::Pending("it has not been created yet"))?;
        pending.succeeds(&current).map_err(RotationError::Pending)?;
        let moved = self
            .client
            .update_secret_version_stage()
            .secret_id(self.secret)
            .version_stage(CURRENT)
            .move_to_version_id(self.token)
            // Secrets Manager refuses this if another version is current by now.
            .remove_from_version_id(version_id);
        let Err(error) = moved.send().await else {
            return Ok(Progress::Finished);
        };
        // If the response of a successful call was lost, Secrets Manager refused the
        // SDK's next attempt.
        if self.is_finished().await? { Ok(Progress::AlreadyFinished) } else { Err(error.into()) }
    }

    /// Whether the pending value has been created. A pending version that equals the
    /// current value does not count: a rotation may start with one.
    async fn is_created(&self, current: &Document) -> Result<bool, RotationError> {
        let pending = self.pending().await?;
        Ok(pending.is_some_and(|pending| !pending.is_same(current)))
    }

    /// Reads the current value and the id of its version.
    async fn current(&self) -> Result<(String, Document), RotationError> {
        let value =
            self.client.get_secret_value().secret_id(self.secret).version_stage(CURRENT).send().await?;
        let text = value.secret_string.map(Zeroizing::new);
        let text = text.ok_or(RotationError::Current(document::NO_TEXT))?;
        let id = value.version_id.ok_or(RotationError::Current("its version id is missing"))?;
        Ok((id, Document::parse(&text, self.kind).map_err(RotationError::Current)?))
    }

    /// Reads the pending value of the rotation, if it has been created.
    async fn pending(&self) -> Result<Option<Document>, RotationError> {
        let value = self.client.get_secret_value().secret_id(self.secret);
        let value = match value.version_id(self.token).version_stage(PENDING).send().await {
            Ok(value) => value,
            Err(error) => {
                let is_missing = error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception);
                return if is_missing { Ok(None) } else { Err(error.into()) };
            }
        };
        let text = value.secret_string.map(Zeroizing::new);
        let text = text.ok_or(RotationError::Pending(document::NO_TEXT))?;
        Document::parse(&text, self.kind).map(Some).map_err(RotationError::Pending)
    }
}
