//! Parameters in the addresses of pages.

use serde::Deserialize;

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
