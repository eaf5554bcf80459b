//! Adds a pepper to the keyring, in the four steps of a Secrets Manager
//! rotation.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>
//!
//! Every version that was ever current stays: verifiers of live keys and of
//! retired ones name it, and a pepper that is gone turns good keys into bad
//! ones. At some 70 bytes each, a secret has room for nearly 900.
//!
//! Each step can be run again, after it was done or broken off: the one new
//! version is the one that the rotation's token names, and it is made current by
//! a move that Secrets Manager refuses if the current version is no longer the
//! one that was checked.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use zeroize::Zeroizing;

use super::document::{self, Document};
use crate::domain::{Entropy, EntropyError, PepperText};
use crate::telemetry;

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// A step of a rotation, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationStep {
    /// Makes the pending keyring.
    CreateSecret,
    /// Would tell others of it. There is nobody to tell.
    SetSecret,
    /// Checks the pending keyring against the current one.
    TestSecret,
    /// Makes the pending keyring the current one.
    FinishSecret,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The pending keyring was made.
    Made,
    /// The pending keyring was there already.
    Kept,
    /// There was nothing to do.
    Nothing,
    /// The pending keyring is good.
    Tested,
    /// The pending keyring is the current one now.
    Finished,
    /// The whole rotation was done before.
    AlreadyFinished,
}

impl Progress {
    /// Its name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Kept => "kept",
            Self::Nothing => "nothing",
            Self::Tested => "tested",
            Self::Finished => "finished",
            Self::AlreadyFinished => "already_finished",
        }
    }
}

