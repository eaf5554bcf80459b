//! The custom authorizer: API Gateway asks it whether a request may pass.
//!
//! [`event`] reads the four shapes of event that API Gateway sends,
//! [`credential`] the one Bearer credential in them, [`authorize`] decides, and
//! [`answer`] builds the response that API Gateway expects. A key costs one
//! consistent read of `DynamoDB`, and a token one or two. A malformed credential or a
//! forged token costs none. After the answer, [`follow_up`] logs the decision and
//! counts the request.

mod admin_token;
pub mod answer;
mod authorize;
mod credential;
mod event;
mod follow_up;
mod invocation;
mod jwks;

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use shared::config::{Setup, variable};
use shared::shutdown::at_shutdown;
use shared::telemetry;

use invocation::InvocationLayer;

pub use answer::{Answer, FunctionError};
pub use authorize::{Authorizer, Decision};
pub use follow_up::FollowUp;
pub use shared::policy::Reason;

/// Runs as this Lambda function.
///
/// # Errors
/// A variable is missing or invalid, or the runtime API cannot be reached.
pub async fn serve() -> Result<(), Error> {
    serve_with(Setup::from_process()).await
}

/// Runs as this Lambda function with `setup`. Decides on several requests at once if
/// Lambda sets `AWS_LAMBDA_MAX_CONCURRENCY`.
///
/// # Errors
/// See [`serve`].
pub async fn serve_with(setup: Setup) -> Result<(), Error> {
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let authorizer = Arc::new(Authorizer::new(&setup)?);
    let ending = Arc::clone(&authorizer);
    let at_end = move || async move { ending.flush_activity().await };
    tokio::join!(authorizer.warm(), at_shutdown(at_end));
    let layer = InvocationLayer::new(Arc::clone(&authorizer));
    let decide = move |event: LambdaEvent<()>| {
        let authorizer = Arc::clone(&authorizer);
        async move {
            let json = invocation::event();
            let Decision { answer, follow_up } = authorizer.decide(&json, &event.context.request_id).await;
            invocation::follow_up_with(follow_up);
            answer
        }
    };
    Runtime::new(service_fn(decide)).layer(layer).run_concurrent().await
}
