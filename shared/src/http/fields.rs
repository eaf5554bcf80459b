//! Checks the fields of a body, and gathers all that is wrong with them.

use std::collections::BTreeMap;

use super::Failure;
use crate::api::FieldError;
use crate::domain::Tags;

/// What is wrong with a body's fields, so far.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Takes the value of a field, or notes what is wrong with it.
    pub fn check<T, E: ToString>(&mut self, pointer: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.refuse(pointer, error)).ok()
    }

    /// Takes the tags of an account.
    pub fn tags(&mut self, tags: &BTreeMap<String, String>) -> Option<Tags> {
        let parsed = Tags::parse(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        parsed
            .map_err(|(key, error)| {
                let pointer = key.map_or("/tags".to_owned(), |key| format!("/tags/{}", escape(&key)));
                self.refuse(&pointer, error);
            })
            .ok()
    }

    /// Notes what is wrong with a field.
    pub fn refuse(&mut self, pointer: &str, detail: impl ToString) {
        self.0.push(FieldError { pointer: pointer.to_owned(), detail: detail.to_string() });
    }

    /// What was made of the fields, if nothing is wrong with any.
    ///
    /// # Errors
    /// [`Failure::InvalidFields`] otherwise.
    pub fn finish<T>(self, made: Option<T>) -> Result<T, Failure> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(Failure::InvalidFields(self.0)),
        }
    }
}

/// A member's name as it stands in a JSON pointer (RFC 6901, section 3).
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
