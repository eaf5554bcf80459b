//! The wire between the functions and AWS: every call of an SDK client is seen
//! here, and can be failed, delayed, answered by somebody else, or have its
//! response lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

/// One attempt of one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, such as `GetItem`.
    pub operation: String,
    /// What the attempts of one call have in common.
    pub invocation: String,
    /// The request's body.
    pub body: Value,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes through.
    Pass,
    /// The connection is refused: nothing arrives.
    Refuse,
    /// Nothing ever comes back, and nothing arrives.
    Hang,
    /// It arrives this much later.
    Delay(Duration),
    /// It arrives and is done, and its response is lost.
    LoseResponse,
    /// It arrives and is done, and nothing ever comes back.
    Swallow,
    /// It does not arrive: somebody answers with this status and body.
    Answer(u16, String),
    /// It arrives, and this stands in place of its response's body.
    Replace(String),
}

/// Decides what happens to a call.
type Rule = Arc<dyn Fn(&Call) -> Action + Send + Sync>;

/// The wire.
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
    /// Every call from now on goes by `rule`.
    pub fn disturb(&self, rule: impl Fn(&Call) -> Action + Send + Sync + 'static) {
        self.state.lock().unwrap().rule = Arc::new(rule);
    }

    /// Every call from now on goes through.
    pub fn calm(&self) {
        self.disturb(|_| Action::Pass);
    }

    /// The attempts seen since this was last asked for, oldest first.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// The operations of [`Wire::take_calls`].
    pub fn take_operations(&self) -> Vec<String> {
        self.take_calls().into_iter().map(|call| call.operation).collect()
    }

    /// `inner`, over this wire.
    pub fn around(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(WiredClient { inner, wire: self.clone() })
    }

    fn see(&self, call: Call) -> Action {
        let rule = {
            let mut state = self.state.lock().unwrap();
            state.calls.push(call.clone());
            Arc::clone(&state.rule)
        };
        rule(&call)
    }
}

#[derive(Clone)]
struct WiredClient {
    inner: SharedHttpClient,
    wire: Wire,
}

impl std::fmt::Debug for WiredClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WiredClient")
    }
}

impl HttpClient for WiredClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(WiredConnector { inner, wire: self.wire.clone() })
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
        let operation = header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned();
        let invocation = header("amz-sdk-invocation-id").to_owned();
        let body = request.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let action = self.wire.see(Call { operation, invocation, body: body.unwrap_or_default() });
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            let lost = |why: &str| ConnectorError::io(why.to_owned().into());
            match action {
                Action::Pass => inner.call(request).await,
                Action::Refuse => Err(lost("connection refused")),
                Action::Hang => std::future::pending().await,
                Action::Delay(time) => {
                    tokio::time::sleep(time).await;
                    inner.call(request).await
                }
                Action::LoseResponse => {
                    inner.call(request).await?;
                    Err(lost("connection reset"))
                }
                Action::Swallow => {
                    inner.call(request).await?;
                    std::future::pending().await
                }
                Action::Answer(status, body) => {
                    Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body)))
                }
                Action::Replace(body) => {
                    let response = inner.call(request).await?;
                    Ok(HttpResponse::new(response.status(), SdkBody::from(body)))
                }
            }
        })
    }
}
