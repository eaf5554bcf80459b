//! Paths that no argument can break out of.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::template::Segment;
use super::value::text;
use super::{Template, Tool};
use crate::domain::is_control;
use crate::policy::Target;

/// The maximum length of a segment before it is escaped, in bytes.
const MAX_SEGMENT_BYTES: usize = 512;
/// The maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 2_048;
/// The characters that are escaped: all but those that a permission's literal segment can contain.
/// So a role's decision is the same for the escaped and the decoded path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');
/// Characters that are refused, because [`Target::parse`] refuses them raw and escaped.
const REFUSED: [char; 8] = ['/', '\\', '?', '#', '%', ';', '*', '$'];

/// Why a value cannot be a segment of a path. Completes a sentence that begins with the name of
/// the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidSegment {
    #[error("must not be empty, because it is a part of the path")]
    Empty,
    #[error("must not be `.` or `..`, because it is a part of the path")]
    Dots,
    #[error("must not contain `{0}`, because it is a part of the path")]
    Character(char),
    #[error("must not contain control characters, because it is a part of the path")]
    Control,
    #[error("must be at most {MAX_SEGMENT_BYTES} bytes, because it is a part of the path")]
    TooLong,
    #[error("must be a string, a number or a boolean, because it is a part of the path")]
    Type,
    #[error("must not start or end with `/` or contain `//`, because it is a part of the path")]
    EmptyPart,
    #[error("must be a list of values without commas, because it is a part of the path")]
    Comma,
    #[error("makes the path longer than {MAX_PATH_BYTES} bytes")]
    PathTooLong,
    #[error("cannot be a part of the path")]
    Ambiguous,
}

/// The escaped segment for a value.
pub(super) fn segment(value: &str) -> Result<String, InvalidSegment> {
    if value.is_empty() {
        return Err(InvalidSegment::Empty);
    }
    if matches!(value, "." | "..") {
        return Err(InvalidSegment::Dots);
    }
    if value.len() > MAX_SEGMENT_BYTES {
        return Err(InvalidSegment::TooLong);
    }
    if let Some(refused) = value.chars().find(|c| REFUSED.contains(c)) {
        return Err(InvalidSegment::Character(refused));
    }
    if value.chars().any(is_control) {
        return Err(InvalidSegment::Control);
    }
    Ok(utf8_percent_encode(value, ESCAPED).to_string())
}

impl Tool {
    /// The escaped path for these arguments: the literals of the template, and exactly one segment
    /// for each variable (or one for each part of a `{name+}`).
    ///
    /// # Errors
    /// The name of an argument, and what is wrong with it.
    pub(super) fn path(&self, arguments: &Map<String, Value>) -> Result<String, (String, InvalidSegment)> {
        let mut path = String::new();
        let mut last = String::new();
        let mut expected = 0;
        for part in self.template.segments() {
            path.push('/');
            let (name, is_tail) = match part {
                Segment::Literal(text) => {
                    expected += 1;
                    path.push_str(text);
                    continue;
                }
                Segment::One(name) => (name, false),
                Segment::Tail(name) => (name, true),
            };
            let property = self.property_of(name);
            let (text, segments) =
                variable(arguments.get(property), is_tail).map_err(|error| (property.to_owned(), error))?;
            property.clone_into(&mut last);
            expected += segments;
            path.push_str(&text);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err((last, InvalidSegment::PathTooLong));
        }
        // The route of the request is that of the template, whatever the values are.
        let is_route = Target::parse(self.method.name(), &path).is_ok()
            && path.split('/').skip(1).count() == expected
            && has_literals_of(&path, &self.template);
        if is_route { Ok(path) } else { Err((last, InvalidSegment::Ambiguous)) }
    }
}

/// The escaped text for a variable, and the number of its segments.
fn variable(value: Option<&Value>, is_tail: bool) -> Result<(String, usize), InvalidSegment> {
    let value = value.unwrap_or(&Value::Null);
    if let Some(items) = value.as_array() {
        let mut parts = Vec::new();
        for item in items {
            let part = text(item).ok_or(InvalidSegment::Type)?;
            if part.contains(',') {
                return Err(InvalidSegment::Comma);
            }
            parts.push(segment(&part)?);
        }
        let joined = parts.join(",");
        return if joined.is_empty() { Err(InvalidSegment::Empty) } else { Ok((joined, 1)) };
    }
    let text = text(value).ok_or(InvalidSegment::Type)?;
    if is_tail {
        if !text.is_empty() && text.split('/').any(str::is_empty) {
            return Err(InvalidSegment::EmptyPart);
        }
        let parts: Vec<_> = text.split('/').map(segment).collect::<Result<_, _>>()?;
        return Ok((parts.join("/"), parts.len()));
    }
    Ok((segment(&text)?, 1))
}

/// Whether a path has the literal segments of a template at their positions.
fn has_literals_of(path: &str, template: &Template) -> bool {
    let mut segments = path.split('/').skip(1);
    template.segments().all(|part| match (part, segments.next()) {
        (Segment::Literal(text), Some(segment)) => text == segment,
        (Segment::One(_) | Segment::Tail(_), Some(segment)) => !segment.is_empty(),
        (_, None) => false,
    })
}
