//! The AWS services of local mode, in this process: DynamoDB, Secrets Manager, `EventBridge`
//! and Lambda.
//!
//! They have no port. The functions reach them through a connector that answers
//! requests to [`ENDPOINT`] itself, so neither a web page nor another user of the
//! machine can read the table or the secrets.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, Weak};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use axum::body::Bytes;
use dynoxide::Database;
use exchange_token::ExchangeToken;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use shared::http::Invocable as _;
use shared::network::{BoxStream, Connect, SdkConnector, Server};

use crate::notices::Published;
use crate::secrets::NamedSecrets;
use crate::{database, notices};

/// The endpoint of every service. Names below `invalid` never resolve (RFC 6761,
/// section 6.4), so a client that does not use [`Services::connector`] fails.
pub const ENDPOINT: &str = "http://aws.invalid";

/// The name of the only function that another function invokes.
pub(crate) const EXCHANGE_FUNCTION: &str = "keyward-exchange-token";

/// A response: its status, and its JSON body.
pub type Answer = (u16, String);

/// The services.
#[derive(Clone)]
pub struct Services(Arc<Inner>);

struct Inner {
    /// `None` if the functions use another DynamoDB.
    database: Option<Database>,
    secrets: NamedSecrets,
    published: Published,
    /// A weak reference, because the function has a client of these services.
    exchange_token: OnceLock<Weak<ExchangeToken>>,
}

impl Services {
    pub(crate) fn new(database: Option<Database>, secrets: NamedSecrets, published: Published) -> Self {
        Self(Arc::new(Inner { database, secrets, published, exchange_token: OnceLock::new() }))
    }

    /// Sets the function that [`EXCHANGE_FUNCTION`] names. Only the first call has an effect.
    pub(crate) fn set_exchange_token(&self, function: &Arc<ExchangeToken>) {
        let _ = self.0.exchange_token.set(Arc::downgrade(function));
    }

    /// Answers a request. A path other than `/` is that of an operation of Lambda. The
    /// `X-Amz-Target` header is `Service.Operation` in the JSON protocols of the other services.
    ///
    /// # Errors
    /// The task that answers the request was cancelled or panicked.
    pub async fn respond(&self, path: &str, target: &str, body: Bytes) -> io::Result<Answer> {
        if let Some(function) = invoked_function(path) {
            return Ok(self.invoke(function, &body).await);
        }
        let (services, target) = (self.clone(), target.to_owned());
        // On another thread, so that requests overlap as they do over a network.
        let answer = tokio::task::spawn_blocking(move || services.answer(&target, &body)).await;
        answer.map_err(io::Error::other)
    }

    /// Answers Lambda's `Invoke`.
    /// (<https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>)
    async fn invoke(&self, name: &str, event: &[u8]) -> Answer {
        let function = self.0.exchange_token.get().filter(|_| name == EXCHANGE_FUNCTION);
        let Some(function) = function.and_then(Weak::upgrade) else {
            let message = json!({ "Type": "User", "Message": format!("Function not found: {name}") });
            return (404, message.to_string());
        };
        let invalid = || failure("InvalidRequestContentException", "the function cannot read this event");
        let Ok(event) = std::str::from_utf8(event) else {
            return invalid();
        };
        let answer = shared::http::respond(&*function, event).await;
        // As after a decision of an authorizer: local mode writes activity at once.
        Box::pin(function.flush()).await;
        match answer.map(|answer| serde_json::to_string(&answer)) {
            Ok(Ok(answer)) => (200, answer),
            Ok(Err(_)) | Err(_) => invalid(),
        }
    }

    /// Answers a request with this `X-Amz-Target` header.
    #[must_use]
    pub fn answer(&self, target: &str, body: &[u8]) -> Answer {
        let (service, operation) = target.split_once('.').unwrap_or_default();
        match (service, &self.0.database) {
            ("DynamoDB_20120810", Some(database)) => database::answer(database, operation, body),
            ("secretsmanager", _) => self.0.secrets.answer(operation, body),
            ("AWSEvents", _) => notices::answer(&self.0.published, operation, body),
            _ => failure("UnknownOperationException", "local mode does not support this service"),
        }
    }

    /// A connector that answers requests to the services itself, and sends all others
    /// over the network.
    #[must_use]
    pub fn connector(&self) -> SharedHttpConnector {
        let network = SharedHttpConnector::new(SdkConnector::new());
        SharedHttpConnector::new(ServicesConnector { services: self.clone(), network })
    }
}

/// The function that a request with this path to Lambda invokes.
fn invoked_function(path: &str) -> Option<&str> {
    path.strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations")
}

/// An error response in AWS's JSON protocols.
pub(crate) fn failure(kind: &str, message: &str) -> Answer {
    (400, json!({ "__type": kind, "Message": message }).to_string())
}

/// An SDK's HTTP client that uses `connector`.
#[must_use]
pub fn http_client(connector: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_, _| connector.clone())
}

struct ServicesConnector {
    services: Services,
    network: SharedHttpConnector,
}

impl fmt::Debug for ServicesConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServicesConnector")
    }
}

impl HttpConnector for ServicesConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().strip_prefix(ENDPOINT);
        let path = path.filter(|path| path.is_empty() || path.starts_with('/'));
        let Some(path) = path.map(str::to_owned) else {
            return self.network.call(request);
        };
        let services = self.services.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
            let answer = services.respond(&path, target, body).await;
            let (status, body) = answer.map_err(|error| ConnectorError::io(error.into()))?;
            let status = StatusCode::try_from(status);
            let status = status.map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}

/// Connections whose HTTP requests `connector` answers, in this process.
pub struct InProcess(pub SharedHttpConnector);

impl Connect for InProcess {
    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, io::Result<BoxStream>> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (connector, endpoint) = (self.0.clone(), format!("http://{}", server.authority()));
        let respond = service_fn(move |request| respond(connector.clone(), endpoint.clone(), request));
        tokio::spawn(async move {
            // Without a `Date` header: it would not agree with the clock of a test.
            // An error closes the connection, which is what the client sees.
            let _ = http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(far), respond)
                .await;
        });
        Box::pin(std::future::ready(Ok(Box::new(near) as BoxStream)))
    }
}

async fn respond(
    connector: SharedHttpConnector,
    endpoint: String,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, ConnectorError> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::other(error, None);
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("{endpoint}{}", parts.uri).parse().map_err(|error| unusable(Box::new(error)))?;
    let body = body.collect().await.map_err(|error| unusable(Box::new(error)))?.to_bytes();
    let request = http::Request::from_parts(parts, SdkBody::from(body));
    let request = HttpRequest::try_from(request).map_err(|error| unusable(Box::new(error)))?;
    let response = connector.call(request).await?;
    let response = response.try_into_http1x().map_err(|error| unusable(Box::new(error)))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(unusable)?.to_bytes();
    Ok(http::Response::from_parts(parts, Full::new(body)))
}
