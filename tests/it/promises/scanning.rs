//! Scanners find leaked keys in any text, with the published pattern or with gitleaks and
//! the published rule.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use shared::config::Variables;
use shared::domain::{ApiKey, KEY_PATTERN};
use tests::SeededEntropy;

use crate::support::keys::{environment, generate_key};
use crate::support::report;

/// The variable that contains the path of the gitleaks binary.
const GITLEAKS: &str = "KEYWARD_TEST_GITLEAKS";
const RULES: &str = include_str!("../../../infra/scanning/gitleaks.toml");
const README: &str = include_str!("../../../infra/scanning/README.md");
const KEYS: usize = 10_000;
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The environments in the keys.
const LABELS: [&str; 9] =
    ["prod", "stage", "dev", "test", "p", "0", "a1b2c3d4e5f6", "production", "eucentral1"];

/// The published pattern as RE2 interprets it: `\b` is an ASCII word boundary.
fn pattern() -> Regex {
    RegexBuilder::new(KEY_PATTERN).unicode(false).build().unwrap()
}

/// The matches of the pattern.
fn matches(text: &str) -> Vec<&str> {
    pattern().find_iter(text).map(|found| found.as_str()).collect()
}

/// [`KEYS`] keys of all environments.
fn keys() -> Vec<String> {
    let entropy = SeededEntropy::new(62);
    let key = |label: &&str| generate_key(&entropy).display(&environment(label)).expose().to_owned();
    LABELS.iter().cycle().take(KEYS).map(key).collect()
}

fn base62(random: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| char::from(*BASE62.choose(random).unwrap())).collect()
}

/// The keys as they leak, each on its own line, in several kinds of text.
fn leaked(keys: &[String]) -> String {
    let mut text = String::new();
    for (number, key) in keys.iter().enumerate() {
        match number % 8 {
            0 => writeln!(text, "{key}"),
            1 => writeln!(text, "Authorization: Bearer {key}"),
            2 => writeln!(text, "export KEYWARD_KEY=\"{key}\""),
            3 => writeln!(text, "KEYWARD_KEY={key}"),
            4 => writeln!(text, "  {{\"secret\":\"{key}\",\"n\":{number}}},"),
            5 => writeln!(text, "curl -H 'Authorization: Bearer {key}' https://example.com/{number}"),
            6 => writeln!(text, "log line\\n{key}\\nnext"),
            _ => writeln!(text, "https://example.com/?access_token={key}&n={number}"),
        }
        .unwrap();
    }
    text
}

/// Texts that a scanner must not report.
fn decoys() -> String {
    let mut random = StdRng::seed_from_u64(63);
    let mut base62 = |length: usize| base62(&mut random, length);
    let mut text = String::new();
    for _ in 0..2_000 {
        // One part is too short, too long, missing, or has invalid characters.
        for (label, account, id, tail) in [
            ("prod", 15, 16, 49),
            ("prod", 17, 16, 49),
            ("prod", 16, 15, 49),
            ("prod", 16, 17, 49),
            ("prod", 16, 16, 48),
            ("prod", 16, 16, 50),
            ("prod", 16, 16, 98),
            ("", 16, 16, 49),
            ("thirteenchars", 16, 16, 49),
            ("Prod", 16, 16, 49),
            ("pr-d", 16, 16, 49),
            ("pr.d", 16, 16, 49),
            ("prød", 16, 16, 49),
        ] {
            let [account, id, tail] = [base62(account), base62(id), base62(tail)];
            writeln!(text, "kwsa_{label}_{account}_{id}_{tail}").unwrap();
        }
        let [account, id, tail] = [base62(16), base62(16), base62(49)];
        for decoy in [
            format!("kwsb_prod_{account}_{id}_{tail}"),
            format!("KWSA_prod_{account}_{id}_{tail}"),
            format!("kwsa-prod-{account}-{id}-{tail}"),
            format!("kwsa_prod_{account}_{id}"),
            format!("kwsa_{account}_{id}_{tail}_"),
            format!("kwsa_prod_{account}_{id}__{tail}"),
            format!("kwsa_prod_{account}_{id}_{}-{}", &tail[..20], &tail[20..]),
            format!("kwsa_prod_{account}_{id}_{}\n{}", &tail[..20], &tail[20..]),
            format!("kwsa_prod_{account}_{id}_{tail}_more"),
            format!("sa_{account} key_{id} {tail}"),
            base62(91),
            base62(64),
        ] {
            writeln!(text, "{decoy}").unwrap();
        }
        // Random keys in the formats of other vendors. The prefixes are separate here, so
        // that scanners do not report this file.
        for (prefix, length) in [
            ("ghp_", 36),
            ("github_pat_", 82),
            ("glpat-", 20),
            ("xoxb-", 50),
            ("AKIA", 16),
            ("npm_", 36),
            ("pypi-", 150),
            ("sk_live_", 24),
            ("sk-ant-api03-", 93),
            ("dop_v1_", 64),
            ("shpat_", 32),
            ("eyJ", 120),
        ] {
            writeln!(text, "token = \"{prefix}{}\"", base62(length)).unwrap();
        }
    }
    // Words and placeholders. The placeholders match the pattern, but are too regular.
    text.push_str("kwsa_prod_… kwsa_<env>_<account>_<key>_<secret><checksum> kwsa_ kwsa kwsa_prod_\n");
    for filler in ["x", "X", "0", "ab", "abc123"] {
        let fill = |length: usize| filler.chars().cycle().take(length).collect::<String>();
        writeln!(text, "kwsa_prod_{}_{}_{}", fill(16), fill(16), fill(49)).unwrap();
    }
    text
}

