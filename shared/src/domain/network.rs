//! The networks that a key may be used from.

use std::net::IpAddr;

use ipnet::IpNet;

/// The most networks a key can name.
pub const MAX_CIDRS: usize = 10;

/// The networks a key may be used from. Empty: from anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedCidrs(Vec<IpNet>);

/// Why a list of networks was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidrs {
    /// Too many of them.
    #[error("must be at most {MAX_CIDRS} networks")]
    TooMany,
    /// The one at this position is no network.
    #[error("must be a network such as 203.0.113.0/24 or 2001:db8::/32")]
    NotANetwork(usize),
}

impl AllowedCidrs {
    /// Reads networks in CIDR notation, IPv4 or IPv6. Host bits are cleared,
    /// doubles dropped, and the rest sorted: one spelling for one meaning.
    ///
    /// # Errors
    /// When there are more than [`MAX_CIDRS`], or one is no network.
    pub fn parse<T: AsRef<str>>(networks: &[T]) -> Result<Self, InvalidCidrs> {
        if networks.len() > MAX_CIDRS {
            return Err(InvalidCidrs::TooMany);
        }
        let mut parsed = networks
            .iter()
            .enumerate()
            .map(|(at, text)| {
                text.as_ref()
                    .parse::<IpNet>()
                    .map(|network| network.trunc())
                    .map_err(|_| InvalidCidrs::NotANetwork(at))
            })
            .collect::<Result<Vec<_>, _>>()?;
        parsed.sort_unstable();
        parsed.dedup();
        Ok(Self(parsed))
    }

    /// Whether a caller from `source` may use the key. An IPv4 address inside
    /// IPv6 (`::ffff:192.0.2.1`) counts as the IPv4 address it is. Without a
    /// source address only an unrestricted key may be used.
    #[must_use]
    pub fn permit(&self, source: Option<IpAddr>) -> bool {
        self.0.is_empty()
            || source.is_some_and(|address| {
                let address = address.to_canonical();
                self.0.iter().any(|network| network.contains(&address))
            })
    }

    /// Whether the key may be used from anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Canonical, sorted and joined by commas, as it stands in the hash frame.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.iter().collect::<Vec<_>>().join(",")
    }

    /// Each network in canonical notation.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(ToString::to_string)
    }
}
