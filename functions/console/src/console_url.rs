//! The console's address, as a browser sees it.

use http::Uri;

/// The console's origin: scheme, host and port.
pub(crate) struct ConsoleUrl {
    origin: String,
    port: Option<u16>,
    is_secure: bool,
}

impl ConsoleUrl {
    /// Parses an origin. Only a loopback address (local mode) may be without TLS.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "must be a URL")?;
        let host = uri.host().ok_or("must have a host")?;
        if text.ends_with('/') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("must not have a path, a query or a trailing slash");
        }
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(host) => false,
            _ => return Err("must start with https:// (or http:// for a loopback address)"),
        };
        Ok(Self { origin: text.to_owned(), port: uri.port_u16(), is_secure })
    }

    /// The origin, as a browser sends it in `Origin`.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The port, unless it is the default port of the scheme.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the console uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.is_secure
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
