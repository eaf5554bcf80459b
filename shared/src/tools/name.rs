//! The names of tools.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::text::identifier;

/// The name of a tool: 1 to 48 ASCII letters, digits, underscores and hyphens.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

/// Text that is not the name of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {} letters, digits, underscores and hyphens", ToolName::MAX_CHARS)]
pub struct InvalidToolName;

impl ToolName {
    /// The maximum length, in characters. Clients put a prefix before the name, and some models
    /// accept at most 64 characters.
    pub const MAX_CHARS: usize = 48;
    /// The name of the tool that searches for tools. No operation gets this name.
    pub const SEARCH: &str = "search_tools";

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not a valid name.
    pub fn parse(text: &str) -> Result<Self, InvalidToolName> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        let is_valid = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(is_plain);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidToolName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ToolName {
    type Error = InvalidToolName;

    fn try_from(text: String) -> Result<Self, InvalidToolName> {
        Self::parse(&text)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

impl std::fmt::Display for ToolName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Gives each operation of a document its own name.
pub(super) struct Names {
    /// In lower case.
    taken: HashSet<String>,
    /// The last number that a name got, by the name in lower case.
    numbers: HashMap<String, usize>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { taken: HashSet::from([ToolName::SEARCH.to_owned()]), numbers: HashMap::new() }
    }

    /// The name of an operation: its `operationId` or, without one, its method and path. A name
    /// that is taken gets a number.
    pub(super) fn add(&mut self, operation_id: Option<&str>, method: &str, path: &str) -> ToolName {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let name = operation_id.and_then(|id| identifier(id, ToolName::MAX_CHARS, is_plain));
        let name = name.unwrap_or_else(|| {
            let text = format!("{}_{path}", method.to_ascii_lowercase());
            identifier(&text, ToolName::MAX_CHARS, is_plain).unwrap_or_default()
        });
        let mut unique = name.clone();
        let number = self.numbers.entry(name.to_ascii_lowercase()).or_insert(1);
        while !self.taken.insert(unique.to_ascii_lowercase()) {
            *number += 1;
            let suffix = format!("_{number}");
            let kept = name.len().min(ToolName::MAX_CHARS - suffix.len());
            unique = format!("{}{suffix}", name.get(..kept).unwrap_or_default());
        }
        ToolName(unique)
    }
}
