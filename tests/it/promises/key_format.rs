//! The format of a key: strict parsing, and generation from unbiased random characters.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use serde_json::json;
use shared::domain::{AccountId, ApiKey, Environment, KeyError, KeyId};
use tests::{BreakableEntropy, FailingEntropy, Harness, SeededEntropy};

use crate::support::keys::{environment, generate_key, generated_key};

const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key whose checksum was computed in Python: `zlib.crc32` of the text before the
/// checksum, in base 62.
const KNOWN: &str =
    "kwsa_prod_AccountIdOf16Chr_KeyIdWith16Chars_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ2yUazK";

fn prod() -> Environment {
    environment("prod")
}

/// Fails unless the parser rejects `text` as malformed.
fn assert_malformed(text: &str) {
    let error = ApiKey::parse(text, &prod()).expect_err(text);
    assert_eq!(error, KeyError::Malformed, "{text:?}");
}

#[test]
fn a_known_key_is_parsed_and_displayed_unchanged() {
    let key = ApiKey::parse(KNOWN, &prod()).unwrap();
    assert_eq!(key.account.to_string(), "sa_AccountIdOf16Chr");
    assert_eq!(key.id.to_string(), "key_KeyIdWith16Chars");
    assert_eq!(key.display(&prod()).expose(), KNOWN);
}

#[test]
fn a_key_of_another_environment_is_rejected() {
    for label in ["dev", "p", "production", "prod0", "a1b2c3d4e5f6"] {
        let text = generated_key(label, 1);
        let error = ApiKey::parse(&text, &prod()).unwrap_err();
        assert_eq!(error, KeyError::ForeignEnvironment, "{label}");
        // The checksum includes the label, so replacing the label breaks the key.
        assert_malformed(&text.replacen(label, "prod", 1));
    }
}

#[test]
fn an_environment_label_is_1_to_12_lowercase_letters_and_digits() {
    for label in ["", "thirteenchars", "Prod", "pr-d", "pr_d", "prød", " prod", "prod\n"] {
        assert!(Environment::parse(label).is_err(), "{label:?}");
    }
}

proptest! {
    #[test]
    fn a_generated_key_has_the_format_and_round_trips(seed: u64, label in "[a-z0-9]{1,12}") {
        let environment = environment(&label);
        let text = generated_key(&label, seed);
        let displayed = ApiKey::parse(&text, &environment).unwrap().display(&environment);
        prop_assert_eq!(displayed.expose(), &text);
        let parts: Vec<_> = text.split('_').collect();
        prop_assert_eq!(&parts[..2], ["kwsa", &label]);
        prop_assert_eq!(parts[2..].iter().map(|part| part.len()).collect::<Vec<_>>(), [16, 16, 43 + 6]);
        prop_assert!(parts[2..].concat().chars().all(|c| ALPHABET.contains(c)));
        prop_assert_eq!(displayed.hint(), &text[text.len() - 4..]);
    }

    #[test]
    fn arbitrary_text_is_rejected(text in any::<String>()) {
        prop_assert!(ApiKey::parse(&text, &prod()).is_err());
        let text = format!("kwsa_prod_{text}");
        prop_assert!(ApiKey::parse(&text, &prod()).is_err());
    }

    #[test]
    fn text_in_the_format_with_a_random_checksum_is_rejected(
        text in "kwsa_prod_[0-9A-Za-z]{16}_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}"
    ) {
        // The checksum is right by chance in one of 2³² cases.
        prop_assert_eq!(ApiKey::parse(&text, &prod()).unwrap_err(), KeyError::Malformed);
    }

    #[test]
    fn a_key_with_a_replaced_part_is_rejected(bytes: Vec<u8>, from in 0..KNOWN.len(), length in 1..20_usize) {
        let to = (from + length).min(KNOWN.len());
        let text = [&KNOWN[..from], &*String::from_utf8_lossy(&bytes), &KNOWN[to..]].concat();
        prop_assume!(text != KNOWN);
        prop_assert!(ApiKey::parse(&text, &prod()).is_err());
    }
}

#[test]
fn a_key_with_one_changed_inserted_or_deleted_character_is_rejected() {
    let characters = ALPHABET.chars().chain("_-.~+/= ,\0\n\u{7f}é０𝟎😀\u{202e}".chars());
    let characters: Vec<char> = characters.collect();
    for at in 0..KNOWN.len() {
        let (before, rest) = KNOWN.split_at(at);
        let mut after = rest.chars();
        let original = after.next().unwrap();
        for character in &characters {
            let changed = format!("{before}{character}{}", after.as_str());
            assert_eq!(ApiKey::parse(&changed, &prod()).is_err(), *character != original, "{changed:?}");
            let inserted = format!("{before}{character}{rest}");
            assert!(ApiKey::parse(&inserted, &prod()).is_err(), "{inserted:?}");
        }
        assert_malformed(&format!("{before}{}", after.as_str()));
    }
}

