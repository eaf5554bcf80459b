//! Calls to the IAM API and to the issuer, by the HTTP client of the workspace.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};

/// How long one call may take: the functions behind the API have 15 s. What a
/// page may take in all is [`crate::middleware`]'s.
const TIMEOUT: Duration = Duration::from_secs(14);
/// The longest answer, in bytes. A function's cannot be longer than 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>),
/// and a page of roles or events can come near it.
const MAX_BYTES: usize = 7 * 1024 * 1024;

/// A call that got no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoAnswer(String);

/// The way out. Redirects are not followed.
#[derive(Clone)]
pub(crate) struct Outgoing(Arc<Connector>);

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Connector::builder().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build()))
    }

    /// Sends `request`, and reads the answer to its end.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
        answer.map_err(|_| NoAnswer(format!("it took longer than {} s", TIMEOUT.as_secs())))?
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let no_answer = |error: &dyn std::error::Error| NoAnswer(shared::telemetry::cause(error));
        let request = request.map(SdkBody::from).try_into().map_err(|error| no_answer(&error))?;
        let response = self.0.call(request).await.map_err(|error| no_answer(&error))?;
        let response = response.try_into_http1x().map_err(|error| no_answer(&error))?;
        let (parts, body) = response.into_parts();
        let mut body = ByteStream::new(body);
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| no_answer(&error))?);
            if bytes.len() > MAX_BYTES {
                return Err(NoAnswer("the answer is too long".to_owned()));
            }
        }
        Ok(http::Response::from_parts(parts, bytes))
    }
}

/// For the OAuth library.
impl<'c> AsyncHttpClient<'c> for Outgoing {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
