//! Connections to servers. All clients share one TLS configuration, because reading
//! the platform's CA roots takes most of a function's start.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use futures::future::BoxFuture;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{
    CaptureConnection, HttpConnector as TcpConnector, capture_connection,
};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The time limit of one attempt of a call to AWS. The SDK has no limit by default.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(800);
/// The time limit of a call to AWS with all its attempts. It leaves time for a second
/// attempt and part of a third one after one that hangs, and is below the authorizer's
/// limit of 3 s.
pub const CALL_LIMIT: Duration = Duration::from_millis(2400);
/// The maximum number of attempts of a call to AWS.
pub const MAX_ATTEMPTS: u32 = 3;
/// The limit of the random pause before the second attempt.
pub const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The SDK's time limits for a call that must end within `limit`.
#[must_use]
pub fn timeouts(limit: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).operation_timeout(limit).build()
}

/// The SDK's retries for a call with at most `attempts` attempts.
#[must_use]
pub fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(FIRST_PAUSE)
}

/// A connection to a server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Any connection to a server.
pub type BoxStream = Box<dyn Stream>;

/// Opens connections.
pub trait Connect: Send + Sync {
    /// Opens a connection to `server`.
    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, io::Result<BoxStream>>;
}

/// A server, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Server {
    /// The server of `url`. `None` if the URL is not `http` or `https`, or if it has a
    /// path, a query, or a user name.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let url: http::Uri = url.parse().ok()?;
        let is_tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = url.authority()?;
        let is_plain = matches!(url.path(), "" | "/") && url.query().is_none();
        if !is_plain || authority.as_str().contains('@') {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { is_tls, host: authority.host().to_owned(), port })
    }

    /// The value of the `Host` header: the host, and the port unless it is the
    /// scheme's default (RFC 9110, section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// Opens connections over the network: TCP, and TLS for `https`.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Connect for Network {
    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async {
            // A literal IPv6 address has brackets in a URL.
            let host = server.host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, server.port)).await?;
            stream.set_nodelay(true)?;
            secure(stream, server.is_tls.then_some(host)).await
        })
    }
}

/// Opens a connection to `address`, with TLS for the host `tls_name` if there is one. The name
/// is not resolved, and only the server's certificate must match.
///
/// # Errors
/// The connection or the TLS handshake fails.
pub async fn connect_to(address: SocketAddr, tls_name: Option<&str>) -> io::Result<BoxStream> {
    secure(TcpStream::connect(address).await?, tls_name).await
}

/// Adds TLS to a connection if the server has a name for it.
async fn secure(stream: TcpStream, tls_name: Option<&str>) -> io::Result<BoxStream> {
    let Some(name) = tls_name else {
        return Ok(Box::new(stream));
    };
    // A literal IPv6 address has brackets in a URL.
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::clone(&TLS)).connect(name, stream).await?))
}

/// TLS 1.2 and 1.3 by rustls and aws-lc, with the platform's CA roots.
#[expect(clippy::expect_used, reason = "aws-lc supports both versions of TLS")]
static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("aws-lc supports TLS 1.2 and 1.3");
    Arc::new(builder.with_root_certificates(ca_roots()).with_no_client_auth())
});

/// The CA roots: those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names, or else those in the
/// platform's bundle, such as `/etc/pki/tls/certs/ca-bundle.crt` on Amazon Linux. Without a
/// bundle, the roots come from a directory of single files, which takes twice as long.
#[expect(clippy::disallowed_methods, reason = "these variables configure TLS libraries, and not Keyward")]
fn ca_roots() -> RootCertStore {
    let is_configured = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os).iter().any(Option::is_some);
    let bundle = openssl_probe::probe().cert_file.filter(|_| !is_configured);
    let bundled = bundle.map(|file| rustls_native_certs::load_certs_from_paths(Some(&file), None).certs);
    let certificates = bundled
        .filter(|certificates| !certificates.is_empty())
        .unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        tracing::warn!("the platform has no CA roots, so no server can be trusted");
    }
    roots
}

/// The HTTP client of all SDK clients.
#[must_use]
pub fn sdk_http_client() -> SharedHttpClient {
    let connector = SharedHttpConnector::new(SdkConnector::new());
    http_client_fn(move |_, _| connector.clone())
}

/// Sends the SDK's requests with hyper. The SDK itself limits the time of an attempt.
#[derive(Clone, Debug)]
pub struct SdkConnector(Client<HttpsConnector<TcpConnector>, SdkBody>);

impl SdkConnector {
    #[must_use]
    pub fn new() -> Self {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(ClientConfig::clone(&TLS));
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        Self(client.pool_timer(TokioTimer::new()).build(connector))
    }
}

impl Default for SdkConnector {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpConnector for SdkConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let connection = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            capture.set_connection_retriever(move || metadata(&connection));
        }
        let response = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let response = response.await.map_err(connector_error)?;
            let response = HttpResponse::try_from(response.map(SdkBody::from_body_1_x));
            response.map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Lets the SDK close the connection of a failed attempt, so that the next attempt
/// opens another.
fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    connection.connection_metadata().as_ref()?;
    let connection = connection.clone();
    let poison = move || {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
}

/// Classifies an error for the SDK. A failed connection is worth another attempt. A
/// response that is not HTTP is not.
fn connector_error(error: ClientError) -> ConnectorError {
    let cause = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    if cause.is_some_and(|cause| cause.is_parse() || cause.is_user()) {
        ConnectorError::other(error.into(), None)
    } else {
        ConnectorError::io(error.into())
    }
}
