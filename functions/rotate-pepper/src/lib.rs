//! Rotates the pepper: Secrets Manager calls it four times, once for each step
//! of a rotation, and again if a step failed. It adds a version to the keyring
//! and takes none away, so no key stops working.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use shared::config::{Setup, variable};
use shared::keyring::{PepperRotation, Progress, RotationError, RotationStep};
use shared::telemetry;

/// The function.
pub struct RotatePepper {
    rotation: PepperRotation,
}

/// One step, as Secrets Manager asks for it.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// Which step.
    pub step: RotationStep,
    /// The secret's ARN. The function's rights are to the one secret.
    pub secret_id: String,
    /// The rotation, and the id of the version that it makes.
    pub client_request_token: String,
}

impl RotatePepper {
    /// Makes it from its setup. Nothing is called yet.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        Self { rotation: setup.pepper_rotation() }
    }

    /// Does one step, and logs one line about it.
    ///
    /// # Errors
    /// See [`RotationError`]: then Secrets Manager tries the step again.
    pub async fn answer(&self, event: &Event) -> Result<Progress, RotationError> {
        let Event { step, secret_id, client_request_token: token } = event;
        let done = self.rotation.run(*step, secret_id, token).await;
        match &done {
            Ok(progress) => {
                tracing::info!(?step, token, progress = progress.name(), "rotation");
            }
            Err(cause) => tracing::error!(?step, token, %cause, "rotation"),
        }
        done
    }
}

/// Runs as this Lambda function.
///
/// # Errors
/// When the runtime API cannot be reached.
pub async fn serve() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let function = &RotatePepper::new(&setup);
    lambda_runtime::run(service_fn(|event: LambdaEvent<Event>| async move {
        function.answer(&event.payload).await.map(drop).map_err(Error::from)
    }))
    .await
}
