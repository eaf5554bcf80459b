//! The keywords of a schema.

use std::collections::HashSet;

use serde_json::{Number, Value};

use super::JsonObject;
use super::patterns::MAX_PATTERN_BYTES;
use super::schema::{Direction, MAX_DESCRIPTION_CHARS, Slot};
use super::text::clean;
use crate::domain::contains_credential;
use crate::openapi::{Document, DocumentError, Located};

const MAX_TITLE_CHARS: usize = 100;
/// The largest `enum`, `const` or `default`, as JSON in bytes. Larger ones are left out.
const MAX_VALUE_BYTES: usize = 4_000;
/// The maximum number of required properties. Longer lists are left out.
const MAX_REQUIRED: usize = 1_000;
/// The types of JSON Schema.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// The keywords of one schema.
pub(super) struct Keywords<'a> {
    /// The keywords that contain no schemas.
    pub(super) schema: JsonObject,
    /// The schemas in the other keywords.
    pub(super) children: Vec<(Slot, Located<'a>)>,
    /// Whether null is valid too, although no keyword says so.
    pub(super) or_null: bool,
}

/// The state while keywords are read.
struct Reader<'s, 'a> {
    source: &'s Located<'a>,
    schema: JsonObject,
    children: Vec<(Slot, Located<'a>)>,
    errors: Vec<DocumentError>,
}

impl<'a> Keywords<'a> {
    /// Reads a schema that is an object. Ignores unknown keywords, and those that can only
    /// restrict values in ways that a tree with an end cannot express (`not`, `if`,
    /// `patternProperties`).
    ///
    /// # Errors
    /// The values that keywords cannot have.
    pub(super) fn read(
        document: &'a Document,
        direction: Direction,
        source: &Located<'a>,
        description: Option<&str>,
    ) -> Result<Self, Vec<DocumentError>> {
        source.object().map_err(|error| vec![error])?;
        let mut reader =
            Reader { source, schema: JsonObject::new(), children: Vec::new(), errors: Vec::new() };
        let or_null = reader.types_and_values();
        reader.texts(description);
        reader.numbers();
        reader.object(document, direction);
        reader.schemas();
        let Reader { schema, children, errors, .. } = reader;
        if errors.is_empty() { Ok(Self { schema, children, or_null }) } else { Err(errors) }
    }
}

impl<'a> Reader<'_, 'a> {
    fn insert(&mut self, keyword: &str, value: impl Into<Value>) {
        self.schema.insert(keyword.to_owned(), value.into());
    }

    fn refuse(&mut self, value: &Located<'_>, detail: &str) {
        self.errors.push(value.error(detail));
    }

    /// Reads the type and the listed values. Returns whether null is valid although no keyword
    /// says so.
    fn types_and_values(&mut self) -> bool {
        match types(self.source) {
            Ok(Some(types)) => self.insert("type", types),
            Ok(None) => {}
            Err(error) => self.errors.push(error),
        }
        let is_nullable = self.source.is_set("nullable");
        if let Some(values) = self.source.member("enum") {
            match values.value.as_array().filter(|values| !values.is_empty()) {
                Some(_) if !is_short(values.value) => {}
                Some(listed) => {
                    let mut listed = listed.clone();
                    if is_nullable && !listed.contains(&Value::Null) {
                        listed.push(Value::Null);
                    }
                    self.insert_value("enum", Value::Array(listed));
                }
                None => self.refuse(&values, "must be an array with at least one value"),
            }
        }
        for keyword in ["const", "default"] {
            if let Some(value) = self.source.value.get(keyword).filter(|value| is_short(value)) {
                self.insert_value(keyword, value.clone());
            }
        }
        is_nullable && !self.schema.contains_key("type") && !self.schema.contains_key("enum")
    }

    /// Inserts a value that the document chose, if it is short and has no credential.
    fn insert_value(&mut self, keyword: &str, value: Value) {
        if !contains_credential(&value.to_string()) {
            self.insert(keyword, value);
        }
    }

