//! Queries and URL-encoded forms.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::parameters::Place;
use super::value::text;

/// Everything but the unreserved characters (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Values that cannot be written in a query. Completes a sentence that begins with the name of
/// the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must contain only strings, numbers and booleans, because it is a part of the query")]
pub(super) struct InvalidQueryValue;

/// Escaped `name=value` pairs, joined with `&`.
#[derive(Debug, Default)]
pub(super) struct Pairs(String);

impl Pairs {
    /// The text of the pairs.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn push(&mut self, name: &str, escaped_value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.extend(utf8_percent_encode(name, ESCAPED));
        self.0.push('=');
        self.0.push_str(escaped_value);
    }

    /// Adds a parameter of a query. Empty arrays and objects add nothing.
    pub(super) fn add(&mut self, name: &str, value: &Value, place: Place) -> Result<(), InvalidQueryValue> {
        let separator = match place {
            Place::QueryJson => {
                self.push(name, &escape(&value.to_string()));
                return Ok(());
            }
            Place::QueryDeepObject => return self.add_deep_object(name, value),
            Place::Query | Place::Path | Place::Header => return self.add_repeated(name, value),
            Place::QueryCommas => ",",
            Place::QuerySpaces => "%20",
            Place::QueryPipes => "%7C",
        };
        let parts = match value {
            Value::Array(items) => items.iter().map(escaped).collect::<Result<Vec<_>, _>>()?,
            Value::Object(members) => {
                let mut parts = Vec::new();
                for (name, value) in members {
                    parts.extend([escape(name), escaped(value)?]);
                }
                parts
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![escaped(value)?],
        };
        if !parts.is_empty() {
            self.push(name, &parts.join(separator));
        }
        Ok(())
    }

    /// Adds a field of a form. Values in values are JSON.
    pub(super) fn add_field(&mut self, name: &str, value: &Value) {
        let written = |value: &Value| text(value).unwrap_or_else(|| value.to_string());
        match value {
            Value::Null => {}
            Value::Array(items) => items.iter().for_each(|item| self.push(name, &escape(&written(item)))),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.push(name, &escape(&written(value)));
            }
        }
    }

    fn add_repeated(&mut self, name: &str, value: &Value) -> Result<(), InvalidQueryValue> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| {
                self.push(name, &escaped(item)?);
                Ok(())
            }),
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.push(name, &escaped(value)?);
                Ok(())
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.push(name, &escaped(value)?);
                Ok(())
            }
        }
    }

    fn add_deep_object(&mut self, name: &str, value: &Value) -> Result<(), InvalidQueryValue> {
        for (member, value) in value.as_object().ok_or(InvalidQueryValue)? {
            self.push(&format!("{name}[{member}]"), &escaped(value)?);
        }
        Ok(())
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn escaped(value: &Value) -> Result<String, InvalidQueryValue> {
    text(value).map(|text| escape(&text)).ok_or(InvalidQueryValue)
}
