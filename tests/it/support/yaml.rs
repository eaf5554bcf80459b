//! Values of a template.

use serde_norway::Value;

/// The value at the path `at`.
pub(crate) fn get<'a>(value: &'a Value, at: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    at.split('.')
        .try_fold(value, |value, name| match name.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(name),
        })
        .unwrap_or(&NULL)
}

/// Reports where the value at `at` is not `expected`.
pub(crate) fn expect(value: &Value, at: &str, expected: &str) -> Option<String> {
    let actual = get(value, at);
    let expected: Value = serde_norway::from_str(expected).unwrap();
    (*actual != expected).then(|| format!("{at} is {actual:?} and must be {expected:?}"))
}

pub(crate) fn expect_all(value: &Value, expected: &[(&str, &str)]) -> Vec<String> {
    expected.iter().filter_map(|(at, expected)| expect(value, at, expected)).collect()
}
