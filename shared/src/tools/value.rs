//! Values of arguments as text, and their conversion to what a schema wants.

use serde_json::{Number, Value};

/// The largest integer up to which every integer has its own floating-point number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The text of a value that is a text, a number or a boolean.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number_text(number)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text of a number. An integer has no decimal point, even if the client wrote `1.0`.
fn number_text(number: &Number) -> String {
    let whole =
        number.as_f64().filter(|value| number.is_f64() && value.fract() == 0.0 && value.abs() < MAX_EXACT);
    whole.map_or_else(|| number.to_string(), |value| format!("{value:.0}"))
}

/// Converts between strings and numbers or booleans where the schema wants the other type and the
/// text stays the same. Clients often send one for the other. In a path, query or header, all of
/// them are text.
pub(super) fn convert(value: Value, schema: &Value) -> Value {
    let kinds = Kinds::new(schema);
    match value {
        Value::String(text) if !kinds.text => {
            let number = || text.parse::<Number>().ok().filter(|number| number_text(number) == text);
            match &*text {
                "true" | "false" if kinds.boolean => Value::Bool(text == "true"),
                _ if kinds.number => number().map_or(Value::String(text), Value::Number),
                _ => Value::String(text),
            }
        }
        Value::Number(number) if kinds.text && !kinds.number => Value::String(number_text(&number)),
        Value::Bool(value) if kinds.text && !kinds.boolean => Value::String(value.to_string()),
        Value::Array(items) => match schema.get("items") {
            Some(schema) => Value::Array(items.into_iter().map(|item| convert(item, schema)).collect()),
            None => Value::Array(items),
        },
        Value::Object(members) => {
            let properties = schema.get("properties");
            let members = members.into_iter().map(|(name, value)| {
                let value = match properties.and_then(|properties| properties.get(&name)) {
                    Some(schema) => convert(value, schema),
                    None => value,
                };
                (name, value)
            });
            Value::Object(members.collect())
        }
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => value,
    }
}

/// The kinds of scalars that a schema allows.
#[derive(Clone, Copy)]
struct Kinds {
    text: bool,
    number: bool,
    boolean: bool,
}

impl Kinds {
    const ANY: Self = Self { text: true, number: true, boolean: true };

    fn new(schema: &Value) -> Self {
        if let Some(types) = schema.get("type") {
            let has = |name: &str| {
                types == name || types.as_array().is_some_and(|all| all.iter().any(|own| own == name))
            };
            return Self {
                text: has("string"),
                number: has("number") || has("integer"),
                boolean: has("boolean"),
            };
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return Self {
                text: values.iter().any(Value::is_string),
                number: values.iter().any(Value::is_number),
                boolean: values.iter().any(Value::is_boolean),
            };
        }
        let parts =
            |keyword| schema.get(keyword).and_then(Value::as_array).into_iter().flatten().map(Self::new);
        let any = parts("anyOf").reduce(|a, b| Self {
            text: a.text || b.text,
            number: a.number || b.number,
            boolean: a.boolean || b.boolean,
        });
        parts("allOf").chain(any).fold(Self::ANY, |a, b| Self {
            text: a.text && b.text,
            number: a.number && b.number,
            boolean: a.boolean && b.boolean,
        })
    }
}
