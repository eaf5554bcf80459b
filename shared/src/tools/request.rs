//! The request of a call.

use serde_json::Value;

use super::body::{Body, BodyForm};
use super::parameters::{BODY, Place};
use super::query::Pairs;
use super::value::text;
use super::{InvalidArguments, JsonObject, Tool};
use crate::policy::Method;

/// The maximum length of a query, in bytes. API Gateway accepts 10,240 bytes for the request line
/// and all headers.
const MAX_QUERY_BYTES: usize = 4_096;
/// The maximum length of a header's value, in bytes.
const MAX_HEADER_BYTES: usize = 1_024;
/// The maximum length of a body, in bytes.
const MAX_BODY_BYTES: usize = 1_000_000;

/// A request to the API of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRequest {
    pub method: Method,
    /// The escaped path, relative to the base URL. Starts with `/`.
    pub path: String,
    /// The escaped query, without `?`. Empty if there is none.
    pub query: String,
    /// Names in lower case, and values. Never `Authorization`, `Host`, or another header that
    /// frames or routes the request.
    pub headers: Vec<(String, String)>,
    pub body: Option<ToolBody>,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolBody {
    pub content_type: String,
    pub bytes: Vec<u8>,
}

impl Tool {
    /// Checks the arguments and puts them in their places in a request. The request has the
    /// method and the route of the tool, whatever the arguments are.
    ///
    /// # Errors
    /// The arguments do not match the input schema, or cannot be sent.
    pub fn request(&self, arguments: JsonObject) -> Result<ToolRequest, InvalidArguments> {
        let arguments = self.check(arguments)?;
        let path = self.path(&arguments).map_err(|(name, error)| InvalidArguments::new(&name, error))?;
        let (mut pairs, mut headers) = (Pairs::default(), Vec::new());
        for parameter in &self.parameters {
            let Some(value) = arguments.get(&parameter.property) else { continue };
            match parameter.place {
                Place::Path => {}
                Place::Header => {
                    let value = header_value(value)
                        .map_err(|error| InvalidArguments::new(&parameter.property, error))?;
                    headers.push((parameter.name.to_ascii_lowercase(), value));
                }
                Place::Query
                | Place::QueryCommas
                | Place::QuerySpaces
                | Place::QueryPipes
                | Place::QueryDeepObject
                | Place::QueryJson => pairs
                    .add(&parameter.name, value, parameter.place)
                    .map_err(|error| InvalidArguments::new(&parameter.property, error))?,
            }
        }
        let query = pairs.into_text();
        if query.len() > MAX_QUERY_BYTES {
            let problem = format!("are too long: the query has more than {MAX_QUERY_BYTES} bytes");
            return Err(InvalidArguments::new("The arguments", problem));
        }
        let body = match (&self.body, arguments.get(BODY)) {
            (Some(body), Some(value)) => Some(body_of(body, value)?),
            (None, _) | (_, None) => None,
        };
        Ok(ToolRequest { method: self.method, path, query, headers, body })
    }

    /// The property of the arguments for a variable of the path. Each variable has one.
    pub(super) fn property_of<'t>(&'t self, variable: &'t str) -> &'t str {
        let is_own = |place: Place, name: &str| place == Place::Path && name == variable;
        let parameter = self.parameters.iter().find(|parameter| is_own(parameter.place, &parameter.name));
        parameter.map_or(variable, |parameter| &parameter.property)
    }
}

/// Why a value cannot be the value of a header. Completes a sentence that begins with the name of
/// the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidHeaderValue {
    #[error("must be a string, a number, a boolean or a list of them, because it is a header")]
    Type,
    #[error(
        "must contain only visible ASCII characters, and spaces only between them, because it is a header"
    )]
    Characters,
    #[error("must have 1 to {MAX_HEADER_BYTES} characters, because it is a header")]
    Length,
    #[error("must be a list of values without commas, because it is a header")]
    Comma,
}

fn header_value(value: &Value) -> Result<String, InvalidHeaderValue> {
    let text = match value.as_array() {
        Some(items) => {
            let parts: Option<Vec<_>> = items.iter().map(text).collect();
            let parts = parts.ok_or(InvalidHeaderValue::Type)?;
            if parts.iter().any(|part| part.contains(',')) {
                return Err(InvalidHeaderValue::Comma);
            }
            parts.join(",")
        }
        None => text(value).ok_or(InvalidHeaderValue::Type)?,
    };
    if !(1..=MAX_HEADER_BYTES).contains(&text.len()) {
        return Err(InvalidHeaderValue::Length);
    }
    let is_visible = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if is_visible && text.trim() == text { Ok(text) } else { Err(InvalidHeaderValue::Characters) }
}

fn body_of(body: &Body, value: &Value) -> Result<ToolBody, InvalidArguments> {
    let bytes = match (body.form, value) {
        (BodyForm::Form, Value::Object(fields)) => {
            let mut pairs = Pairs::default();
            fields.iter().for_each(|(name, value)| pairs.add_field(name, value));
            pairs.into_text().into_bytes()
        }
        (
            BodyForm::Form,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        ) => {
            return Err(InvalidArguments::new(BODY, "must be an object, because it is a form"));
        }
        (BodyForm::Text, _) => text(value).unwrap_or_default().into_bytes(),
        (BodyForm::Json, _) => value.to_string().into_bytes(),
    };
    if bytes.len() > MAX_BODY_BYTES {
        return Err(InvalidArguments::new(BODY, format!("must be at most {MAX_BODY_BYTES} bytes")));
    }
    Ok(ToolBody { content_type: body.content_type.clone(), bytes })
}
