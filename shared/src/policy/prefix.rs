//! Path prefixes from the configuration.

/// A path that others lie below: one or more plain segments, such as `/teams`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

/// Text that is no acceptable prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no path prefix: write `/` and letters, digits, dashes, dots or underscores, without a trailing slash, and not below /iam"
)]
pub struct InvalidPrefix(String);

impl PathPrefix {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is no such path, or lies in the reserved `/iam`.
    pub fn parse(text: &str) -> Result<Self, InvalidPrefix> {
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let segments = text.strip_prefix('/').ok_or_else(|| InvalidPrefix(text.to_owned()))?;
        let reserved = segments.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case("iam"));
        if reserved || !segments.split('/').all(plain) {
            return Err(InvalidPrefix(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a comma-separated list, which may be empty.
    ///
    /// # Errors
    /// When one of them is no prefix.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidPrefix> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
