//! Requests to servers whose URLs an admin or a stranger chose: trusted issuers and protected
//! APIs.
//!
//! A connection goes to a public address only. The host's name is resolved once, and the
//! connection goes to the address that was checked. No redirect is followed, the size of a
//! response's head is limited, and the caller limits the body and the time.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
pub use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::domain::UrlHosts;
use crate::network::{self, BoxStream};
use crate::telemetry;

/// The maximum size of a response's status line and headers, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// The maximum number of headers of a response.
const MAX_HEADERS: usize = 64;

/// Why there is no connection to a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("the URL has no host")]
    Url,
    #[error("the host has the address {0}, which is not public")]
    Address(IpAddr),
    #[error("the host cannot be reached: {0}")]
    Unreachable(String),
}

/// A connection that broke, or a response that is not HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenResponse(String);

impl From<hyper::Error> for BrokenResponse {
    fn from(error: hyper::Error) -> Self {
        Self(telemetry::cause(&error))
    }
}

/// Connects to the host of `url`, with TLS for https. Other addresses than public ones are
/// refused, except this machine's if `hosts` permits them.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(url: &str, hosts: UrlHosts) -> Result<BoxStream, ConnectError> {
    let url = Url::parse(url).map_err(|_| ConnectError::Url)?;
    let (host, port) = url.host().zip(url.port_or_known_default()).ok_or(ConnectError::Url)?;
    let addresses = match host {
        Host::Domain(name) => resolve(name, port).await?,
        Host::Ipv4(address) => vec![SocketAddr::new(address.into(), port)],
        Host::Ipv6(address) => vec![SocketAddr::new(address.into(), port)],
    };
    // One address that is not public is enough to refuse: a client must not be able to
    // influence which of several addresses is used.
    if let Some(refused) = addresses.iter().find(|address| !is_permitted(address.ip(), hosts)) {
        return Err(ConnectError::Address(refused.ip()));
    }
    let tls_name = (url.scheme() == "https").then(|| url.host_str().unwrap_or_default());
    let mut unreachable = ConnectError::Unreachable("its name has no address".to_owned());
    for address in addresses {
        match network::connect_to(address, tls_name).await {
            Ok(stream) => return Ok(stream),
            Err(error) => unreachable = ConnectError::Unreachable(telemetry::cause(&error)),
        }
    }
    Err(unreachable)
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = tokio::net::lookup_host((name, port)).await;
    found.map(Iterator::collect).map_err(|error| ConnectError::Unreachable(telemetry::cause(&error)))
}

fn is_permitted(address: IpAddr, hosts: UrlHosts) -> bool {
    match hosts {
        UrlHosts::Public => is_public(address),
        UrlHosts::PublicAndLoopback => is_public(address) || address.is_loopback(),
    }
}

/// Sends the only request of a connection, and passes the response to `read`.
///
/// # Errors
/// The error of `read`, or a [`BrokenResponse`] if there is no response.
pub async fn exchange<T, E, F>(
    stream: BoxStream,
    request: Request<Bytes>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, E>
where
    E: From<BrokenResponse>,
    F: Future<Output = Result<T, E>>,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(BrokenResponse::from)?;
    let exchange = pin!(async move {
        let response = sender.send_request(request.map(Full::new)).await.map_err(BrokenResponse::from)?;
        read(response).await
    });
    // Waits while the connection moves bytes. A connection that ends first may have delivered
    // everything.
    match select(exchange, pin!(connection)).await {
        Either::Left((output, _)) => output,
        Either::Right((_, exchange)) => exchange.await,
    }
}

/// The first part of a body.
#[derive(Debug)]
pub struct Start {
    pub bytes: Vec<u8>,
    /// Whether these are all bytes of the body.
    pub is_complete: bool,
}

/// Reads at most `max` bytes of a body.
///
/// # Errors
/// The body ends early or is malformed.
pub async fn read_start(mut body: Incoming, max: usize) -> Result<Start, BrokenResponse> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes.extend_from_slice(&data);
        if bytes.len() > max {
            bytes.truncate(max);
            return Ok(Start { bytes, is_complete: false });
        }
    }
    Ok(Start { bytes, is_complete: true })
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
