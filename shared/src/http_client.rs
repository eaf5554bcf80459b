//! The HTTP client for servers other than AWS: the admin users' issuer and the IAM
//! API. A call has a time limit and a size limit, and follows no redirect.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use crate::network::SdkConnector;
use crate::telemetry;

/// A call that got no usable response.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(String);

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    connector: SdkConnector,
    timeout: Duration,
    max_bytes: usize,
}

impl HttpClient {
    /// A client whose calls take at most `timeout` and whose responses have at most
    /// `max_bytes`.
    #[must_use]
    pub fn new(timeout: Duration, max_bytes: usize) -> Self {
        Self { connector: SdkConnector::new(), timeout, max_bytes }
    }

    /// Sends `request` and reads the whole response.
    ///
    /// # Errors
    /// When the call fails, takes too long, or the response is too large.
    pub async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, HttpError> {
        let response = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        response.map_err(|_| HttpError(format!("no response within {} s", self.timeout.as_secs())))?
    }

    async fn exchange(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, HttpError> {
        let failed = |error: &dyn std::error::Error| HttpError(telemetry::cause(error));
        let request = request.map(SdkBody::from).try_into().map_err(|error| failed(&error))?;
        let response = self.connector.call(request).await.map_err(|error| failed(&error))?;
        let (parts, body) = response.try_into_http1x().map_err(|error| failed(&error))?.into_parts();
        let mut body = ByteStream::new(body);
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| failed(&error))?);
            if bytes.len() > self.max_bytes {
                return Err(HttpError(format!("the response is longer than {} bytes", self.max_bytes)));
            }
        }
        Ok(http::Response::from_parts(parts, bytes))
    }
}
