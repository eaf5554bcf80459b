//! Protected APIs: the APIs whose operations agents can use as tools.

use std::fmt;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::ids::from_text;
use super::url_hosts::is_loopback;
use super::{UrlHosts, named_enum};

/// The name of a protected API, which is part of the URL of its MCP server: a lowercase letter,
/// then lowercase letters, digits and single hyphens, at most 32 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct ApiName(String);

/// Text that is not a valid name of a protected API.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "must have 1 to {} lowercase letters, digits and single hyphens, start with a letter and not end with a hyphen",
    ApiName::MAX_CHARS
)]
pub struct InvalidApiName;

impl ApiName {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a valid name.
    pub fn parse(text: &str) -> Result<Self, InvalidApiName> {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let is_valid = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= Self::MAX_CHARS
            && text.split('-').all(is_word);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidApiName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id that API Gateway gave an API, as in the ARN of its requests: at most 32 lowercase
/// letters, digits and hyphens.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct ApiId(String);

/// Text that is not the id of an API in API Gateway.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must have 1 to {} lowercase letters, digits and hyphens, such as `a1b2c3d4e5`", ApiId::MAX_CHARS)]
pub struct InvalidApiId;

impl ApiId {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 32;
    /// The id of local mode's API.
    pub const LOCAL: &str = "keyward";

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a valid id.
    pub fn parse(text: &str) -> Result<Self, InvalidApiId> {
        let is_valid = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidApiId) }
    }

    /// The id of local mode's API.
    pub fn local() -> Self {
        Self(Self::LOCAL.to_owned())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The URL below which an API has its paths: https, without a user, a query or a fragment, at
/// most 512 characters. Its path has only literal segments and no `/` at the end, so the URL of
/// an operation is this URL followed by the operation's path.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct BaseUrl(String);

/// Why a text is not the base URL of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    #[error("must be an https URL, such as https://api.example.com/v1")]
    NotHttps,
    #[error("must be at most {} characters", BaseUrl::MAX_CHARS)]
    TooLong,
    #[error("must not contain a user name, a password, a query or a fragment")]
    ForbiddenPart,
    #[error(
        "must have a path whose segments consist of letters, digits and -._~!&'(),;=:@, without `.`, `..`, escapes \
         and empty segments"
    )]
    Path,
}

impl BaseUrl {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 512;

    /// Checks `text`, and brings its host into the form in which clients send it.
    ///
    /// # Errors
    /// See [`InvalidBaseUrl`].
    pub fn parse(text: &str, hosts: UrlHosts) -> Result<Self, InvalidBaseUrl> {
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidBaseUrl::TooLong);
        }
        let is_visible = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        let url = Url::parse(text).ok().filter(|_| is_visible).ok_or(InvalidBaseUrl::NotHttps)?;
        if !hosts.permit(text, &url) {
            return Err(InvalidBaseUrl::NotHttps);
        }
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') || path.contains(['?', '#']) {
            return Err(InvalidBaseUrl::ForbiddenPart);
        }
        // The text's path: the parser would already have removed dot segments.
        let path = path.strip_suffix('/').unwrap_or(path);
        if !path.split('/').skip(1).all(is_literal_segment) {
            return Err(InvalidBaseUrl::Path);
        }
        let host = url.host_str().ok_or(InvalidBaseUrl::NotHttps)?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let url = format!("{}://{host}{port}{path}", url.scheme());
        // The parser can lengthen the host: `1` becomes `0.0.0.1`.
        if url.len() > Self::MAX_CHARS { Err(InvalidBaseUrl::TooLong) } else { Ok(Self(url)) }
    }

    /// Reads a stored URL.
    ///
    /// # Errors
    /// See [`InvalidBaseUrl`].
    pub fn from_stored(text: &str) -> Result<Self, InvalidBaseUrl> {
        Self::parse(text, UrlHosts::PublicAndLoopback)
    }

    /// The URL, without a `/` at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the scheme is https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The host, and the port if it is not the scheme's default.
    pub fn authority(&self) -> &str {
        self.split().0
    }

    /// The path: empty, or segments that each start with `/`.
    pub fn path(&self) -> &str {
        self.split().1
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| is_loopback(&url))
    }

    /// The id of the API in API Gateway, if the host is API Gateway's own
    /// (`{id}.execute-api.{region}.amazonaws.com`). The host of a private API also names a VPC
    /// endpoint, so it does not count.
    pub fn api_id(&self) -> Option<ApiId> {
        let (id, rest) = self.authority().split_once('.')?;
        let is_id = rest.starts_with("execute-api.") && !id.contains('-');
        ApiId::parse(id).ok().filter(|_| is_id)
    }

    fn split(&self) -> (&str, &str) {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

/// What API Gateway's paths of an API have before the paths of the OpenAPI document: nothing, or
/// literal segments that each start with `/`, at most 128 characters.
#[derive(Clone, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RoutePrefix(String);

/// Text that is not a route prefix.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "must be empty or a path such as `/v1`, at most {} characters long, with segments of letters, digits and \
     -._~!&'(),;=:@ and without a `/` at the end",
    RoutePrefix::MAX_CHARS
)]
pub struct InvalidRoutePrefix;

impl RoutePrefix {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 128;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a valid prefix.
    pub fn parse(text: &str) -> Result<Self, InvalidRoutePrefix> {
        let is_path = |text: &str| {
            text.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_literal_segment))
        };
        let is_valid = text.len() <= Self::MAX_CHARS && (text.is_empty() || is_path(text));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidRoutePrefix) }
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

named_enum! {
    /// Whether calls that change something are confirmed by the agent's user first. This
    /// guards against mistakes. It is not a security boundary.
    #[derive(Default)]
    pub enum Confirmation {
        /// Calls are not confirmed.
        #[default]
        Off = "off",
        /// The user is asked if the client can ask.
        Ask = "ask",
        /// The user is asked, and calls of clients that cannot ask are refused.
        Require = "require",
    }
}

/// Whether a text is a literal segment of a route: not empty, and not a dot segment. It has only
/// the unreserved characters and sub-delimiters of RFC 3986 that have no special meaning in IAM
/// policies and cannot change by decoding.
pub(crate) fn is_literal_segment(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!&'(),;=:@".contains(&b);
    !text.is_empty() && text.bytes().all(is_plain) && !matches!(text, "." | "..")
}

macro_rules! text_form {
    ($($Type:ident, $Invalid:ident;)*) => {
        $(
            impl std::str::FromStr for $Type {
                type Err = $Invalid;

                fn from_str(text: &str) -> Result<Self, $Invalid> {
                    Self::parse(text)
                }
            }

            impl fmt::Display for $Type {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str(&self.0)
                }
            }

            impl<'de> Deserialize<'de> for $Type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    from_text(deserializer)
                }
            }
        )*
    };
}

text_form! {
    ApiName, InvalidApiName;
    ApiId, InvalidApiId;
    RoutePrefix, InvalidRoutePrefix;
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