#[test]
fn a_key_with_two_swapped_characters_is_rejected() {
    for at in 1..KNOWN.len() {
        let mut bytes = KNOWN.as_bytes().to_vec();
        bytes.swap(at - 1, at);
        let swapped = String::from_utf8(bytes).unwrap();
        assert!(swapped == KNOWN || ApiKey::parse(&swapped, &prod()).is_err(), "{swapped}");
    }
}

#[test]
fn truncated_and_extended_keys_are_rejected() {
    for length in 0..KNOWN.len() {
        assert_malformed(&KNOWN[..length]);
        assert_malformed(&KNOWN[KNOWN.len() - length..]);
    }
    for more in ["0", "_", " ", "\0", "\n", "=", KNOWN] {
        assert_malformed(&format!("{KNOWN}{more}"));
        assert_malformed(&format!("{more}{KNOWN}"));
    }
}

#[test]
fn a_text_of_one_mebibyte_is_rejected() {
    let long = |unit: &str| unit.repeat((1 << 20) / unit.len());
    for text in [long("0"), long("_"), long("kwsa_"), long("\0"), long("é"), long(KNOWN)] {
        assert_malformed(&text);
        assert_malformed(&format!("kwsa_prod_{text}"));
        assert_malformed(&format!("{KNOWN}{text}"));
    }
}

/// Pearson's chi-square test of the characters of 10,000 keys. The seed is fixed. With 61
/// degrees of freedom, a uniform source exceeds 140 about once in ten million runs. A
/// generator that takes each byte modulo 62 would reach several thousand.
#[test]
fn secrets_and_ids_are_uniform() {
    let entropy = SeededEntropy::new(7);
    let environment = prod();
    let mut secrets = [0_u32; 62];
    let mut ids = [0_u32; 62];
    let count = |counts: &mut [u32; 62], text: &str| {
        for c in text.chars() {
            counts[ALPHABET.find(c).unwrap()] += 1;
        }
    };
    for _ in 0..10_000 {
        let key = generate_key(&entropy);
        let text = key.display(&environment);
        let secret = text.expose().rsplit('_').next().unwrap();
        count(&mut secrets, &secret[..43]);
        count(&mut ids, key.account.bare());
        count(&mut ids, key.id.bare());
    }
    for counts in [secrets, ids] {
        // A value below 20 would be too even for a random source.
        let expected = f64::from(counts.iter().sum::<u32>()) / 62.0;
        let chi_square: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!(chi_square > 20.0 && chi_square < 140.0, "{chi_square}");
    }
}

#[test]
fn keys_of_the_same_account_and_id_have_different_secrets() {
    let entropy = SeededEntropy::new(3);
    let account = AccountId::generate(&entropy).unwrap();
    let id = KeyId::generate(&entropy).unwrap();
    let secret = || {
        let key = ApiKey::generate(account, id, &entropy).unwrap().display(&prod());
        key.expose().rsplit('_').next().unwrap()[..43].to_owned()
    };
    let secrets: HashSet<_> = (0..1_000).map(|_| secret()).collect();
    assert_eq!(secrets.len(), 1_000);
}

#[test]
fn no_id_or_key_is_generated_when_the_random_source_fails() {
    let account = AccountId::generate(&SeededEntropy::new(1)).unwrap();
    let id = KeyId::generate(&SeededEntropy::new(2)).unwrap();
    assert!(ApiKey::generate(account, id, &FailingEntropy).is_err());
    assert!(AccountId::generate(&FailingEntropy).is_err());
}

#[tokio::test]
async fn no_key_is_stored_when_the_random_source_fails() {
    let (entropy, is_broken) = BreakableEntropy::new(1);
    let harness = Harness::builder().entropy(entropy).start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    is_broken.store(true, Ordering::Relaxed);
    let issue = harness.request("POST", &format!("{}/keys", account.path())).admin();
    let reply = harness.refuse(issue.json(&json!({ "name": "key" })), 500, "internal_error").await;
    assert!(!reply.text.contains("kwsa_"));
    assert_eq!(harness.get(&account.path()).await.json()["liveKeyCount"], 0);
}
