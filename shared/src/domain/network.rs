//! The networks from which a key can be used.

use std::net::IpAddr;

use ipnet::IpNet;

/// The maximum number of networks per key.
pub const MAX_CIDRS: usize = 10;

/// The networks from which a key can be used. If empty, the key can be used from
/// anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedCidrs(Vec<IpNet>);

/// Why a list of networks is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidrs {
    /// There are more than [`MAX_CIDRS`].
    #[error("must have at most {MAX_CIDRS} networks")]
    TooMany,
    /// The entry at this position is not a network.
    #[error("must be a network in CIDR notation, such as 203.0.113.0/24 or 2001:db8::/32")]
    NotANetwork(usize),
}

impl AllowedCidrs {
    /// Parses IPv4 and IPv6 networks in CIDR notation. Clears host bits, drops
    /// duplicates and sorts the rest, so that equivalent lists are equal.
    ///
    /// # Errors
    /// There are more than [`MAX_CIDRS`] networks, or an entry is not a network.
    pub fn parse<T: AsRef<str>>(networks: &[T]) -> Result<Self, InvalidCidrs> {
        if networks.len() > MAX_CIDRS {
            return Err(InvalidCidrs::TooMany);
        }
        let mut parsed = Vec::new();
        for (at, text) in networks.iter().enumerate() {
            let network: IpNet = text.as_ref().parse().map_err(|_| InvalidCidrs::NotANetwork(at))?;
            parsed.push(network.trunc());
        }
        parsed.sort_unstable();
        parsed.dedup();
        Ok(Self(parsed))
    }

    /// Whether the key can be used from `source`. An IPv4-mapped IPv6 address
    /// (`::ffff:192.0.2.1`) counts as the IPv4 address. Without a source address, only
    /// an unrestricted key can be used.
    #[must_use]
    pub fn permit(&self, source: Option<IpAddr>) -> bool {
        self.0.is_empty()
            || source.is_some_and(|address| {
                let address = address.to_canonical();
                self.0.iter().any(|network| network.contains(&address))
            })
    }

    /// Whether the key can be used from anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The networks in canonical notation, joined by commas, as in the hash frame.
    pub fn canonical(&self) -> String {
        self.iter().collect::<Vec<_>>().join(",")
    }

    /// Each network in canonical notation.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(ToString::to_string)
    }
}
