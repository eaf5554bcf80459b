//! Scanners find leaked keys and tokens in any text, with the published patterns or with
//! gitleaks and the published rules.

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
use shared::domain::{
    AccountId, BoundRequest, FindCredentialError, GrantBinding, IdentityId, IssuerId, IssuerName,
    KEY_PATTERN, KeyId, MAX_TOKEN_SECONDS, PastedCredential, Pepper, RoleName, SecretVersion, TOKEN_PATTERN,
    TokenClaims, TokenGrant, TokenId, TokenKey, Verifier,
};
use tests::SeededEntropy;

use crate::support::keys::{environment, generate_key};
use crate::support::report;

/// The variable that contains the path of the gitleaks binary.
const GITLEAKS: &str = "KEYWARD_TEST_GITLEAKS";
const RULES: &str = include_str!("../../../infra/scanning/gitleaks.toml");
const README: &str = include_str!("../../../infra/scanning/README.md");
/// The number of keys, and of tokens.
const COUNT: usize = 10_000;
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The environments in the keys and tokens.
const LABELS: [&str; 9] =
    ["prod", "stage", "dev", "test", "p", "0", "a1b2c3d4e5f6", "production", "eucentral1"];

/// A published pattern as RE2 interprets it: `\b` is an ASCII word boundary.
fn compiled(pattern: &str) -> Regex {
    RegexBuilder::new(pattern).unicode(false).build().unwrap()
}

/// The matches of a published pattern.
fn matches<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
    compiled(pattern).find_iter(text).map(|found| found.as_str()).collect()
}

/// Keys of all environments.
fn keys() -> Vec<String> {
    let entropy = SeededEntropy::new(62);
    let key = |label: &&str| generate_key(&entropy).display(&environment(label)).expose().to_owned();
    LABELS.iter().cycle().take(COUNT).map(key).collect()
}

/// Tokens of all environments, from the shortest to the longest.
fn tokens() -> Vec<String> {
    let entropy = SeededEntropy::new(65);
    let role = |letter: &str| RoleName::parse(&letter.repeat(64)).unwrap();
    let id = || TokenId::generate(&entropy).unwrap();
    let key = TokenKey::from(Pepper::new(&[7; 64]).unwrap());
    let token = |(number, label): (usize, &&str)| {
        let is_identity = number % 2 == 1;
        let identity = || {
            TokenGrant::Identity(
                IdentityId::generate(&entropy).unwrap(),
                IssuerName::parse(&"i".repeat(32)).unwrap(),
            )
        };
        let claims = TokenClaims {
            account: AccountId::generate(&entropy).unwrap(),
            grant: if is_identity { identity() } else { TokenGrant::Key(KeyId::generate(&entropy).unwrap()) },
            id: id(),
            issued_at: jiff::Timestamp::from_second(1_800_000_000).unwrap(),
            lifetime_seconds: MAX_TOKEN_SECONDS,
            roles: (0..number / 2 % 3).map(|at| role(["A", "B"][at])).collect(),
            parents: (0..number / 6 % 4 + number / 24 % 2).map(|_| id()).collect(),
            request: (number / 24 % 2 == 1).then(|| BoundRequest::new("api", "GET", "/teams/42")),
        };
        let verifier = Verifier::from_bytes(&[9; 32]).unwrap();
        let issuer = IssuerId::generate(&entropy).unwrap();
        let binding = GrantBinding::of_identity(verifier, issuer, None, None);
        let version = SecretVersion::from_number(1).unwrap();
        let token = claims.seal(&environment(label), (&version, &key), &binding).unwrap();
        token.expose().to_owned()
    };
    LABELS.iter().cycle().take(COUNT).enumerate().map(token).collect()
}

fn base62(random: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| char::from(*BASE62.choose(random).unwrap())).collect()
}

