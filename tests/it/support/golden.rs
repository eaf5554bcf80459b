//! Files that the tests compare with what they compute.

use std::fs;
use std::path::Path;

use shared::config::Variables;

/// Set, it has the files written anew.
const UPDATE: &str = "KEYWARD_UPDATE_GOLDEN";

/// Compares `actual` with the file at `path`, which is relative to this package.
pub(crate) fn check(path: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if Variables::from_process().get(UPDATE).is_some() {
        fs::write(file, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if let Some((line, (expected, actual))) =
        expected.lines().zip(actual.lines()).enumerate().find(|(_, (expected, actual))| expected != actual)
    {
        panic!(
            "{path}:{}\n  says     {expected}\n  computed {actual}\nIf that is meant, run with {UPDATE}=1.",
            line + 1
        );
    }
    assert!(expected == actual, "{path} is shorter or longer. If that is meant, run with {UPDATE}=1.");
}
