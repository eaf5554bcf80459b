//! Checks the arguments of a call.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};

use super::patterns::validator;
use super::text::clean;
use super::value::convert;
use super::{JsonObject, Tool};

/// The maximum number of sentences about the arguments of a call.
const MAX_SENTENCES: usize = 5;
/// The maximum length of arguments that are explained, as JSON in bytes. The validator collects the
/// errors of all values, with copies of the values, before it returns the first error.
const MAX_EXPLAINED_BYTES: usize = 16_000;
/// The maximum length of a sentence, in characters.
const MAX_SENTENCE_CHARS: usize = 300;

/// Why arguments cannot be sent: at most five sentences for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidArguments {
    pub sentences: Vec<String>,
}

impl InvalidArguments {
    /// One sentence about an argument.
    pub(super) fn new(argument: &str, problem: impl fmt::Display) -> Self {
        Self { sentences: vec![sentence(&format!("{argument} {problem}."))] }
    }
}

impl fmt::Display for InvalidArguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentences.join("\n"))
    }
}

impl std::error::Error for InvalidArguments {}

/// The validator of a tool's input schema, built when the tool is first called.
#[derive(Clone, Default)]
pub(super) struct CachedValidator(OnceLock<Option<Arc<Validator>>>);

impl CachedValidator {
    fn is_built(&self) -> bool {
        self.0.get().is_some()
    }

    fn get(&self, schema: &JsonObject) -> Option<&Validator> {
        self.0.get_or_init(|| validator(schema).ok().map(Arc::new)).as_deref()
    }
}

impl fmt::Debug for CachedValidator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CachedValidator")
    }
}

impl PartialEq for CachedValidator {
    /// The schema decides what a validator is.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Tool {
    /// Whether the tool's validator, which can need several megabytes, is in memory.
    pub fn has_validator(&self) -> bool {
        self.validator.is_built()
    }

    /// The arguments in the types of the input schema, without optional ones that are null.
    ///
    /// # Errors
    /// The arguments do not match the schema.
    pub(super) fn check(&self, arguments: JsonObject) -> Result<JsonObject, InvalidArguments> {
        let properties = self.input_schema.get("properties");
        let required = self.input_schema.get("required").and_then(Value::as_array);
        let mut checked = Map::new();
        for (name, value) in arguments {
            let is_required = required.is_some_and(|required| required.iter().any(|own| own == &*name));
            if value.is_null() && !is_required {
                continue;
            }
            let is_parameter = self.parameters.iter().any(|parameter| parameter.property == name);
            let schema = properties.and_then(|properties| properties.get(&name)).filter(|_| is_parameter);
            let value = match schema {
                Some(schema) => convert(value, schema),
                None => value,
            };
            checked.insert(name, value);
        }
        let Some(validator) = self.validator.get(&self.input_schema) else {
            let problem = "cannot be checked. Ask an admin to register the API again";
            return Err(InvalidArguments::new("The arguments", problem));
        };
        let arguments = Value::Object(checked);
        if !validator.is_valid(&arguments) {
            return Err(explain_all(validator, &arguments));
        }
        match arguments {
            Value::Object(checked) => Ok(checked),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Ok(JsonObject::new())
            }
        }
    }
}

/// What is wrong with invalid arguments.
fn explain_all(validator: &Validator, arguments: &Value) -> InvalidArguments {
    if arguments.to_string().len() > MAX_EXPLAINED_BYTES {
        let problem = "do not match the input schema, and are too long for an explanation of what is wrong";
        return InvalidArguments::new("The arguments", problem);
    }
    let errors = validator.iter_errors(arguments).take(MAX_SENTENCES);
    InvalidArguments { sentences: errors.map(|error| explain(&error)).collect() }
}

/// What is wrong with an argument, without its value.
fn explain(error: &ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let place = path.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~");
    let inside = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    if let ValidationErrorKind::Required { property } = error.kind() {
        let name = property.as_str().unwrap_or_default();
        return sentence(&format!("{} is required.", inside(name)));
    }
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let names: Vec<_> = unexpected.iter().take(MAX_SENTENCES).map(|name| inside(name)).collect();
        return sentence(&format!("These arguments are unknown: {}.", names.join(", ")));
    }
    let place = if place.is_empty() { "arguments" } else { &place };
    sentence(&format!("{place}: {}.", error.masked_with("the value")))
}

fn sentence(text: &str) -> String {
    clean(text, MAX_SENTENCE_CHARS).unwrap_or_default()
}
