//! Golden files.

use std::fs;
use std::path::Path;

use shared::config::Variables;

/// The variable that makes [`check`] rewrite the files.
const UPDATE: &str = "KEYWARD_UPDATE_GOLDEN";

/// Compares `actual` with the file at `path`, which is relative to this package.
pub(crate) fn check(path: &str, actual: &str) {
    check_with_advice(path, actual, "");
}

/// Like [`check`], with advice for the developer whose change made a difference.
pub(crate) fn check_with_advice(path: &str, actual: &str, advice: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if Variables::from_process().get(UPDATE).is_some() {
        fs::write(file, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let advice = format!("To accept the change, set {UPDATE}=1.\n{advice}");
    if let Some((line, (expected, actual))) =
        expected.lines().zip(actual.lines()).enumerate().find(|(_, (expected, actual))| expected != actual)
    {
        panic!("{path}:{} differs\n  expected {expected}\n  actual   {actual}\n{advice}", line + 1);
    }
    assert!(expected == actual, "{path} has another length. {advice}");
}
