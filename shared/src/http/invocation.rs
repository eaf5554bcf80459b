//! Functions that AWS principals can also invoke directly, without API Gateway.

use std::future::Future;
use std::sync::Arc;

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::lambda_runtime::Runtime;
use lambda_http::lambda_runtime::layers::TracingLayer;
use lambda_http::tower::util::ThenLayer;
use lambda_http::{Body, Error, LambdaEvent, Response};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Operation, answer};
use crate::config::{Setup, variable};
use crate::shutdown::at_shutdown;
use crate::telemetry;

/// A function with direct invocations. Their events have a member `keyward` at the top. API
/// Gateway builds the top of its events itself, so no HTTP request can cause such an event.
pub trait Invocable: Operation {
    /// The event of a direct invocation.
    type Event: DeserializeOwned + Send;
    /// The answer to a direct invocation.
    type Answer: Serialize;

    /// Handles a direct invocation.
    fn invoke(&self, event: Self::Event) -> impl Future<Output = Self::Answer> + Send;

    /// Does the work for which no client waits, such as logging, after the response to an event
    /// of either kind.
    fn follow_up(&self) -> impl Future<Output = ()> + Send;

    /// Does all remaining work and makes all pending writes, because the instance ends. Takes at
    /// most 450 ms if no event is being handled.
    fn flush(&self) -> impl Future<Output = ()> + Send;
}

/// An event that is neither a direct invocation nor a request to an HTTP API. The message
/// quotes nothing, because the event can contain a credential.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the event is neither a direct invocation nor one of an HTTP API")]
pub struct InvalidEvent;

/// The response to an event of either kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Invoked<A> {
    Http(Box<ApiGatewayV2httpResponse>),
    Direct(A),
}

/// Handles an event of either kind.
///
/// # Errors
/// The event is malformed.
pub async fn respond<O: Invocable>(operation: &O, event: &str) -> Result<Invoked<O::Answer>, InvalidEvent> {
    #[derive(Deserialize)]
    struct Probe {
        keyward: Option<IgnoredAny>,
    }

    let probe: Probe = serde_json::from_str(event).map_err(|_| InvalidEvent)?;
    if probe.keyward.is_some() {
        let event = serde_json::from_str(event).map_err(|_| InvalidEvent)?;
        return Ok(Invoked::Direct(operation.invoke(event).await));
    }
    let request = lambda_http::request::from_str(event).map_err(|_| InvalidEvent)?;
    Ok(Invoked::Http(Box::new(api_gateway(answer(operation, request).await))))
}

/// The response in API Gateway's payload format 2.0.
fn api_gateway(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut converted = ApiGatewayV2httpResponse::default();
    converted.status_code = parts.status.as_u16().into();
    converted.headers = parts.headers;
    converted.body = Some(body);
    converted
}

/// Runs `O` as the Lambda function of this process, like [`serve`](super::serve), and also
/// handles direct invocations. Lets it follow up on each event after the response is posted and
/// before the next event is requested.
///
/// # Errors
/// A variable is missing, or the runtime API cannot be reached.
pub async fn serve_invocable<O: Invocable>() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let operation = Arc::new(O::new(&setup)?);
    let ending = Arc::clone(&operation);
    tokio::join!(operation.warm(), at_shutdown(move || async move { ending.flush().await }));
    let operation = &*operation;
    let handle = |event: LambdaEvent<Box<RawValue>>| async move {
        respond(operation, event.payload.get()).await.map_err(Error::from)
    };
    let follow_up = ThenLayer::new(|posted: Result<(), Error>| async move {
        operation.follow_up().await;
        posted
    });
    Runtime::new(lambda_http::service_fn(handle)).layer(TracingLayer::new()).layer(follow_up).run().await
}
