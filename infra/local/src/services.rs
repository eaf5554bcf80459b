//! The AWS services of local mode, in this process: DynamoDB, Secrets Manager and
//! `EventBridge`.
//!
//! They have no port. The functions' SDK clients reach them through an HTTP
//! client that answers requests to [`ENDPOINT`] itself, so neither a web page nor
//! another user of the machine can read the table or the secrets.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use serde_json::json;
use shared::config::default_http_client;

use crate::notices::Published;
use crate::secrets::NamedSecrets;
use crate::{database, notices};

/// The endpoint of every service. Names below `invalid` never resolve (RFC 6761,
/// section 6.4), so a client that does not use [`Services::http_client`] fails.
pub const ENDPOINT: &str = "http://aws.invalid";

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
}

impl Services {
    pub(crate) fn new(database: Option<Database>, secrets: NamedSecrets, published: Published) -> Self {
        Self(Arc::new(Inner { database, secrets, published }))
    }

    /// Answers a request with this `X-Amz-Target` header, which is
    /// `Service.Operation` in AWS's JSON protocols.
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

    /// An HTTP client that answers requests to the services itself, and sends all
    /// others over the network.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(ServicesClient { services: self.clone(), network: default_http_client() })
    }
}

/// An error response in AWS's JSON protocols.
pub(crate) fn failure(kind: &str, message: &str) -> Answer {
    (400, json!({ "__type": kind, "Message": message }).to_string())
}

#[derive(Clone)]
struct ServicesClient<T> {
    services: Services,
    network: T,
}

impl<T> fmt::Debug for ServicesClient<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServicesClient")
    }
}

impl HttpClient for ServicesClient<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let network = self.network.http_connector(settings, components);
        SharedHttpConnector::new(ServicesClient { services: self.services.clone(), network })
    }
}

impl HttpConnector for ServicesClient<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().strip_prefix(ENDPOINT);
        if !path.is_some_and(|path| path.is_empty() || path.starts_with('/')) {
            return self.network.call(request);
        }
        let services = self.services.clone();
        HttpConnectorFuture::new(async move {
            // On another thread, so that requests overlap as they do over a network.
            let answer = tokio::task::spawn_blocking(move || {
                let target = request.headers().get("x-amz-target").unwrap_or_default();
                services.answer(target, request.body().bytes().unwrap_or_default())
            });
            let (status, body) = answer.await.map_err(|error| ConnectorError::io(error.into()))?;
            let status = StatusCode::try_from(status);
            let status = status.map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}
