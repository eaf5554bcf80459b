//! The paths of tools.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::openapi::{permission_path, variable_name};
use crate::policy::{InvalidPermission, Permission};

/// The path of an operation, such as `/organizations/{id}`, in the syntax of permissions.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// Why a text is not the path of a tool. Completes a sentence that begins with "the path".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    #[error(
        "has a variable that is only part of a segment, but a variable in a permission must be a whole segment"
    )]
    PartOfSegment,
    #[error("has two variables with the same name")]
    SameName,
    #[error("cannot be the path of a permission, which {0}")]
    Permission(InvalidPermission),
}

/// A segment of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    /// One segment: `{name}`.
    One(&'a str),
    /// One or more segments at the end: `{name+}`.
    Tail(&'a str),
}

impl Template {
    /// Reads a path of a document. Characters that the names of a permission's variables cannot
    /// have become `_`.
    ///
    /// # Errors
    /// See [`InvalidTemplate`].
    pub fn from_document(path: &str) -> Result<Self, InvalidTemplate> {
        let (path, is_wider) = permission_path(path);
        if is_wider { Err(InvalidTemplate::PartOfSegment) } else { Self::parse(&path) }
    }

    /// Checks `text`.
    ///
    /// # Errors
    /// See [`InvalidTemplate`].
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        Permission::parse(&format!("GET {text}")).map_err(InvalidTemplate::Permission)?;
        let template = Self(text.to_owned());
        let mut names: Vec<_> = template.variables().collect();
        names.sort_unstable();
        if names.is_sorted_by(|a, b| a < b) { Ok(template) } else { Err(InvalidTemplate::SameName) }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.0.split('/').skip(1).map(|text| {
            match text.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                None => Segment::Literal(text),
                Some(name) => name.strip_suffix('+').map_or(Segment::One(name), Segment::Tail),
            }
        })
    }

    /// The names of the variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::One(name) | Segment::Tail(name) => Some(name),
        })
    }

    /// The variable that stands for a path parameter of this name in the document.
    pub(super) fn variable_for(&self, parameter: &str) -> Option<&str> {
        let name = variable_name(parameter);
        self.variables().find(|variable| *variable == name)
    }
}

impl TryFrom<String> for Template {
    type Error = InvalidTemplate;

    fn try_from(text: String) -> Result<Self, InvalidTemplate> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
