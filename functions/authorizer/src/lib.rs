//! The custom authorizer: API Gateway asks it whether a request may pass.
//!
//! [`event`] reads the four shapes of event that API Gateway sends,
//! [`credential`] the one Bearer credential in them, [`authorize`] decides, and
//! [`answer`] says so in the form that API Gateway wants. A key costs one
//! consistent read of `DynamoDB`; junk costs nothing. [`usage`] notes the use of
//! keys afterwards, now and then.

mod admin_token;
pub mod answer;
mod authorize;
mod credential;
mod event;
mod face;
mod jwks;
mod usage;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::config::{Setup, variable};
use shared::telemetry;

pub use answer::{Answer, Failed};
pub use authorize::Authorizer;
pub use shared::policy::Reason;

/// Runs as this Lambda function.
///
/// # Errors
/// When a variable is missing, or the runtime API cannot be reached.
pub async fn serve() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let authorizer = Authorizer::new(&setup)?;
    authorizer.warm().await;
    let authorizer = &authorizer;
    // The event arrives as raw text, so that no message of a parser that quotes
    // its input (and with it a credential) can reach the runtime's log.
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        authorizer.answer(event.payload.get(), &event.context.request_id).await
    }))
    .await
}
