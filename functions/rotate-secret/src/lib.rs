//! Rotates the pepper and the token key. Secrets Manager calls this function once for
//! each of the four steps of a rotation, and again if a step failed. A rotation adds a
//! version. Of the pepper, all versions stay, so no key stops working. Of the token key,
//! only the version that was current stays, so a leaked one is soon worth nothing.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use shared::config::{ConfigError, Setup, variable};
use shared::keyring::{Progress, RotationError, RotationStep, SecretRotation};
use shared::telemetry;

pub struct RotateSecret {
    rotation: SecretRotation,
}

/// The request for one step:
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The step to run.
    pub step: RotationStep,
    /// The secret's ARN.
    pub secret_id: String,
    /// Identifies the rotation. This is also the id of the new version.
    pub client_request_token: String,
}

impl RotateSecret {
    /// Creates the function. Does no I/O.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { rotation: setup.secret_rotation()? })
    }

    /// Runs one step and logs its result. After an error, Secrets Manager repeats the
    /// step.
    pub async fn answer(&self, event: &Event) -> Result<Progress, RotationError> {
        let Event { step, secret_id, client_request_token: token } = event;
        let result = self.rotation.run(*step, secret_id, token).await;
        match &result {
            Ok(progress) => {
                tracing::info!(?step, secret_id, token, progress = progress.name(), "rotation");
            }
            Err(cause) => tracing::error!(?step, secret_id, token, %cause, "rotation"),
        }
        result
    }
}

/// Runs the Lambda function.
pub async fn serve() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let function = &RotateSecret::new(&setup)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Event>| async move {
        function.answer(&event.payload).await.map(drop).map_err(Error::from)
    }))
    .await
}
