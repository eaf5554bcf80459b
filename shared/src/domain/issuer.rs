//! Trusted issuers: the platforms whose signed identities workloads can exchange for tokens.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::ids::from_text;
use super::{Actor, IssuerId, UrlHosts, named_enum};

/// The name of a trusted issuer: a letter, then letters, digits, `.`, `_` and `-`, at most
/// 32 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct IssuerName(String);

/// Text that is not a valid name of an issuer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must start with a letter, followed by up to 31 letters, digits, dots, underscores and hyphens")]
pub struct InvalidIssuerName;

impl IssuerName {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a valid name.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuerName> {
        let is_valid = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.len() <= Self::MAX_CHARS
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidIssuerName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IssuerName {
    type Err = InvalidIssuerName;

    fn from_str(text: &str) -> Result<Self, InvalidIssuerName> {
        Self::parse(text)
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IssuerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// A URL of an issuer or of its keys: https, without a user, a query or a fragment, at most
/// 512 visible ASCII characters. URLs are compared byte for byte.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct IssuerUrl(String);

/// Why a text is not the URL of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuerUrl {
    #[error("must be an https URL, such as https://token.actions.githubusercontent.com")]
    NotHttps,
    #[error("must be at most {} characters", IssuerUrl::MAX_CHARS)]
    TooLong,
    #[error("must not contain a user name, a password, a query or a fragment")]
    ForbiddenPart,
}

impl IssuerUrl {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 512;

    /// Checks `text`, which stays as it is.
    ///
    /// # Errors
    /// See [`InvalidIssuerUrl`].
    pub fn parse(text: &str, hosts: UrlHosts) -> Result<Self, InvalidIssuerUrl> {
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidIssuerUrl::TooLong);
        }
        let is_visible = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        let url = url::Url::parse(text).ok().filter(|_| is_visible).ok_or(InvalidIssuerUrl::NotHttps)?;
        if !hosts.permit(text, &url) {
            return Err(InvalidIssuerUrl::NotHttps);
        }
        let has_forbidden_part = text.contains(['?', '#', '@']) || !url.username().is_empty();
        if has_forbidden_part { Err(InvalidIssuerUrl::ForbiddenPart) } else { Ok(Self(text.to_owned())) }
    }

    /// Reads a stored URL.
    ///
    /// # Errors
    /// See [`InvalidIssuerUrl`].
    pub fn from_stored(text: &str) -> Result<Self, InvalidIssuerUrl> {
        Self::parse(text, UrlHosts::PublicAndLoopback)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, in the spelling of the URL and with its port, if it has one.
    pub(super) fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

named_enum! {
    /// An algorithm with which an issuer signs (RFC 7518, section 3.1, and RFC 8037).
    #[derive(Hash)]
    pub enum SigningAlgorithm {
        Rs256 = "RS256",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

/// Where an issuer's public keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKeys {
    /// OpenID Connect discovery: `<issuer>/.well-known/openid-configuration` names the URI.
    Discovery,
    /// A JWK set at this URI.
    Uri(IssuerUrl),
    /// This JWK set (RFC 7517, section 5), as JSON. For an issuer that Keyward cannot reach.
    Inline(String),
}

/// A trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    pub name: IssuerName,
    /// The id. A token made through this issuer works only while the issuer has this id.
    pub id: IssuerId,
    /// The `iss` claim of the issuer's JWTs. The issuer of a name never changes.
    pub url: IssuerUrl,
    pub keys: IssuerKeys,
    /// The accepted algorithms, at least one.
    pub algorithms: Vec<SigningAlgorithm>,
    /// The version, which increases with each change.
    pub version: u64,
    pub created_at: Timestamp,
    pub created_by: Actor,
    pub updated_at: Timestamp,
    pub updated_by: Actor,
}
