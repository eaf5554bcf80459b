//! Sends the request of a call to the API, and reads a bounded answer.
//!
//! The API gets the request token and nothing else of the agent. A connection goes to a public
//! address of the registered host only, no redirect is followed, and the time and the size of the
//! answer are limited.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use shared::domain::{BaseUrl, UrlHosts};
use shared::public_http::{BrokenResponse, ConnectError, Incoming, Start, connect, exchange, read_start};
use shared::tools::ToolRequest;
use tokio::time::{Instant, timeout_at};

use crate::record::Outcome;

/// The time limit of a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// The time limit of a whole request.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// The maximum number of bytes of a body that are read.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The header with which the API's log refers to this function's log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The API's answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The start of the body.
    pub(crate) body: Start,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("the base URL is not one that can be called")]
    BaseUrl,
    #[error("the request has an invalid path, query or header")]
    Request,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    ConnectTimeout,
    #[error("no complete answer in time")]
    Timeout,
    #[error("the answer is broken: {0}")]
    Broken(#[from] BrokenResponse),
    #[error("the answer is compressed, although the request does not accept that")]
    Compressed,
}

impl NoAnswer {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::BaseUrl | Self::Request | Self::Connect(ConnectError::Url | ConnectError::Address(_)) => {
                Outcome::ApiAddress
            }
            Self::Connect(ConnectError::Unreachable(_)) => Outcome::ApiUnreachable,
            Self::ConnectTimeout | Self::Timeout => Outcome::ApiTimeout,
            Self::Broken(_) | Self::Compressed => Outcome::ApiResponse,
        }
    }

    /// Whether the API may have received the request.
    pub(crate) fn may_be_sent(&self) -> bool {
        match self {
            Self::BaseUrl | Self::Request | Self::Connect(_) | Self::ConnectTimeout => false,
            Self::Timeout | Self::Broken(_) | Self::Compressed => true,
        }
    }
}

/// The client of protected APIs.
pub(crate) struct Upstream {
    /// Whether an API can be on this machine.
    pub(crate) hosts: UrlHosts,
}

impl Upstream {
    /// Sends `request` with `token`, at most until `deadline`.
    pub(crate) async fn send(
        &self,
        base: &BaseUrl,
        request: ToolRequest,
        token: &SecretString,
        request_id: Option<&str>,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let base = BaseUrl::parse(base.as_str(), self.hosts).map_err(|_| NoAnswer::BaseUrl)?;
        let request = http_request(&base, request, token, request_id)?;
        let now = Instant::now();
        let deadline = deadline.min(now + REQUEST_LIMIT);
        let connecting = timeout_at(deadline.min(now + CONNECT_LIMIT), connect(base.as_str(), self.hosts));
        let stream = connecting.await.map_err(|_| NoAnswer::ConnectTimeout)??;
        let answering = Box::pin(exchange(stream, request, read));
        timeout_at(deadline, answering).await.map_err(|_| NoAnswer::Timeout)?
    }
}

/// The HTTP request. The URL is the base URL followed by the path, as text, because a URL library
/// might normalize the path.
fn http_request(
    base: &BaseUrl,
    request: ToolRequest,
    token: &SecretString,
    request_id: Option<&str>,
) -> Result<Request<Bytes>, NoAnswer> {
    let path = format!("{}{}", base.path(), request.path);
    let target = if request.query.is_empty() { path.clone() } else { format!("{path}?{}", request.query) };
    let uri: Uri = target.parse().map_err(|_| NoAnswer::Request)?;
    if uri.authority().is_some() || uri.path() != path {
        return Err(NoAnswer::Request);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().map_err(|_| NoAnswer::Request)?;
        headers.insert(name, value.parse().map_err(|_| NoAnswer::Request)?);
    }
    let (content_type, body) = match request.body {
        Some(body) => (Some(body.content_type), Bytes::from(body.bytes)),
        None => (None, Bytes::new()),
    };
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, content_type.parse().map_err(|_| NoAnswer::Request)?);
    }
    // These replace whatever a document declares under the same names.
    let mut authorization: HeaderValue =
        format!("Bearer {}", token.expose_secret()).parse().map_err(|_| NoAnswer::Request)?;
    authorization.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, authorization);
    headers.insert(header::HOST, base.authority().parse().map_err(|_| NoAnswer::Request)?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/*;q=0.9, */*;q=0.1"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("keyward-mcp"));
    if let Some(id) = request_id.and_then(|id| id.parse().ok()) {
        headers.insert(REQUEST_ID, id);
    }
    let mut built = Request::new(body);
    *built.method_mut() = request.method.name().parse().map_err(|_| NoAnswer::Request)?;
    *built.uri_mut() = uri;
    *built.headers_mut() = headers;
    Ok(built)
}

/// Reads an answer. The body of a redirect is not read.
async fn read(response: Response<Incoming>) -> Result<Answer, NoAnswer> {
    let (parts, body) = response.into_parts();
    if parts.status.is_redirection() {
        let body = Start { bytes: Vec::new(), is_complete: true };
        return Ok(Answer { status: parts.status, headers: parts.headers, body });
    }
    let encoding = parts.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(NoAnswer::Compressed);
    }
    let body = read_start(body, MAX_BODY_BYTES).await?;
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}