    fn texts(&mut self, description: Option<&str>) {
        let description = description.or_else(|| self.source.text("description"));
        for (keyword, text, most) in [
            ("title", self.source.text("title"), MAX_TITLE_CHARS),
            ("description", description, MAX_DESCRIPTION_CHARS),
            ("format", self.source.text("format"), MAX_TITLE_CHARS),
        ] {
            if let Some(text) = text.and_then(|text| clean(text, most)) {
                self.insert(keyword, text);
            }
        }
        if let Some(pattern) = self.source.member("pattern") {
            match pattern.value.as_str() {
                Some(pattern) if pattern.len() > MAX_PATTERN_BYTES => {}
                Some(pattern) => self.insert("pattern", pattern),
                None => self.refuse(&pattern, "must be a regular expression"),
            }
        }
    }

    fn numbers(&mut self) {
        for (limit, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
            self.number(limit);
            // Up to OpenAPI 3.0, this keyword says whether the limit itself is excluded.
            match self.source.value.get(exclusive) {
                Some(Value::Bool(true)) => {
                    if let Some(value) = self.schema.remove(limit) {
                        self.insert(exclusive, value);
                    }
                }
                Some(Value::Bool(false)) => {}
                Some(
                    Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
                )
                | None => self.number(exclusive),
            }
        }
        self.number("multipleOf");
        if self.schema.get("multipleOf").is_some_and(|value| value.as_f64() <= Some(0.0)) {
            let value = self.source.member("multipleOf").unwrap_or_else(|| self.source.clone());
            self.refuse(&value, "must be greater than 0");
        }
        for keyword in ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"] {
            let Some(count) = self.source.member(keyword) else { continue };
            match whole(count.value) {
                Some(whole) => self.insert(keyword, whole),
                None => self.refuse(&count, "must be a whole number that is not negative"),
            }
        }
        if let Some(unique) = self.source.member("uniqueItems") {
            match unique.value.as_bool() {
                Some(unique) => self.insert("uniqueItems", unique),
                None => self.refuse(&unique, "must be true or false"),
            }
        }
    }

    fn number(&mut self, keyword: &str) {
        let Some(number) = self.source.member(keyword) else { return };
        match number.value {
            Value::Number(number) => self.insert(keyword, Value::Number(number.clone())),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.refuse(&number, "must be a number");
            }
        }
    }

    /// Reads the keywords about the properties of objects.
    fn object(&mut self, document: &'a Document, direction: Direction) {
        let left_out = match direction {
            Direction::Input => "readOnly",
            Direction::Output => "writeOnly",
        };
        let mut removed = Vec::new();
        if let Some(properties) = self.source.member("properties") {
            if properties.value.is_object() {
                for (name, schema) in properties.members() {
                    let is_left_out = schema.is_set(left_out)
                        || document.resolve(schema.clone()).is_ok_and(|schema| schema.is_set(left_out));
                    if is_left_out {
                        removed.push(name);
                    } else {
                        self.children.push((Slot::Member("properties", name.to_owned()), schema));
                    }
                }
            } else {
                self.refuse(&properties, "must be an object whose values are schemas");
            }
        }
        if let Some(required) = self.source.member("required") {
            self.required(&required, &removed);
        }
        // Without the patterns, their properties would be additional ones.
        if self.source.value.get("patternProperties").is_none()
            && let Some(additional) = self.source.member("additionalProperties")
        {
            match additional.value {
                Value::Bool(any) => self.insert("additionalProperties", *any),
                Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                    self.children.push((Slot::Keyword("additionalProperties"), additional));
                }
            }
        }
    }

    fn required(&mut self, required: &Located<'_>, removed: &[&str]) {
        match required.value {
            Value::Array(names) if names.len() > MAX_REQUIRED => {}
            Value::Array(names) if names.iter().all(Value::is_string) => {
                let mut seen: HashSet<&str> = removed.iter().copied().collect();
                let names = names.iter().filter_map(Value::as_str);
                let kept: Vec<_> = names.filter(|name| seen.insert(name)).map(Value::from).collect();
                if !kept.is_empty() {
                    self.insert("required", kept);
                }
            }
            // A common mistake: the property itself says that it is required.
            Value::Bool(_) => {}
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.refuse(required, "must be an array of property names");
            }
        }
    }

    /// Reads the other keywords that contain schemas.
    fn schemas(&mut self) {
        for keyword in ["items", "contains", "propertyNames"] {
            if let Some(schema) = self.source.member(keyword) {
                self.children.push((Slot::Keyword(keyword), schema));
            }
        }
        // A value that matches several alternatives must not be refused: the alternatives can
        // have fewer keywords than in the document. So `oneOf` becomes `anyOf`.
        let alternatives = if self.source.value.get("anyOf").is_some() { "anyOf" } else { "oneOf" };
        for (keyword, published) in
            [("prefixItems", "prefixItems"), ("allOf", "allOf"), (alternatives, "anyOf")]
        {
            let Some(schemas) = self.source.member(keyword) else { continue };
            if schemas.value.as_array().is_none_or(Vec::is_empty) {
                self.refuse(&schemas, "must be an array with at least one schema");
            }
            self.children.extend(schemas.items().map(|schema| (Slot::Item(published), schema)));
        }
    }
}