/// The keys or tokens as they leak, each on its own line, in several kinds of text.
fn leaked(credentials: &[String]) -> String {
    let mut text = String::new();
    for (number, key) in credentials.iter().enumerate() {
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
        for (label, account, id, tail) in [
            ("prod", 15, 16, 134),
            ("prod", 17, 16, 134),
            ("prod", 16, 15, 134),
            ("prod", 16, 17, 134),
            ("prod", 16, 16, 49),
            ("prod", 16, 16, 133),
            ("prod", 16, 16, 491),
            ("", 16, 16, 134),
            ("thirteenchars", 16, 16, 134),
            ("Prod", 16, 16, 134),
        ] {
            let [account, id, tail] = [base62(account), base62(id), base62(tail)];
            writeln!(text, "kwst_{label}_{account}_{id}_{tail}").unwrap();
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
        writeln!(text, "kwst_prod_{}_{}_{}", fill(16), fill(16), fill(180)).unwrap();
    }
    text
}

#[test]
fn gitleaks_rules_and_their_page_contain_the_published_patterns() {
    let regexes = RULES.lines().filter_map(|line| line.strip_prefix("regex = '''")?.strip_suffix("'''"));
    assert_eq!(regexes.collect::<Vec<_>>(), [KEY_PATTERN, TOKEN_PATTERN]);
    for (pattern, prefix) in [(KEY_PATTERN, "kwsa_"), (TOKEN_PATTERN, "kwst_")] {
        assert!(README.lines().any(|line| line == pattern), "infra/scanning/README.md lacks {pattern}");
        // gitleaks applies a pattern only to texts that contain one of its keywords.
        assert!(RULES.contains(&format!("keywords = [\"{prefix}\"]")), "{prefix}");
    }
}

#[test]
fn patterns_match_every_key_and_token_and_no_decoy() {
    // Placeholders match the patterns, too. They contain few distinct characters.
    let is_placeholder = |text: &&str| text.bytes().collect::<BTreeSet<_>>().len() < 20;
    let decoys = decoys();
    for (pattern, credentials, others) in [(KEY_PATTERN, keys(), tokens()), (TOKEN_PATTERN, tokens(), keys())]
    {
        assert_eq!(matches(pattern, &leaked(&credentials)), credentials);
        assert_eq!(matches(pattern, &leaked(&others)), [""; 0]);
        let mut found = matches(pattern, &decoys);
        found.retain(|text| !is_placeholder(text));
        assert_eq!(found, [""; 0]);
    }
}

/// The lengths in the published pattern are those of the shortest and the longest token.
#[test]
fn pattern_of_tokens_has_the_lengths_of_the_shortest_and_the_longest_token() {
    let lengths: BTreeSet<usize> =
        tokens().iter().map(|token| token.rsplit('_').next().unwrap().len()).collect();
    assert_eq!((lengths.first(), lengths.last()), (Some(&134), Some(&490)));
}

#[test]
fn lookup_ignores_matches_with_a_wrong_checksum() {
    let environment = environment("prod");
    let mut random = StdRng::seed_from_u64(64);
    for (pattern, prefix, length) in [(KEY_PATTERN, "kwsa", 49), (TOKEN_PATTERN, "kwst", 150)] {
        let pattern = compiled(pattern);
        for _ in 0..10_000 {
            let [account, id, tail] = [16, 16, length].map(|length| base62(&mut random, length));
            let text = format!("{prefix}_prod_{account}_{id}_{tail}");
            assert!(pattern.is_match(&text));
            // The checksum of one text in 2^32 is right.
            assert!(PastedCredential::find_in(&text, &environment).is_err(), "{text}");
        }
    }
}

#[test]
fn lookup_finds_the_only_token_in_a_text_and_names_its_account_and_grant() {
    let keys = keys();
    for (number, token) in tokens().iter().enumerate().take(1_000) {
        let label = LABELS[number % LABELS.len()];
        let text = leaked(std::slice::from_ref(token));
        let found = PastedCredential::find_in(&text, &environment(label)).unwrap();
        let PastedCredential::Token(found) = found else { panic!("{found:?}") };
        let (account, grant) = found.named();
        let ids: Vec<String> = [account.to_string(), grant.to_string()].to_vec();
        let bare = ids.iter().map(|id| id.split_once('_').unwrap().1);
        assert!(token.starts_with(&format!("kwst_{label}_{}_", bare.collect::<Vec<_>>().join("_"))));
        let elsewhere = PastedCredential::find_in(&text, &environment("other")).unwrap_err();
        assert!(matches!(elsewhere, FindCredentialError::ForeignEnvironment { .. }), "{elsewhere:?}");
        let both = format!("{text} {}", keys[number % LABELS.len()]);
        let several = PastedCredential::find_in(&both, &environment(label)).unwrap_err();
        assert_eq!(several, FindCredentialError::Several);
    }
}

/// The keys and tokens that gitleaks finds in this text. Writes the text to short files in `folder`,
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
fn gitleaks_finds_every_key_and_token_and_no_decoy() {
    let gitleaks = Variables::from_process().get(GITLEAKS).expect(GITLEAKS).to_owned();
    let folder = std::env::temp_dir().join(format!("keyward-scanning-{}", std::process::id()));
    let keys = [keys(), tokens()].concat();
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
    let all = 2 * COUNT;
    report(&format!(
        "gitleaks found {} of {all} keys and tokens, and none in {lines} lines of decoys",
        found.len()
    ));
}
