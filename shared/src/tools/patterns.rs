//! The regular expressions of schemas.

use std::collections::HashMap;

use jsonschema::paths::Location;
use jsonschema::{Draft, Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use super::JsonObject;

/// The maximum length of a regular expression, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 256;
/// The maximum size of a compiled regular expression, in bytes.
const MAX_COMPILED_BYTES: usize = 256 * 1024;
/// The maximum number of regular expressions in the schema of a tool.
const MAX_IN_SCHEMA: usize = 20;
/// The maximum number of different regular expressions in a document.
const MAX_IN_DOCUMENT: usize = 500;
/// The location in a tool's input schema below which regular expressions are not checked.
const UNCHECKED: &str = "/properties/body/";

/// Decides which regular expressions of a document are used.
#[derive(Default)]
pub(super) struct Patterns {
    checked: HashMap<String, bool>,
}

impl Patterns {
    /// Whether a schema that already has `others` can have this regular expression. The engine
    /// takes linear time, and has no look-around and no back-references.
    pub(super) fn is_usable(&mut self, pattern: &str, others: usize) -> bool {
        if others >= MAX_IN_SCHEMA || pattern.len() > MAX_PATTERN_BYTES {
            return false;
        }
        if let Some(usable) = self.checked.get(pattern) {
            return *usable;
        }
        let usable = self.checked.len() < MAX_IN_DOCUMENT && pattern_validator(pattern).is_ok();
        if self.checked.len() < MAX_IN_DOCUMENT {
            self.checked.insert(pattern.to_owned(), usable);
        }
        usable
    }
}

/// The validator of an input schema. Does not check regular expressions in the body, which can be
/// as large as a request: the API checks them.
///
/// # Errors
/// The schema is not valid.
pub(super) fn validator(schema: &JsonObject) -> Result<Validator, ValidationError<'static>> {
    build(schema, |location| !location.starts_with(UNCHECKED))
}

/// Checks that a schema is valid, apart from its regular expressions.
///
/// # Errors
/// The schema is not valid.
pub(super) fn check_schema(schema: &JsonObject) -> Result<(), ValidationError<'static>> {
    build(schema, |_| false).map(|_| ())
}

/// A validator that checks regular expressions only at locations that are `checked`.
fn build(schema: &JsonObject, checked: fn(&str) -> bool) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_keyword("pattern", move |_, value, location: Location| {
            let pattern = value.as_str().filter(|_| checked(location.as_str()));
            let validator = pattern.map(pattern_validator).transpose()?;
            Ok(Box::new(Pattern(validator)) as Box<dyn for<'i> Keyword<'i>>)
        })
        .build(&Value::Object(schema.clone()))
}

fn pattern_validator(pattern: &str) -> Result<Validator, ValidationError<'static>> {
    let limits = PatternOptions::regex().size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(limits)
        .build(&json!({ "pattern": pattern }))
}

/// A regular expression, unless it is not checked.
struct Pattern(Option<Validator>);

impl<'i> Keyword<'i> for Pattern {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        self.0.as_ref().map_or(Ok(()), |pattern| pattern.validate(instance))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        self.0.as_ref().is_none_or(|pattern| pattern.is_valid(instance))
    }
}
