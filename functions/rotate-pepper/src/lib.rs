//! Rotates the pepper. Secrets Manager calls this function once for each of the
//! four steps of a rotation, and again if a step failed. A rotation adds a version
//! to the keyring and removes none, so no key stops working.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use shared::config::{Setup, variable};
use shared::keyring::{PepperRotation, Progress, RotationError, RotationStep};
use shared::telemetry;

pub struct RotatePepper {
    rotation: PepperRotation,
}

/// The request for one step:
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The step to run.
    pub step: RotationStep,
    /// The secret's ARN. The function has access to only one secret.
    pub secret_id: String,
    /// Identifies the rotation. This is also the id of the new version.
    pub client_request_token: String,
}

impl RotatePepper {
    /// Creates the function. Does no I/O.
    pub fn new(setup: &Setup) -> Self {
        Self { rotation: setup.pepper_rotation() }
    }

    /// Runs one step and logs its result. After an error, Secrets Manager repeats the
    /// step.
    pub async fn answer(&self, event: &Event) -> Result<Progress, RotationError> {
        let Event { step, secret_id, client_request_token: token } = event;
        let result = self.rotation.run(*step, secret_id, token).await;
        match &result {
            Ok(progress) => {
                tracing::info!(?step, token, progress = progress.name(), "rotation");
            }
            Err(cause) => tracing::error!(?step, token, %cause, "rotation"),
        }
        result
    }
}

/// Runs the Lambda function.
pub async fn serve() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let function = &RotatePepper::new(&setup);
    lambda_runtime::run(service_fn(|event: LambdaEvent<Event>| async move {
        function.answer(&event.payload).await.map(drop).map_err(Error::from)
    }))
    .await
}
