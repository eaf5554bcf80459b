//! Protects the servers of local mode from pages of other sites: any page in a
//! browser on this machine can send them requests.
//!
//! If a page's host name resolves to this machine (DNS rebinding), the browser sends
//! that name in `Host`. If a page has another origin, the browser sends `Origin` with
//! every request that could change something or whose response the page could read
//! (Fetch, "append a request `Origin` header").

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

/// The rule that decides which requests a server accepts.
pub(crate) struct Guard {
    address: SocketAddr,
    /// Another host name of the server, such as the name of a proxy.
    other_name: Option<Authority>,
    checks_origin: bool,
}

impl Guard {
    /// For a server at `address` that only its own pages may call.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, other_name: None, checks_origin: true }
    }

    /// For the console at `address`, which checks `Origin` itself, and which browsers
    /// reach at `url`.
    pub(crate) fn for_console(address: SocketAddr, url: &str) -> Self {
        let url: Option<Uri> = url.parse().ok();
        Self { address, other_name: url.and_then(|url| url.authority().cloned()), checks_origin: false }
    }

    /// Wraps `router` in this check.
    pub(crate) fn around(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new(self), check))
    }

    /// Returns the response that refuses a request, or `None` if the request is accepted.
    fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
        let host: Option<Authority> = host.and_then(|host| host.parse().ok());
        let host =
            host.filter(|host| self.is_at(host) && uri.authority().is_none_or(|other| self.is_at(other)));
        let Some(host) = host else {
            return Some((StatusCode::MISDIRECTED_REQUEST, "The Host header does not name this server.\n"));
        };
        // The same name as in `Host`: at another loopback address, such as 127.0.0.2
        // or ::1, another user of this machine can have the same port.
        let is_own = |origin: &str| {
            let authority = origin.strip_prefix("http://");
            authority.and_then(|own| own.parse::<Authority>().ok()).is_some_and(|own| own == host)
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if self.checks_origin && !origins.all(|origin| origin.to_str().is_ok_and(is_own)) {
            return Some((StatusCode::FORBIDDEN, "Pages from other origins cannot use this server.\n"));
        }
        None
    }

    /// Whether `authority` names this server: a loopback address or `localhost`, with
    /// its port.
    fn is_at(&self, authority: &Authority) -> bool {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let is_here = is_loopback || host.eq_ignore_ascii_case("localhost");
        // An authority can also contain a user name.
        let is_plain = !authority.as_str().contains('@');
        (is_here && is_plain && authority.port_u16().unwrap_or(80) == self.address.port())
            || self.other_name.as_ref() == Some(authority)
    }
}

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.refusal(request.uri(), request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}
