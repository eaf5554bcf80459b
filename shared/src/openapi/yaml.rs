//! Parses YAML into JSON values within limits, because aliases can make a small document
//! arbitrarily large.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Number, Value};

/// The maximum depth of nested values. JSON documents have a similar limit, in `serde_json`.
const MAX_DEPTH: usize = 100;
/// The maximum number of values, counted again for each anchor and each alias. A text counts
/// as one more value for every [`BYTES_PER_VALUE`] bytes.
const MAX_VALUES: usize = 300_000;
/// About the memory that a short value takes, in bytes.
const BYTES_PER_VALUE: usize = 64;

/// Why a text is not a YAML document that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidYaml {
    #[error("line {line}, column {column}: {problem}")]
    Syntax { line: usize, column: usize, problem: String },
    #[error("values are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("there are more than {MAX_VALUES} values, including those that aliases repeat")]
    TooManyValues,
    #[error("line {0} has a key that is not text")]
    Key(usize),
    #[error("the text contains only comments")]
    Empty,
}

/// A collection whose end was not read yet.
struct Open {
    collection: Collection,
    anchor: usize,
    /// The number of values before the collection.
    values_before: usize,
}

enum Collection {
    Sequence(Vec<Value>),
    /// A mapping, and the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

/// A value with an anchor.
struct Anchored {
    value: Value,
    /// How many values the value counts as.
    size: usize,
    /// How many levels of collections the value has.
    depth: usize,
}

/// The state of the parser.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Values with an anchor.
    anchors: HashMap<usize, Anchored>,
    values: usize,
    root: Option<Value>,
}

/// Parses the first document of `text`, with the core schema of YAML 1.2. Keys are strings.
pub(super) fn parse(text: &str) -> Result<Value, InvalidYaml> {
    let (mut parser, mut builder) = (Parser::new_from_str(text), Builder::default());
    while let Some(next) = parser.next_event() {
        let (event, span) = next?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.add(event, span.start.line())?;
    }
    builder.root.ok_or(InvalidYaml::Empty)
}

impl Builder {
    fn add(&mut self, event: Event<'_>, line: usize) -> Result<(), InvalidYaml> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != ScalarStyle::Plain
                    || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let value = if is_text || self.expects_key() {
                    Value::String(text.into_owned())
                } else {
                    plain_scalar(text.into_owned())
                };
                let size = 1 + value.as_str().map_or(0, str::len) / BYTES_PER_VALUE;
                self.count(size)?;
                self.finish(value, anchor, size, line)
            }
            Event::Alias(anchor) => {
                let anchored = self.anchors.get(&anchor);
                let (size, depth) = anchored.map_or((1, 0), |anchored| (anchored.size, anchored.depth));
                self.count(size)?;
                if self.open.len() + depth > MAX_DEPTH {
                    return Err(InvalidYaml::TooDeep);
                }
                let value = self.anchors.get(&anchor).map_or(Value::Null, |anchored| anchored.value.clone());
                self.finish(value, 0, size, line)
            }
            Event::SequenceStart(anchor, _) => self.start(Collection::Sequence(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.start(Collection::Mapping(Map::new(), None), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { collection, anchor, values_before }) = self.open.pop() else { return Ok(()) };
                let value = match collection {
                    Collection::Sequence(items) => Value::Array(items),
                    Collection::Mapping(members, _) => Value::Object(members),
                };
                let size = self.values.saturating_sub(values_before);
                self.finish(value, anchor, size, line)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    /// Whether the next value is the key of a mapping.
    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { collection: Collection::Mapping(_, None), .. }))
    }

    fn count(&mut self, values: usize) -> Result<(), InvalidYaml> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES { Err(InvalidYaml::TooManyValues) } else { Ok(()) }
    }

    fn start(&mut self, collection: Collection, anchor: usize) -> Result<(), InvalidYaml> {
        if self.open.len() >= MAX_DEPTH {
            return Err(InvalidYaml::TooDeep);
        }
        let values_before = self.values;
        self.count(1)?;
        self.open.push(Open { collection, anchor, values_before });
        Ok(())
    }

    /// Adds a value of this size to the innermost collection.
    fn finish(&mut self, value: Value, anchor: usize, size: usize, line: usize) -> Result<(), InvalidYaml> {
        // The parser numbers anchors from 1.
        if anchor != 0 {
            self.count(size)?;
            let anchored = Anchored { value: value.clone(), size, depth: depth(&value) };
            self.anchors.insert(anchor, anchored);
        }
        match self.open.last_mut().map(|open| &mut open.collection) {
            None => self.root = Some(value),
            Some(Collection::Sequence(items)) => items.push(value),
            Some(Collection::Mapping(members, key)) => match (key.take(), value) {
                (Some(key), value) => {
                    members.insert(key, value);
                }
                (None, Value::String(text)) => *key = Some(text),
                // Keys become strings before they get here, except for aliases.
                (None, value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => {
                    *key = Some(value.to_string());
                }
                (None, Value::Array(_) | Value::Object(_)) => return Err(InvalidYaml::Key(line)),
            },
        }
        Ok(())
    }
}

/// The value of a scalar without quotes (<https://yaml.org/spec/1.2.2/#103-core-schema>). Numbers
/// that JSON does not have, such as `.inf`, stay text.
fn plain_scalar(text: String) -> Value {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(&text).map_or(Value::String(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let radix = |digits: &str, radix| {
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        u64::from_str_radix(digits, radix).ok().filter(|_| is_plain).map(Number::from)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    // Rust's parser also accepts `inf`, `nan` and `infinity`.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    let integer = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
    integer.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}

/// The number of levels of collections in a value, at most [`MAX_DEPTH`].
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + inner.unwrap_or(0)
}

impl From<ScanError> for InvalidYaml {
    fn from(error: ScanError) -> Self {
        let mark = error.marker();
        Self::Syntax { line: mark.line(), column: mark.col() + 1, problem: error.info().to_owned() }
    }
}
