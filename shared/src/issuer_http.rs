//! Fetches the documents of trusted issuers: their metadata and public keys.
//!
//! An admin chooses the URLs, and an issuer's metadata can name others. So a fetch connects
//! only to public addresses ([`public_http`](crate::public_http)), over https, and sends
//! nothing secret. It follows no redirect, and the size of a response is limited. The caller
//! limits the time.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use url::Url;

use crate::domain::{IssuerUrl, UrlHosts};
use crate::public_http::{BrokenResponse, ConnectError, Incoming, connect, exchange, read_start};

/// The maximum size of a document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Why a document could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("the URL is not an https URL that can be fetched")]
    Url,
    #[error("the host has the address {0}, which is not public")]
    Address(IpAddr),
    #[error("the host cannot be reached: {0}")]
    Unreachable(String),
    #[error("the response is a redirect (status {0})")]
    Redirect(u16),
    #[error("the response cannot be used: {0}")]
    Response(String),
    #[error("the document is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
}

impl From<ConnectError> for FetchError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Url => Self::Url,
            ConnectError::Address(address) => Self::Address(address),
            ConnectError::Unreachable(cause) => Self::Unreachable(cause),
        }
    }
}

impl From<BrokenResponse> for FetchError {
    fn from(error: BrokenResponse) -> Self {
        Self::Response(error.to_string())
    }
}

/// Fetches the document at `url`. Other addresses than public ones are refused, except this
/// machine's if `hosts` permits them.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(url: &IssuerUrl, hosts: UrlHosts) -> Result<Vec<u8>, FetchError> {
    let url = IssuerUrl::parse(url.as_str(), hosts).map_err(|_| FetchError::Url)?;
    let url = Url::parse(url.as_str()).map_err(|_| FetchError::Url)?;
    let request = Request::get(url.path())
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "keyward")
        .body(Bytes::new())
        .map_err(|_| FetchError::Url)?;
    exchange(connect(url.as_str(), hosts).await?, request, read).await
}

/// Reads a response. The body is not read if the head already decides.
async fn read(response: Response<Incoming>) -> Result<Vec<u8>, FetchError> {
    check_head(response.status(), response.headers())?;
    let start = read_start(response.into_body(), MAX_DOCUMENT_BYTES).await?;
    if start.is_complete { Ok(start.bytes) } else { Err(FetchError::TooLarge) }
}

/// Checks the status and the headers of a response.
fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), FetchError> {
    if status.is_redirection() {
        return Err(FetchError::Redirect(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Response(format!("its status is {}", status.as_u16())));
    }
    let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(FetchError::Response("it is compressed".to_owned()));
    }
    Ok(())
}
