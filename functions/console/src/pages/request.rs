//! Parameters in the addresses of pages.

use std::str::FromStr;

use serde::Deserialize;

use crate::error::PageError;

/// A page of a list that the console reads completely.
#[derive(Deserialize)]
pub(super) struct Offset {
    /// How many items the previous pages have.
    #[serde(default)]
    pub(super) after: usize,
}

/// A page of a list of the API.
#[derive(Deserialize)]
pub(super) struct Cursor {
    /// The API's cursor. Empty for the first page.
    #[serde(default)]
    pub(super) cursor: String,
}

/// Parses an ID in a path. A malformed ID is an unknown page.
pub(super) fn id<T: FromStr>(text: &str) -> Result<T, PageError> {
    text.parse().map_err(|_| PageError::PageNotFound)
}