/// Why a step was not done. The current keyring is what it was.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Secrets Manager did not answer as it should, or refused. The next
    /// attempt may be luckier.
    #[error("Secrets Manager: {0}")]
    Unavailable(String),
    /// No rotation with this token is under way.
    #[error("no such rotation is under way: {0}")]
    NotUnderWay(&'static str),
    /// The current keyring is not well-formed, or takes no more versions. The
    /// message holds nothing of it.
    #[error("the current keyring: {0}")]
    Current(&'static str),
    /// The pending keyring must not become the current one. The message holds
    /// nothing of it.
    #[error("the pending keyring: {0}")]
    Pending(&'static str),
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl RotationError {
    fn from_sdk<E: std::error::Error + Send + Sync + 'static>(error: SdkError<E>) -> Self {
        Self::Unavailable(telemetry::cause(&error))
    }
}

/// Rotates the pepper.
#[derive(Clone)]
pub struct PepperRotation {
    client: Client,
    entropy: Arc<dyn Entropy>,
}

/// How far the rotation of a token has come.
enum Stage {
    Pending,
    Current,
}

impl PepperRotation {
    /// Reaches Secrets Manager as `config` says. Nothing is called yet.
    #[must_use]
    pub fn connect(config: &SdkConfig, entropy: Arc<dyn Entropy>) -> Self {
        Self { client: Client::new(config), entropy }
    }

    /// Does one step of the rotation of `secret` (its ARN or name) that `token`
    /// names. A step that was done before is done again without harm.
    ///
    /// # Errors
    /// See [`RotationError`]. Whatever it is, the current keyring is what it was.
    pub async fn run(
        &self,
        step: RotationStep,
        secret: &str,
        token: &str,
    ) -> Result<Progress, RotationError> {
        if let Stage::Current = self.stage(secret, token).await? {
            return Ok(Progress::AlreadyFinished);
        }
        match step {
            RotationStep::CreateSecret => self.create(secret, token).await,
            RotationStep::SetSecret => Ok(Progress::Nothing),
            RotationStep::TestSecret => self.test(secret, token).await,
            RotationStep::FinishSecret => self.finish(secret, token).await,
        }
    }

    /// Whether Secrets Manager knows of a rotation with this token.
    async fn stage(&self, secret: &str, token: &str) -> Result<Stage, RotationError> {
        let described = self.client.describe_secret().secret_id(secret).send().await;
        let described = described.map_err(RotationError::from_sdk)?;
        if described.rotation_enabled != Some(true) {
            return Err(RotationError::NotUnderWay("the secret is not set up for rotation"));
        }
        let stages = described.version_ids_to_stages.as_ref().and_then(|versions| versions.get(token));
        let is_at = |stage: &str| stages.is_some_and(|stages| stages.iter().any(|own| own == stage));
        if is_at(CURRENT) {
            Ok(Stage::Current)
        } else if is_at(PENDING) {
            Ok(Stage::Pending)
        } else {
            Err(RotationError::NotUnderWay("no version of this token is pending"))
        }
    }

    async fn create(&self, secret: &str, token: &str) -> Result<Progress, RotationError> {
        let (version_id, current) = self.current(secret).await?;
        if version_id == token {
            return Ok(Progress::AlreadyFinished);
        }
        if self.is_made(secret, token, &current).await? {
            return Ok(Progress::Kept);
        }
        let (text, _) =
            current.with(&PepperText::generate(&*self.entropy)?).map_err(RotationError::Current)?;
        let put = self
            .client
            .put_secret_value()
            .secret_id(secret)
            .client_request_token(token)
            .version_stages(PENDING)
            .secret_string(text.as_str());
        match put.send().await {
            Ok(_) => Ok(Progress::Made),
            // Another attempt of the same step was quicker: its pepper counts.
            Err(error) => {
                let is_taken =
                    error.as_service_error().is_some_and(PutSecretValueError::is_resource_exists_exception);
                if is_taken && self.is_made(secret, token, &current).await? {
                    Ok(Progress::Kept)
                } else {
                    Err(RotationError::from_sdk(error))
                }
            }
        }
    }

    async fn test(&self, secret: &str, token: &str) -> Result<Progress, RotationError> {
        let (_, current) = self.current(secret).await?;
        let pending =
            self.pending(secret, token).await?.ok_or(RotationError::Pending("it is not made yet"))?;
        // Whoever sets up a rotation without beginning one has Secrets Manager
        // run this step alone, on a version that `createSecret` never saw.
        if !pending.is_same(&current) {
            pending.succeeds(&current).map_err(RotationError::Pending)?;
        }
        Ok(Progress::Tested)
    }

    async fn finish(&self, secret: &str, token: &str) -> Result<Progress, RotationError> {
        let (version_id, current) = self.current(secret).await?;
        // Another attempt of the same step was quicker.
        if version_id == token {
            return Ok(Progress::AlreadyFinished);
        }
        let pending =
            self.pending(secret, token).await?.ok_or(RotationError::Pending("it is not made yet"))?;
        pending.succeeds(&current).map_err(RotationError::Pending)?;
        let moved = self
            .client
            .update_secret_version_stage()
            .secret_id(secret)
            .version_stage(CURRENT)
            .move_to_version_id(token)
            // Refused unless it is still the current one.
            .remove_from_version_id(version_id);
        let Err(error) = moved.send().await else {
            return Ok(Progress::Finished);
        };
        // Perhaps it was done and only its answer was lost: then the SDK's next
        // attempt was refused.
        match self.stage(secret, token).await? {
            Stage::Current => Ok(Progress::AlreadyFinished),
            Stage::Pending => Err(RotationError::from_sdk(error)),
        }
    }

    /// Whether the pending keyring is made. One that is the current one once
    /// more is none: a version as a rotation may find it at its beginning.
    async fn is_made(&self, secret: &str, token: &str, current: &Document) -> Result<bool, RotationError> {
        let pending = self.pending(secret, token).await?;
        Ok(pending.is_some_and(|pending| !pending.is_same(current)))
    }

    /// The current keyring, and the id of the version that it is.
    async fn current(&self, secret: &str) -> Result<(String, Document), RotationError> {
        let value = self.client.get_secret_value().secret_id(secret).version_stage(CURRENT).send().await;
        let value = value.map_err(RotationError::from_sdk)?;
        let text = value.secret_string.map(Zeroizing::new);
        let text = text.ok_or(RotationError::Current(document::NO_TEXT))?;
        let id = value.version_id.ok_or(RotationError::Current("its version has no id"))?;
        Ok((id, Document::parse(&text).map_err(RotationError::Current)?))
    }

    /// The pending keyring of this token, if it has a value yet.
    async fn pending(&self, secret: &str, token: &str) -> Result<Option<Document>, RotationError> {
        let value = self.client.get_secret_value().secret_id(secret);
        let value = match value.version_id(token).version_stage(PENDING).send().await {
            Ok(value) => value,
            Err(error) => {
                let is_missing = error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception);
                return if is_missing { Ok(None) } else { Err(RotationError::from_sdk(error)) };
            }
        };
        let text = value.secret_string.map(Zeroizing::new);
        let text = text.ok_or(RotationError::Pending(document::NO_TEXT))?;
        Document::parse(&text).map(Some).map_err(RotationError::Pending)
    }
}
