//! Requests to the IAM API and responses. Only this module uses `lambda_http`.
//!
//! A request passes through API Gateway, [`serve`], [`Operation::handle`] and usually one
//! `Store` method. The caller is checked before the handler runs: a handler requires an
//! [`Admin`] or accepts any [`Caller`].

mod body;
mod caller;
mod failure;
mod fields;
mod gateway;
mod invocation;
mod reply;
mod request;

use std::future::Future;

use crate::config::{ConfigError, Setup, variable};
use crate::domain::Caller;
use crate::telemetry;

pub use caller::{Admin, Anyone, FromCaller};
pub use failure::Failure;
pub use fields::Fields;
pub use gateway::Gateway;
pub use invocation::{InvalidEvent, Invocable, Invoked, respond, serve_invocable};
/// Runs an HTTP service as this Lambda function. The console and the MCP server use it.
pub use lambda_http::{Error, run};
pub use reply::Reply;
pub use request::{Paging, Request, query_parameter};

/// A Lambda function of the IAM API.
pub trait Operation: Sized + Send + Sync + 'static {
    /// The callers that the function accepts.
    type Caller: FromCaller;

    /// Creates the function from its setup. Does no I/O.
    ///
    /// # Errors
    /// A required variable is missing or invalid.
    fn new(setup: &Setup) -> Result<Self, ConfigError>;

    /// Opens connections, so that the first request does not wait for them.
    fn warm(&self) -> impl Future<Output = ()> + Send;

    /// Handles a request.
    fn handle(
        &self,
        caller: Self::Caller,
        request: &Request,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// Runs `O` as the Lambda function of this process: creates it from the environment,
/// warms it, and handles events one at a time.
///
/// # Errors
/// A variable is missing, or the runtime API cannot be reached.
pub async fn serve<O: Operation>() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let operation = &O::new(&setup)?;
    operation.warm().await;
    lambda_http::run(lambda_http::service_fn(|event| async move {
        Ok::<_, std::convert::Infallible>(answer(operation, event).await)
    }))
    .await
}

/// Handles one event and logs one line about it.
pub async fn answer<O: Operation>(
    operation: &O,
    event: lambda_http::Request,
) -> lambda_http::Response<lambda_http::Body> {
    let request = match Request::read(event) {
        Ok(request) => request,
        Err(failure) => return failure.into_response("-"),
    };
    let caller = O::Caller::from_caller(request.caller().cloned());
    let outcome = match caller {
        Ok(caller) => operation.handle(caller, &request).await,
        Err(failure) => Err(failure),
    };
    let principal = match request.caller() {
        Some(Caller::Admin(actor)) => &actor.id,
        Some(Caller::ServiceAccount(_)) => "key",
        None => "-",
    };
    match outcome {
        Ok(reply) => {
            let status = reply.status();
            tracing::info!(request_id = request.id(), route = request.route(), principal, status, "answered");
            reply.into_response()
        }
        Err(failure) => {
            log(&request, principal, &failure);
            failure.into_response(request.id())
        }
    }
}

fn log(request: &Request, principal: &str, failure: &Failure) {
    let (status, code) = (failure.code().status().as_u16(), failure.code().name());
    let (request_id, route) = (request.id(), request.route());
    if let Some(cause) = failure.cause() {
        tracing::error!(request_id, route, principal, status, code, cause, "failed");
    } else {
        tracing::info!(request_id, route, principal, status, code, "refused");
    }
}
