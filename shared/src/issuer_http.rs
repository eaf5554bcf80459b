//! Fetches the documents of trusted issuers: their metadata and public keys.
//!
//! An admin chooses the URLs, and an issuer's metadata can name others. So a fetch connects
//! only to public addresses, over https, and sends nothing secret. The host's name is
//! resolved once, and the connection goes to the address that was checked. A fetch follows
//! no redirect, and the size of a response is limited. The caller limits the time.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::domain::{IssuerUrl, UrlHosts};
use crate::network;
use crate::telemetry;

/// The maximum size of a document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The maximum size of a response's status line and headers, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// The maximum number of headers of a response.
const MAX_HEADERS: usize = 64;

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

/// Fetches the document at `url`. Other addresses than public ones are refused, except this
/// machine's if `hosts` permits them.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(url: &IssuerUrl, hosts: UrlHosts) -> Result<Vec<u8>, FetchError> {
    let url = IssuerUrl::parse(url.as_str(), hosts).map_err(|_| FetchError::Url)?;
    let url = Url::parse(url.as_str()).map_err(|_| FetchError::Url)?;
    let (host, port) = url.host().zip(url.port_or_known_default()).ok_or(FetchError::Url)?;
    let addresses = match host {
        Host::Domain(name) => resolve(name, port).await?,
        Host::Ipv4(address) => vec![SocketAddr::new(address.into(), port)],
        Host::Ipv6(address) => vec![SocketAddr::new(address.into(), port)],
    };
    // One address that is not public is enough to refuse: a client must not be able to
    // influence which of several addresses is used.
    if let Some(refused) = addresses.iter().find(|address| !is_permitted(address.ip(), hosts)) {
        return Err(FetchError::Address(refused.ip()));
    }
    let tls_name = (url.scheme() == "https").then(|| url.host_str().unwrap_or_default());
    let mut unreachable = FetchError::Unreachable("its name has no address".to_owned());
    for address in addresses {
        match network::connect_to(address, tls_name).await {
            Ok(stream) => return get(&url, stream).await,
            Err(error) => unreachable = FetchError::Unreachable(telemetry::cause(&error)),
        }
    }
    Err(unreachable)
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, FetchError> {
    let found = tokio::net::lookup_host((name, port)).await;
    found.map(Iterator::collect).map_err(|error| FetchError::Unreachable(telemetry::cause(&error)))
}

fn is_permitted(address: IpAddr, hosts: UrlHosts) -> bool {
    match hosts {
        UrlHosts::Public => is_public(address),
        UrlHosts::PublicAndLoopback => is_public(address) || address.is_loopback(),
    }
}

/// Sends the request over `stream` and reads the response.
async fn get(url: &Url, stream: network::BoxStream) -> Result<Vec<u8>, FetchError> {
    let failed = |error: hyper::Error| FetchError::Response(telemetry::cause(&error));
    let target = url.path();
    let host = url.authority();
    let request = Request::get(target)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "keyward")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let exchange = pin!(async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        check_head(parts.status, &parts.headers)?;
        let body = Limited::new(body, MAX_DOCUMENT_BYTES).collect().await.map_err(|error| {
            let is_too_large = error.is::<LengthLimitError>();
            if is_too_large { FetchError::TooLarge } else { FetchError::Response(telemetry::cause(&*error)) }
        })?;
        Ok(body.to_bytes().to_vec())
    });
    drive(exchange, connection).await
}

/// Waits for `exchange` while its `connection` moves bytes. A connection that ends first may
/// have delivered everything.
async fn drive<T>(
    exchange: impl Future<Output = T> + Unpin,
    connection: impl Future<Output = hyper::Result<()>>,
) -> T {
    match select(exchange, pin!(connection)).await {
        Either::Left((output, _)) => output,
        Either::Right((_, exchange)) => exchange.await,
    }
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

/// The IPv4 networks that are not public.
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>)
const SPECIAL_IPV4: [Ipv4Net; 15] = [
    // This network.
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    // Private networks.
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    // Carrier-grade NAT.
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, with the metadata services of clouds.
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    // Protocol assignments.
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    // Relays of 6to4.
    Ipv4Net::new_assert(Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarks.
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast.
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and broadcast.
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All public IPv6 addresses are in this network. Loopback, unique local, link-local,
/// multicast and IPv4-mapped addresses are not.
const GLOBAL_UNICAST_IPV6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The networks in [`GLOBAL_UNICAST_IPV6`] that are not public.
/// (<https://www.iana.org/assignments/iana-ipv6-special-registry>)
const SPECIAL_IPV6: [Ipv6Net; 4] = [
    // Protocol assignments, and Teredo, which contains IPv4 addresses.
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which contains IPv4 addresses.
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// Addresses that a NAT64 gateway translates to the IPv4 address in their last 32 bits
/// (RFC 6052, section 2.1).
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address belongs to a host on the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_IPV4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_IPV6.contains(&address)
                && !SPECIAL_IPV6.iter().any(|network| network.contains(&address))
        }
    }
}