/// The value of a field of the gitleaks rule, without its quotes.
fn rule_field(name: &str, quote: &str) -> String {
    let line = RULES.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).unwrap();
    line.strip_prefix(quote).unwrap().strip_suffix(quote).unwrap().to_owned()
}

#[test]
fn gitleaks_rule_and_its_page_contain_the_published_pattern() {
    assert_eq!(rule_field("regex", "'''"), KEY_PATTERN);
    assert!(README.lines().any(|line| line == KEY_PATTERN), "infra/scanning/README.md lacks the pattern");
    // gitleaks applies the pattern only to texts that contain a keyword.
    assert!(RULES.contains("keywords = [\"kwsa_\"]"));
}

#[test]
fn pattern_matches_every_key_and_no_decoy() {
    let keys = keys();
    assert_eq!(matches(&leaked(&keys)), keys);
    // Placeholders match the pattern, too. They contain few distinct characters.
    let is_placeholder = |text: &&str| text.bytes().collect::<BTreeSet<_>>().len() < 20;
    let decoys = decoys();
    let mut found = matches(&decoys);
    found.retain(|text| !is_placeholder(text));
    assert_eq!(found, [""; 0]);
}

#[test]
fn lookup_ignores_matches_with_a_wrong_checksum() {
    let environment = environment("prod");
    let mut random = StdRng::seed_from_u64(64);
    let pattern = pattern();
    for _ in 0..10_000 {
        let [account, id, tail] = [16, 16, 49].map(|length| base62(&mut random, length));
        let text = format!("kwsa_prod_{account}_{id}_{tail}");
        assert!(pattern.is_match(&text));
        // The checksum of one text in 2^32 is right.
        assert!(ApiKey::find_in(&text, &environment).is_err(), "{text}");
    }
}

/// The keys that gitleaks finds in this text. Writes the text to short files in `folder`,
/// because gitleaks reads a long file in chunks and misses keys across their borders.
fn scan(gitleaks: &str, folder: &Path, text: &str) -> Vec<String> {
    std::fs::create_dir_all(folder).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (number, lines) in lines.chunks(100).enumerate() {
        std::fs::write(folder.join(format!("{number}.txt")), lines.join("\n")).unwrap();
    }
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/scanning/gitleaks.toml");
    let output = Command::new(gitleaks)
        .args([
            "dir",
            "--no-banner",
            "--exit-code=0",
            "--report-format=json",
            "--report-path=-",
            "--config",
            rules,
        ])
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.contains("scanned"), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report.as_array().unwrap().iter();
    findings.map(|finding| finding["Secret"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs gitleaks, which .ci/run installs"]
fn gitleaks_finds_every_key_and_no_decoy() {
    let gitleaks = Variables::from_process().get(GITLEAKS).expect(GITLEAKS).to_owned();
    let folder = std::env::temp_dir().join(format!("keyward-scanning-{}", std::process::id()));
    let keys = keys();
    let mut found = scan(&gitleaks, &folder.join("keys"), &leaked(&keys));
    let decoys = decoys();
    let false_alarms = scan(&gitleaks, &folder.join("decoys"), &decoys);
    std::fs::remove_dir_all(&folder).unwrap();
    let mut expected = keys;
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found, expected);
    assert_eq!(false_alarms, [""; 0]);
    let lines = decoys.lines().count();
    report(&format!("gitleaks found {} of {KEYS} keys, and none in {lines} lines of decoys", found.len()));
}
