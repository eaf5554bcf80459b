//! Checks of the values in a YAML document. A path is names and indexes, separated by dots.

use serde_norway::Value;

/// The value at `path`, or null.
pub(crate) fn get<'a>(value: &'a Value, path: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    path.split('.')
        .try_fold(value, |value, name| match name.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(name),
        })
        .unwrap_or(&NULL)
}

/// Returns a message if the value at `path` is not `expected`, which is YAML.
pub(crate) fn expect(value: &Value, path: &str, expected: &str) -> Option<String> {
    let actual = get(value, path);
    let expected: Value = serde_norway::from_str(expected).unwrap();
    (*actual != expected).then(|| format!("{path} is {actual:?}, expected {expected:?}"))
}

/// Returns a message for each pair of a path and an expected value that does not match.
pub(crate) fn expect_all(value: &Value, expected: &[(&str, &str)]) -> Vec<String> {
    expected.iter().filter_map(|(path, expected)| expect(value, path, expected)).collect()
}
