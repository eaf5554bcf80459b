//! The hosts that a configured URL can name.

use url::{Host, Url};

/// The hosts that the URL of a trusted issuer or a protected API can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlHosts {
    /// Any host, over https.
    Public,
    /// Also this machine, over http or https. Only for local mode and tests.
    PublicAndLoopback,
}

impl UrlHosts {
    /// Whether `url`, which was parsed from `text`, is an https URL, or an http URL of this
    /// machine where that is allowed.
    pub(super) fn permit(self, text: &str, url: &Url) -> bool {
        let is_https = text.starts_with("https://");
        let is_local = text.starts_with("http://") && is_loopback(url) && self == Self::PublicAndLoopback;
        (is_https || is_local) && url.host().is_some()
    }
}

/// Whether the host of `url` is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
