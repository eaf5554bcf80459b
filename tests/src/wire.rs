//! The HTTP calls of the SDK clients to AWS. A test can record, fail or delay each call, replace
//! its response, or lose the response.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

/// One attempt of one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, such as `GetItem`.
    pub operation: String,
    /// The SDK's invocation id, which all attempts of one call share.
    pub invocation: String,
    /// The request's body.
    pub body: Value,
}

/// The effect of a rule on a call.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends the request.
    Pass,
    /// Refuses the connection. The request is not sent.
    Refuse,
    /// Never responds. The request is not sent.
    Hang,
    /// Sends the request after this delay.
    Delay(Duration),
    /// Sends the request, and then resets the connection in place of the response.
    LoseResponse,
    /// Sends the request, and never delivers the response.
    WithholdResponse,
    /// Responds with this status and body. The request is not sent.
    Respond(u16, String),
    /// Sends the request, and replaces the body of the response.
    ReplaceBody(String),
}

/// Chooses the action for a call.
type Rule = Arc<dyn Fn(&Call) -> Action + Send + Sync>;

/// Records the calls of SDK clients, and applies a rule to each.
#[derive(Clone)]
pub struct Wire {
    state: Arc<Mutex<State>>,
}

struct State {
    calls: Vec<Call>,
    rule: Rule,
}

impl Default for Wire {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { calls: Vec::new(), rule: Arc::new(|_| Action::Pass) })) }
    }
}

impl Wire {
    /// Applies `rule` to every later call.
    pub fn intercept(&self, rule: impl Fn(&Call) -> Action + Send + Sync + 'static) {
        self.state.lock().unwrap().rule = Arc::new(rule);
    }

    /// Removes the rule, so that every later call passes.
    pub fn pass_all(&self) {
        self.intercept(|_| Action::Pass);
    }

    /// The attempts since the last call of this function, oldest first.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// The operations of [`Wire::take_calls`].
    pub fn take_operations(&self) -> Vec<String> {
        self.take_calls().into_iter().map(|call| call.operation).collect()
    }

    /// Wraps `inner`, so that this records and intercepts its calls.
    pub fn wrap(&self, inner: SharedHttpConnector) -> SharedHttpConnector {
        SharedHttpConnector::new(WiredConnector { inner, wire: self.clone() })
    }

    fn record(&self, call: Call) -> Action {
        let rule = {
            let mut state = self.state.lock().unwrap();
            state.calls.push(call.clone());
            Arc::clone(&state.rule)
        };
        rule(&call)
    }
}

struct WiredConnector {
    inner: SharedHttpConnector,
    wire: Wire,
}

impl std::fmt::Debug for WiredConnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WiredConnector")
    }
}

impl HttpConnector for WiredConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        // Requests to Lambda have no such header. Functions only call its `Invoke`.
        let target = header("x-amz-target").rsplit('.').next().filter(|operation| !operation.is_empty());
        let operation = target.unwrap_or("Invoke").to_owned();
        let invocation = header("amz-sdk-invocation-id").to_owned();
        let body = request.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let action = self.wire.record(Call { operation, invocation, body: body.unwrap_or_default() });
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            let io_error = |message: &str| ConnectorError::io(message.to_owned().into());
            match action {
                Action::Pass => inner.call(request).await,
                Action::Refuse => Err(io_error("connection refused")),
                Action::Hang => std::future::pending().await,
                Action::Delay(time) => {
                    tokio::time::sleep(time).await;
                    inner.call(request).await
                }
                Action::LoseResponse => {
                    inner.call(request).await?;
                    Err(io_error("connection reset"))
                }
                Action::WithholdResponse => {
                    inner.call(request).await?;
                    std::future::pending().await
                }
                Action::Respond(status, body) => {
                    Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body)))
                }
                Action::ReplaceBody(body) => {
                    let response = inner.call(request).await?;
                    Ok(HttpResponse::new(response.status(), SdkBody::from(body)))
                }
            }
        })
    }
}
