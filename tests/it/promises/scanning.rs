//! Keys can be told in any text: by the published expression, and by gitleaks
//! with the rule that is shipped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use shared::config::Variables;
use shared::domain::{AccountId, ApiKey, Environment, KEY_PATTERN, KeyId};
use tests::SeededEntropy;

use crate::support::report;

/// Names the gitleaks binary.
const GITLEAKS: &str = "KEYWARD_TEST_GITLEAKS";
const RULES: &str = include_str!("../../../infra/scanning/gitleaks.toml");
const README: &str = include_str!("../../../infra/scanning/README.md");
const KEYS: u64 = 10_000;
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LABELS: [&str; 9] =
    ["prod", "stage", "dev", "test", "p", "0", "a1b2c3d4e5f6", "production", "eucentral1"];

/// The published expression, as RE2 reads it: `\b` is a boundary of ASCII words.
fn expression() -> Regex {
    RegexBuilder::new(KEY_PATTERN).unicode(false).build().unwrap()
}

/// As many keys as are to be found, of every label.
fn keys() -> Vec<String> {
    let entropy = SeededEntropy::new(62);
    let key = |number: u64| {
        let (account, id) = (AccountId::generate(&entropy), KeyId::generate(&entropy));
        let key = ApiKey::generate(account.unwrap(), id.unwrap(), &entropy).unwrap();
        let label = LABELS[usize::try_from(number).unwrap() % LABELS.len()];
        key.display(&Environment::parse(label).unwrap()).expose().to_owned()
    };
    (0..KEYS).map(key).collect()
}

/// Keys as they leak: each in a line of its own, in each way that keys are
/// written.
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

/// What a scanner must not take for a key.
fn decoys() -> String {
    let mut random = StdRng::seed_from_u64(63);
    let mut base62 = |length: usize| {
        (0..length).map(|_| char::from(*BASE62.choose(&mut random).unwrap())).collect::<String>()
    };
    let mut text = String::new();
    for _ in 0..2_000 {
        // One part too short or too long, or of other characters, or missing.
        for (label, account, id, tail) in
            [("prod", 15, 16, 49), ("prod", 17, 16, 49), ("prod", 16, 15, 49), ("prod", 16, 17, 49)]
                .into_iter()
                .chain([("prod", 16, 16, 48), ("prod", 16, 16, 50), ("prod", 16, 16, 98)])
                .chain([("", 16, 16, 49), ("thirteenchars", 16, 16, 49), ("Prod", 16, 16, 49)])
                .chain([("pr-d", 16, 16, 49), ("pr.d", 16, 16, 49), ("prød", 16, 16, 49)])
        {
            let parts = [base62(account), base62(id), base62(tail)];
            writeln!(text, "kwsa_{label}_{}_{}_{}", parts[0], parts[1], parts[2]).unwrap();
        }
        let parts = [base62(16), base62(16), base62(49)];
        let [account, id, tail] = &parts;
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
        // Other vendors' forms, of random content, in parts that no scanner
        // reads as theirs in this file.
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
    // Words and placeholders. These have the form, and are too regular.
    text.push_str("kwsa_prod_… kwsa_<env>_<account>_<key>_<secret><checksum> kwsa_ kwsa kwsa_prod_\n");
    for filler in ["x", "X", "0", "ab", "abc123"] {
        let fill = |length: usize| filler.chars().cycle().take(length).collect::<String>();
        writeln!(text, "kwsa_prod_{}_{}_{}", fill(16), fill(16), fill(49)).unwrap();
    }
    text
}

/// The value of a member of the rule.
fn member(name: &str, quote: &str) -> String {
    let line = RULES.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).unwrap();
    line.strip_prefix(quote).unwrap().strip_suffix(quote).unwrap().to_owned()
}

#[test]
fn the_rule_and_its_page_have_the_published_expression() {
    assert_eq!(member("regex", "'''"), KEY_PATTERN);
    assert!(README.lines().any(|line| line == KEY_PATTERN), "infra/scanning/README.md");
    // Both engines know this syntax, and mean the same by it in ASCII.
    assert!(RULES.contains("keywords = [\"kwsa_\"]"));
}

#[test]
fn the_expression_finds_every_key_and_no_decoy_of_another_form() {
    let expression = expression();
    let keys = keys();
    let text = leaked(&keys);
    let found: Vec<&str> = expression.find_iter(&text).map(|found| found.as_str()).collect();
    assert_eq!(found, keys);
    let placeholders = |text: &str| text.as_bytes().iter().collect::<BTreeSet<_>>().len() < 20;
    let decoys = decoys();
    let found: Vec<&str> = expression.find_iter(&decoys).map(|found| found.as_str()).collect();
    let found: Vec<_> = found.into_iter().filter(|found| !placeholders(found)).collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_lookup_drops_what_has_the_form_and_is_no_key() {
    let here = Environment::parse("prod").unwrap();
    let mut random = StdRng::seed_from_u64(64);
    let expression = expression();
    for _ in 0..10_000 {
        let mut part = |length: usize| {
            (0..length).map(|_| char::from(BASE62[random.random_range(0..62)])).collect::<String>()
        };
        let text = format!("kwsa_prod_{}_{}_{}", part(16), part(16), part(49));
        assert!(expression.is_match(&text));
        assert!(ApiKey::find_in(&text, &here).is_err(), "one in 2^32 is a key");
    }
}

/// What gitleaks finds in a folder with this text, in files of ordinary length:
/// it reads a long one in pieces, and misses what it cuts in two.
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
#[ignore = "it needs gitleaks: .ci/run has it"]
fn gitleaks_finds_every_key_and_nothing_in_decoys() {
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
    report(&format!("gitleaks found {} of {KEYS} keys, and 0 in {lines} lines of decoys", found.len()));
}
