//! Checks the fields of a body and collects their errors.

use std::collections::BTreeMap;

use super::Failure;
use crate::api::FieldError;
use crate::domain::Tags;
use crate::json_text::escape_pointer;

/// The errors found so far in a body's fields.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Returns the value of a field, or records the error.
    pub fn check<T, E: ToString>(&mut self, pointer: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.refuse(pointer, error)).ok()
    }

    /// Checks the tags of an account.
    pub fn tags(&mut self, tags: &BTreeMap<String, String>) -> Option<Tags> {
        let parsed = Tags::parse(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        parsed
            .map_err(|(key, error)| {
                let pointer = key.map_or("/tags".to_owned(), |key| format!("/tags/{}", escape_pointer(&key)));
                self.refuse(&pointer, error);
            })
            .ok()
    }

    /// The JSON pointer (RFC 6901) to a member of the body, from the names of its parents and its
    /// own.
    pub fn pointer(names: &[&str]) -> String {
        names.iter().flat_map(|name| ["/".to_owned(), escape_pointer(name)]).collect()
    }

    /// Records an error. `detail` completes a sentence that starts with the field's name.
    pub fn refuse(&mut self, pointer: &str, detail: impl ToString) {
        self.0.push(FieldError { pointer: pointer.to_owned(), detail: detail.to_string() });
    }

    /// Returns `value`, which was built from the fields.
    ///
    /// # Errors
    /// [`Failure::InvalidFields`] if a field has an error.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Failure> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Failure::InvalidFields(self.0)),
        }
    }
}