/// The type of a schema: its own, with `"null"` if it is nullable, or the one that its other
/// keywords imply.
pub(super) fn types(source: &Located<'_>) -> Result<Option<Value>, DocumentError> {
    let Some(declared) = source.member("type") else {
        let implied = if source.value.get("properties").is_some() {
            "object"
        } else if source.value.get("items").is_some() {
            "array"
        } else {
            return Ok(None);
        };
        return Ok(Some(with_null(vec![implied], source)));
    };
    let names: Option<Vec<&str>> = match declared.value {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) if !names.is_empty() => names.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let known = |name: &str| {
        // The type of files in Swagger 2.0, which converted documents still contain.
        let name = if name == "file" { "string" } else { name };
        TYPES.into_iter().find(|known| *known == name)
    };
    let mut types = Vec::new();
    for name in names.unwrap_or_default() {
        match known(name) {
            Some(name) if types.contains(&name) => {}
            Some(name) => types.push(name),
            None => {
                types.clear();
                break;
            }
        }
    }
    if types.is_empty() {
        return Err(declared.error(format!("must be one or more of {}", TYPES.join(", "))));
    }
    Ok(Some(with_null(types, source)))
}

fn with_null(mut types: Vec<&str>, source: &Located<'_>) -> Value {
    if source.is_set("nullable") && !types.contains(&"null") {
        types.push("null");
    }
    match &*types {
        [one] => Value::from(*one),
        _ => Value::from(types),
    }
}

/// Whether a value has at most [`MAX_VALUE_BYTES`] as JSON. Looks at no more than that.
fn is_short(value: &Value) -> bool {
    fn spend(value: &Value, left: usize) -> Option<usize> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => left.checked_sub(4),
            Value::String(text) => left.checked_sub(text.len() + 3),
            Value::Array(items) => {
                items.iter().try_fold(left.checked_sub(2)?, |left, item| spend(item, left))
            }
            Value::Object(members) => members.iter().try_fold(left.checked_sub(2)?, |left, (name, value)| {
                spend(value, left.checked_sub(name.len() + 4)?)
            }),
        }
    }
    spend(value, MAX_VALUE_BYTES).is_some()
}

/// Whether a schema directly contains at most `schemas` schemas, and the names of its properties have
/// at most `bytes` bytes together.
pub(super) fn has_at_most(source: &Value, schemas: usize, bytes: usize) -> bool {
    let length = |keyword| source.get(keyword).and_then(Value::as_array).map_or(0, Vec::len);
    let lists: usize = ["prefixItems", "allOf", "anyOf", "oneOf"].into_iter().map(length).sum();
    let properties = source.get("properties").and_then(Value::as_object);
    lists + properties.map_or(0, serde_json::Map::len) <= schemas
        && properties.into_iter().flat_map(serde_json::Map::keys).map(String::len).sum::<usize>() <= bytes
}

/// A whole number, even if it is written as `1.0`.
fn whole(value: &Value) -> Option<Number> {
    if let Some(whole) = value.as_u64() {
        return Some(whole.into());
    }
    value.as_f64().filter(|number| number.fract() == 0.0)?.to_string().parse::<u64>().ok().map(Number::from)
}
