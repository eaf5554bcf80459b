//! JSON bodies and forms.

use std::fmt;
use std::marker::PhantomData;

use http::{HeaderMap, header};
use lambda_http::Body;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Failure;
use crate::json_text::escape_pointer;

/// The maximum size of a body, in bytes, unless it can have a document. The largest valid body
/// is smaller: a role with the maximum number of permissions of the maximum length.
pub(super) const MAX_BODY_BYTES: usize = 32 * 1024;

/// Parses a form.
pub(super) fn read_form(headers: &HeaderMap, body: &Body) -> Result<Vec<(String, String)>, Failure> {
    if !essence(headers).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Failure::UnsupportedMediaType);
    }
    let bytes = check_size(body, MAX_BODY_BYTES)?;
    let malformed = || Failure::MalformedRequest("The body is not a form in UTF-8.".to_owned());
    serde_html_form::from_bytes(bytes).map_err(|_| malformed())
}

/// The media type without its parameters.
fn essence(headers: &HeaderMap) -> &str {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim()
}

fn check_size(body: &Body, most: usize) -> Result<&[u8], Failure> {
    let bytes: &[u8] = body.as_ref();
    if bytes.len() > most { Err(Failure::BodyTooLarge(most)) } else { Ok(bytes) }
}

/// Parses a JSON body of at most `most` bytes.
pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Body, most: usize) -> Result<T, Failure> {
    let essence = essence(headers);
    if !["application/json", "application/merge-patch+json"]
        .iter()
        .any(|json| essence.eq_ignore_ascii_case(json))
    {
        return Err(Failure::UnsupportedMediaType);
    }
    let bytes = check_size(body, most)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        failure(error.inner(), pointer)
    })?;
    json.end().map_err(|error| failure(&error, String::new()))?;
    Ok(value)
}

/// A value parsed from a JSON object. Without this type, serde would also parse a
/// struct from an array of its values.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

/// Converts an error of the parser. Its message can quote a value of the body, so the
/// message is only returned to the sender and never logged.
fn failure(error: &serde_json::Error, pointer: String) -> Failure {
    match error.classify() {
        serde_json::error::Category::Data => {
            let message = error.to_string();
            // The pointer already locates the error in the body.
            let position = format!(" at line {} column {}", error.line(), error.column());
            let detail = message.strip_suffix(&position).unwrap_or(&message);
            // The parser reports a missing or repeated member at its object.
            let member = ["missing field `", "duplicate field `"]
                .iter()
                .find_map(|problem| detail.strip_prefix(problem)?.strip_suffix('`'))
                .map(|member| format!("/{}", escape_pointer(member)));
            Failure::invalid_field(&(pointer + &member.unwrap_or_default()), detail)
        }
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => Failure::MalformedJson(format!("{error}.")),
    }
}

/// Converts a path in a document to a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Map { key } => format!("/{}", escape_pointer(key)),
        Segment::Seq { index } => format!("/{index}"),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}
