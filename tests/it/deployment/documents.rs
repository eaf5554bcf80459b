//! The links between documents, and the tests that `tests/README.md` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// The Markdown documents, by path relative to the repository.
fn documents() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut documents = BTreeMap::new();
    for folder in ["", "tests", "infra", "infra/examples", "infra/scanning"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                documents.insert(path.strip_prefix(root).unwrap().to_owned(), text);
            }
        }
    }
    documents
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| -> String {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        plain
    })
}

#[test]
fn every_relative_link_has_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let documents = documents();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let (mut broken, mut checked) = (Vec::new(), 0);
    for (document, text) in &documents {
        for target in link.captures_iter(text).map(|found| found.get(1).unwrap().as_str()) {
            if target.starts_with("https://") {
                continue;
            }
            checked += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() {
                document.clone()
            } else {
                plain(&document.parent().unwrap().join(path))
            };
            let has_anchor = documents.get(&path).is_none_or(|text| anchors(text).contains(anchor));
            if !root.join(&path).exists() || (!anchor.is_empty() && !has_anchor) {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(checked > 50, "{checked} links were checked");
    assert_eq!(broken, [""; 0]);
}

/// If this test fails, a test that proves a promise was renamed, moved or removed.
/// Update the table in `tests/README.md`. If no other test proves the promise, keep the
/// test.
#[test]
fn every_test_that_the_promise_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("README.md")).unwrap();
    let list = Command::new(std::env::current_exe().unwrap()).args(["--list", "--format=terse"]).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let tests: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let path = Regex::new(r"`([a-z_0-9]+(?:::[a-z_0-9]+)+)`").unwrap();
    let named: Vec<&str> = path.captures_iter(&table).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(named.len() > 50, "tests/README.md names only {} tests", named.len());
    // A path can name a test or a whole module.
    let exists = |path: &str| {
        tests
            .iter()
            .any(|test| test.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    };
    let missing: Vec<_> = named.into_iter().filter(|path| !exists(path)).collect();
    assert_eq!(missing, [""; 0], "tests/README.md names tests that do not exist");
}
