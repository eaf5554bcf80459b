//! Path prefixes from the configuration.

use super::target::is_reserved_segment;

/// A path prefix such as `/teams`, which has one or more plain segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

/// Text that is not a valid path prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "contains the invalid path prefix `{0}`. A path prefix starts with `/`, has segments of letters, digits, hyphens, \
     dots and underscores, does not end with `/`, and is not below /iam"
)]
pub struct InvalidPrefix(String);

impl PathPrefix {
    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a plain path, or is below the reserved `/iam`.
    pub fn parse(text: &str) -> Result<Self, InvalidPrefix> {
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let segments = text.strip_prefix('/').ok_or_else(|| InvalidPrefix(text.to_owned()))?;
        let first = segments.split('/').next().unwrap_or_default();
        if is_reserved_segment(first) || !segments.split('/').all(plain) {
            return Err(InvalidPrefix(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Parses a comma-separated list, which can be empty.
    ///
    /// # Errors
    /// An entry is not a valid prefix.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidPrefix> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
