//! What pages read from their addresses.

use std::str::FromStr;

use serde::Deserialize;

use crate::error::PageError;

/// Which page of what a page of the console has read whole.
#[derive(Deserialize)]
pub(super) struct After {
    /// So many items are on the pages before.
    #[serde(default)]
    pub(super) after: usize,
}

/// Which page of a list of the API.
#[derive(Deserialize)]
pub(super) struct Cursor {
    /// Where the page before ended. Nothing, on the first one.
    #[serde(default)]
    pub(super) cursor: String,
}

/// The id in a path. Where there can be no such id, there is no such page.
pub(super) fn id<T: FromStr>(text: &str) -> Result<T, PageError> {
    text.parse().map_err(|_| PageError::NoPage)
}
