//! The custom authorizer: API Gateway asks it whether a request may pass.
//!
//! [`event`] reads the four shapes of event that API Gateway sends,
//! [`credential`] the one Bearer credential in them, [`authorize`] decides, and
//! [`answer`] builds the response that API Gateway expects. A key costs one
//! consistent read of `DynamoDB`; a malformed credential costs none. After the
//! answer, [`follow_up`] logs the decision and [`usage`] counts the use of keys.

mod admin_token;
pub mod answer;
mod authorize;
mod credential;
mod event;
mod follow_up;
mod jwks;
mod usage;

use std::sync::{Mutex, PoisonError};

use lambda_runtime::tower::util::ThenLayer;
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::value::RawValue;
use shared::config::{Setup, variable};
use shared::telemetry;

pub use answer::{Answer, FunctionError};
pub use authorize::{Authorizer, Decision};
pub use follow_up::FollowUp;
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
    let pending = &Mutex::new(Vec::new());
    let take_pending = || std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
    // The event arrives as raw text, so that no message of a parser that quotes
    // its input (and with it a credential) can reach the runtime's log.
    let decide = |event: LambdaEvent<Box<RawValue>>| async move {
        let Decision { answer, follow_up } =
            authorizer.decide(event.payload.get(), &event.context.request_id).await;
        pending.lock().unwrap_or_else(PoisonError::into_inner).push(follow_up);
        answer
    };
    // The layer runs after the answer is posted and before the next event is
    // requested.
    let follow_up = move |posted| async move {
        for follow_up in take_pending() {
            authorizer.follow_up(follow_up).await;
        }
        posted
    };
    Runtime::new(service_fn(decide)).layer(ThenLayer::new(follow_up)).run().await
}
