//! Variants of a key, and the use of a key.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::civil::date;
use jiff::tz::Offset;
use shared::domain::{AccountId, ApiKey, Entropy, Environment, KeyId};
use tests::{Harness, Item, Key, SeededEntropy, Shape, Verdict};

pub(crate) fn environment(label: &str) -> Environment {
    Environment::parse(label).unwrap()
}

pub(crate) fn parsed(key: &Key) -> ApiKey {
    ApiKey::parse(&key.secret, &environment("local")).unwrap()
}

/// Generates a well-formed key. No account has it.
pub(crate) fn generate_key(entropy: &dyn Entropy) -> ApiKey {
    let account = AccountId::generate(entropy).unwrap();
    ApiKey::generate(account, KeyId::generate(entropy).unwrap(), entropy).unwrap()
}

/// The text of a generated key of the environment with this label.
pub(crate) fn generated_key(label: &str, seed: u64) -> String {
    generate_key(&SeededEntropy::new(seed)).display(&environment(label)).expose().to_owned()
}

/// The same key, written for the environment with this label.
pub(crate) fn foreign(key: &Key, label: &str) -> String {
    parsed(key).display(&environment(label)).expose().to_owned()
}

/// A well-formed key with the ids of `key` and a different secret.
pub(crate) fn forged(key: &Key, seed: u64) -> String {
    let key = parsed(key);
    let forged = ApiKey::generate(key.account, key.id, &SeededEntropy::new(seed)).unwrap();
    forged.display(&environment("local")).expose().to_owned()
}

/// A well-formed key of the account of `key`, with an id that does not exist.
pub(crate) fn unknown(key: &Key, seed: u64) -> String {
    let entropy = SeededEntropy::new(seed);
    let unknown = ApiKey::generate(parsed(key).account, KeyId::generate(&entropy).unwrap(), &entropy);
    unknown.unwrap().display(&environment("local")).expose().to_owned()
}

/// Sends a request with `key` that the authorizer allows.
pub(crate) async fn use_key(harness: &Harness, key: &Key) {
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Allow);
}

/// Stores allowed requests with `key` at noon UTC on days of 2026. Each item of `days` is a month,
/// a day and the number of requests.
pub(crate) async fn store_usage(harness: &Harness, key: &Key, days: &[(i8, i8, u64)]) {
    let number = |number: i64| AttributeValue::N(number.to_string());
    for (month, day, requests) in days {
        let day = date(2026, *month, *day);
        let noon = Offset::UTC.to_timestamp(day.at(12, 0, 0, 0)).unwrap().as_second();
        let item: Item = [
            ("pk".to_owned(), AttributeValue::S(format!("USAGE#{}", key.account))),
            ("sk".to_owned(), AttributeValue::S(format!("{day}#{}", key.id))),
            ("12_allowed".to_owned(), AttributeValue::N(requests.to_string())),
            ("lastUsedAt".to_owned(), number(noon)),
            ("ttl".to_owned(), number(noon + 90 * 86_400)),
        ]
        .into();
        harness.table.put(item).await;
    }
}
