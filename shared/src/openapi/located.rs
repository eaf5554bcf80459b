//! A value in a document, with its position.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{Document, DocumentError};
use crate::json_text::escape_pointer;

/// The maximum length of a reference, in bytes.
const MAX_REFERENCE_BYTES: usize = 1_024;
/// The maximum number of references that follow one another.
const MAX_REFERENCES: usize = 16;

/// A value in a document, with its position.
#[derive(Clone, Debug)]
pub struct Located<'a> {
    pub value: &'a Value,
    /// The position, as a JSON pointer (RFC 6901).
    pub pointer: String,
}

impl<'a> Located<'a> {
    /// The member with this name of an object. `None` if the member is absent or null.
    pub fn member(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self { value, pointer: format!("{}/{}", self.pointer, escape_pointer(name)) })
    }

    /// The members of an object. Empty for another value.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(name, value)| {
            (&**name, Self { value, pointer: format!("{}/{}", self.pointer, escape_pointer(name)) })
        })
    }

    /// The items of an array. Empty for another value.
    pub fn items(&self) -> impl Iterator<Item = Self> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(at, value)| Self { value, pointer: format!("{}/{at}", self.pointer) })
    }

    /// The text at a member.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name).and_then(Value::as_str)
    }

    /// Whether a member is `true`.
    pub fn is_set(&self, name: &str) -> bool {
        self.value.get(name) == Some(&Value::Bool(true))
    }

    /// The object at this position.
    ///
    /// # Errors
    /// The value is not an object.
    pub fn object(&self) -> Result<&'a Map<String, Value>, DocumentError> {
        self.value.as_object().ok_or_else(|| self.error("must be an object"))
    }

    /// The error `detail` at this position.
    pub fn error(&self, detail: impl Into<String>) -> DocumentError {
        DocumentError { pointer: self.pointer.clone(), detail: detail.into() }
    }
}

impl Document {
    /// The whole document.
    pub fn root(&self) -> Located<'_> {
        Located { value: &self.root, pointer: String::new() }
    }

    /// The value to which `$ref` refers if the value is a reference.
    ///
    /// # Errors
    /// The reference does not point to a value in the document.
    pub fn reference<'a>(&'a self, from: &Located<'_>) -> Result<Option<Located<'a>>, DocumentError> {
        let Some(reference) = from.value.get("$ref") else { return Ok(None) };
        let error = |detail: &str| DocumentError {
            pointer: format!("{}/$ref", from.pointer),
            detail: detail.to_owned(),
        };
        let pointer = reference
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
            .filter(|pointer| pointer.len() <= MAX_REFERENCE_BYTES)
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            .ok_or_else(|| {
                error("must be a reference into the same document, such as #/components/schemas/Name")
            })?;
        let pointer = percent_decode_str(pointer).decode_utf8_lossy().into_owned();
        match self.root.pointer(&pointer) {
            Some(value) => Ok(Some(Located { value, pointer })),
            None => Err(error("must refer to a value that the document contains")),
        }
    }

    /// The value itself or, if the value is a reference, the value at the end of its references.
    ///
    /// # Errors
    /// A reference does not point to a value in the document, or is part of a cycle or of too long
    /// a chain.
    pub fn resolve<'a>(&'a self, from: Located<'a>) -> Result<Located<'a>, DocumentError> {
        let mut value = from;
        for _ in 0..=MAX_REFERENCES {
            match self.reference(&value)? {
                Some(next) => value = next,
                None => return Ok(value),
            }
        }
        Err(value.error("must not refer to itself or be part of a chain of more than 16 references"))
    }
}
