//! The table contains verifiers in place of secrets. A verifier is an HMAC over the ids,
//! secret, expiry, role and networks of a key.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use jiff::Timestamp;
use serde_json::json;
use shared::domain::{AllowedCidrs, ApiKey, KeySpec, Pepper, RoleName, Verifier};
use tests::{Account, Harness, Item, Key, Shape, Verdict};

use crate::support::items::map_at;
use crate::support::keys::{environment, parsed};
use crate::support::{denied, unauthorized};

/// The pepper and the key of the test vectors.
const PEPPER: &[u8] = b"pepper-of-the-known-answers-0123456789-abcdefghijklmnop";
const KEY: &str =
    "kwsa_prod_AccountIdOf16Chr_KeyIdWith16Chars_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ2yUazK";

/// The verifier of a key in the item of its account.
fn verifier_in<'a>(item: &'a mut Item, key: &str) -> &'a mut Blob {
    let entry = map_at(item, &["verifiers", key]).get_mut("verifier").unwrap();
    let AttributeValue::B(verifier) = entry else { panic!("the verifier is not binary") };
    verifier
}

/// The verifier of a key in the table.
async fn stored_verifier(harness: &Harness, key: &Key) -> Vec<u8> {
    let mut item = harness.table.account(&key.account).await;
    verifier_in(&mut item, &key.id).clone().into_inner()
}

/// The 43 random characters of a key.
fn secret_of(key: &Key) -> &str {
    &key.secret.rsplit('_').next().unwrap()[..43]
}

/// All values and names of map entries in `value`, as bytes.
#[allow(clippy::wildcard_enum_match_arm, reason = "the SDK's type can get new variants")]
fn flatten(value: &AttributeValue, into: &mut Vec<Vec<u8>>) {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => into.push(text.clone().into_bytes()),
        AttributeValue::B(bytes) => into.push(bytes.clone().into_inner()),
        AttributeValue::L(list) => list.iter().for_each(|value| flatten(value, into)),
        AttributeValue::M(map) => map.iter().for_each(|(name, value)| {
            into.push(name.clone().into_bytes());
            flatten(value, into);
        }),
        AttributeValue::Bool(_) => {}
        AttributeValue::Ss(texts) => into.extend(texts.iter().map(|text| text.clone().into_bytes())),
        other => panic!("no attribute of the table has this type: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// `text` itself, reversed, and in each common encoding.
fn encodings(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let hex = hex(bytes);
    let mut encodings = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    // The base64 encoding of a part depends on its offset modulo 3 in the whole.
    for skip in 0..3 {
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE] {
            let rest = &bytes[skip..];
            encodings.push(engine.encode(&rest[..rest.len() / 3 * 3]).into_bytes());
        }
    }
    encodings.push(bytes.iter().rev().copied().collect());
    encodings
}

/// Issues a key with its own role and networks, which include the source address of the
/// tests' events.
async fn issue_narrow_key(harness: &Harness, account: &Account) -> Key {
    let body = json!({
        "name": "narrow", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24", "2001:db8::/32"],
    });
    harness.issue_key_with(account, &body).await
}

/// The test vectors were computed with `hmac`, `hashlib` and `struct` of Python.
#[test]
fn verifier_matches_the_test_vectors() {
    let key = ApiKey::parse(KEY, &environment("prod")).unwrap();
    let pepper = Pepper::new(PEPPER).unwrap();
    let vectors: [(&str, &[&str], i64, &str); 6] = [
        ("", &[], 1_798_761_600, "87bd8f1b29bef5f033d5d578b94aeb48633cd8a1a810000fc34fca93505ed630"),
        (
            "ServiceAccountReader",
            &[],
            1_798_761_600,
            "27b1b89d90087a265efd1e2419b68619bff3605457dd59a430cc2c5645eb432d",
        ),
        // Networks have one canonical form, whatever their order, duplicates and host bits.
        (
            "",
            &["2001:db8::1/32", "203.0.113.9/24", "10.0.0.0/8", "10.1.2.3/8"],
            1_798_761_600,
            "677bce362ae6973a88be27e9ce93a22e19a48766748a67a8b43a633bd1acf9df",
        ),
        (
            "orders.read",
            &["203.0.113.7/32"],
            1_798_761_600,
            "ae77e8d6ef0d4db970478f07bad25556cde9e42561178dd4eec699c98fca44bc",
        ),
        ("", &[], 0, "ea9e8d98abea6d8a7c5076c5263d035835a78ea04ee2e19bc69bb9763e77ea2e"),
        ("", &[], -1, "bd381ad1de1ef3643c90473a82ff7371a4c0f594eec9d8e733f6a70059ec1347"),
    ];
    for (role, cidrs, expires_at, expected) in vectors {
        let spec = KeySpec {
            expires_at: Timestamp::from_second(expires_at).unwrap(),
            role: (!role.is_empty()).then(|| RoleName::parse(role).unwrap()),
            cidrs: AllowedCidrs::parse(cidrs).unwrap(),
        };
        let verifier = Verifier::compute(&pepper, &key, &spec);
        assert_eq!(hex(verifier.as_bytes()), expected, "{role} {cidrs:?} {expires_at}");
        assert!(verifier.matches(&verifier.clone()));
        for at in 0..32 {
            let mut other = *verifier.as_bytes();
            other[at] ^= 1;
            assert!(!verifier.matches(&Verifier::from_bytes(&other).unwrap()), "byte {at}");
        }
    }
}

#[test]
fn verifiers_and_peppers_of_the_wrong_length_are_refused() {
    for length in [0, 1, 16, 31, 33, 64] {
        assert!(Verifier::from_bytes(&vec![0; length]).is_none(), "{length}");
    }
    assert!(Pepper::new(&[b'x'; 42]).is_none());
    assert!(Pepper::new(&[b'x'; 43]).is_some());
}

#[test]
fn debug_output_contains_no_secret() {
    let environment = environment("prod");
    let key = ApiKey::parse(KEY, &environment).unwrap();
    let pepper = Pepper::new(PEPPER).unwrap();
    let spec = KeySpec { expires_at: Timestamp::UNIX_EPOCH, role: None, cidrs: AllowedCidrs::default() };
    let verifier = Verifier::compute(&pepper, &key, &spec);
    assert_eq!(format!("{pepper:?}"), "Pepper(…)");
    assert_eq!(format!("{verifier:?}"), "Verifier(…)");
    assert_eq!(format!("{:?}", key.secret), "Secret(…)");
    assert_eq!(format!("{:?}", key.display(&environment)), "DisplayedKey(SecretBox<str>([REDACTED]))");
    assert!(!format!("{key:#?}").contains("abcdefgh"));
}

#[tokio::test]
async fn table_contains_no_secret() {
    let harness = Harness::start().await;
    let (account, revoked) = harness.account_with_key("batch", "ServiceAccountWriter").await;
    let keys =
        [harness.issue_key(&account).await, issue_narrow_key(&harness, &account).await, revoked.clone()];
    let _ = harness.revoke(&revoked).await.expect(204);
    let mut values = Vec::new();
    for item in harness.table.dump().await {
        flatten(&AttributeValue::M(item), &mut values);
    }
    assert!(values.len() > 50, "the dump is too short");
    for key in &keys {
        for needle in encodings(secret_of(key)).into_iter().chain(encodings(&key.secret)) {
            assert!(!values.iter().any(|bytes| contains(bytes, &needle)), "the table contains a secret");
        }
        // As a control, the same search finds what the table does contain.
        let hint = &key.secret.as_bytes()[key.secret.len() - 4..];
        assert!(values.iter().any(|bytes| bytes == hint));
        assert!(values.iter().any(|bytes| bytes == key.id.as_bytes()));
    }
}

#[tokio::test]
async fn verifier_copied_to_another_key_or_account_is_refused() {
    let harness = Harness::start().await;
    let [admin, reader] = [
        harness.create_account("admin", "ServiceAccountAdmin").await,
        harness.create_account("reader", "ServiceAccountReader").await,
    ];
    let weak = harness.issue_key(&reader).await;
    let sibling = harness.issue_key(&reader).await;
    let strong = harness.issue_key(&admin).await;
    let mut source = harness.table.account(&weak.account).await;
    let key = map_at(&mut source, &["keys"])[&weak.id].clone();
    let verifier = map_at(&mut source, &["verifiers"])[&weak.id].clone();

    // Replace another key of the same account.
    harness
        .table
        .tamper(&sibling.account, |item| {
            map_at(item, &["keys"]).insert(sibling.id.clone(), key.clone());
            map_at(item, &["verifiers"]).insert(sibling.id.clone(), verifier.clone());
        })
        .await;
    assert_wrong_secret(&harness, &with_ids(&weak, &sibling.account, &sibling.id)).await;
    assert_wrong_secret(&harness, &sibling.secret).await;

    // Add the key to another account under its own id, and replace the verifier of the
    // key that is already there.
    harness
        .table
        .tamper(&strong.account, |item| {
            map_at(item, &["keys"]).insert(weak.id.clone(), key.clone());
            map_at(item, &["verifiers"]).insert(weak.id.clone(), verifier.clone());
            map_at(item, &["verifiers"]).insert(strong.id.clone(), verifier.clone());
        })
        .await;
    assert_wrong_secret(&harness, &with_ids(&weak, &strong.account, &weak.id)).await;
    assert_wrong_secret(&harness, &with_ids(&weak, &strong.account, &strong.id)).await;
    // As a control, the key in its own account is still allowed.
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&weak.secret)).await, Verdict::Allow);
}

/// The secret of `key` with other ids and a matching checksum.
fn with_ids(key: &Key, account: &str, id: &str) -> String {
    let mut key = parsed(key);
    key.account = account.parse().unwrap();
    key.id = id.parse().unwrap();
    key.display(&environment("local")).expose().to_owned()
}

async fn assert_wrong_secret(harness: &Harness, key: &str) {
    for shape in Shape::ALL {
        let decided = harness.decide(&shape.bearer(key)).await;
        assert_eq!(decided, unauthorized(shape, "wrong_secret"), "{shape:?}");
    }
}

#[tokio::test]
async fn key_whose_expiry_role_or_networks_were_altered_in_the_table_is_refused() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountAdmin").await;
    let key = issue_narrow_key(&harness, &account).await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let list = |texts: &[&str]| AttributeValue::L(texts.iter().map(|t| text(t)).collect());
    let later = |seconds: i64| {
        let at = Timestamp::from_second(1_767_225_600 + 90 * 86_400 + seconds).unwrap();
        AttributeValue::N(at.as_second().to_string())
    };
    let changes = [
        ("expiresAt", Some(later(1))),
        ("expiresAt", Some(later(-1))),
        ("expiresAt", Some(later(10 * 365 * 86_400))),
        ("role", None),
        ("role", Some(text("ServiceAccountAdmin"))),
        ("role", Some(text("serviceAccountReader"))),
        ("cidrs", None),
        ("cidrs", Some(list(&[]))),
        ("cidrs", Some(list(&["0.0.0.0/0"]))),
        ("cidrs", Some(list(&["203.0.113.0/24"]))),
        ("cidrs", Some(list(&["203.0.113.0/23", "2001:db8::/32"]))),
        ("cidrs", Some(list(&["203.0.113.0/24", "2001:db8::/32", "198.51.100.0/24"]))),
    ];
    let event = Shape::HttpV2.bearer(&key.secret);
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    for (name, value) in changes {
        let mut intact = None;
        harness
            .table
            .tamper(&key.account, |item| {
                intact = Some(item.clone());
                let entry = map_at(item, &["keys", &key.id]);
                let before = entry.remove(name).unwrap();
                if let Some(value) = &value {
                    assert_ne!(before, *value, "the change must change something");
                    entry.insert(name.to_owned(), value.clone());
                }
            })
            .await;
        let decided = harness.decide(&event).await;
        assert_eq!(decided, denied("wrong_secret"), "{name} {value:?}");
        harness.table.put(intact.unwrap()).await;
        assert_eq!(harness.verdict(&event).await, Verdict::Allow, "the key with the original {name}");
    }
}

#[tokio::test]
async fn key_with_an_altered_verifier_is_refused() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    for bit in [0, 7, 100, 255] {
        let flip = |item: &mut Item| {
            let verifier = verifier_in(item, &key.id);
            let mut changed = verifier.clone().into_inner();
            changed[bit / 8] ^= 1 << (bit % 8);
            *verifier = Blob::new(changed);
        };
        harness.table.tamper(&key.account, flip).await;
        assert_wrong_secret(&harness, &key.secret).await;
        harness.table.tamper(&key.account, flip).await;
    }
    assert_eq!(harness.check(&key.secret).await, 200);
}

#[tokio::test]
async fn no_index_contains_a_verifier() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let retired = harness.issue_key(&account).await;
    let verifiers = [stored_verifier(&harness, &key).await, stored_verifier(&harness, &retired).await];
    let _ = harness.revoke(&retired).await.expect(204);
    for (index, attribute) in [("gsi1", "keys"), ("gsi2", "labels")] {
        let scan = harness.table.client.scan().table_name(&harness.table.name).index_name(index);
        let items = scan.send().await.unwrap().items.unwrap();
        let has_keys = items.iter().any(|item| item.contains_key(attribute));
        assert!(has_keys, "{index} must contain the account's keys");
        let has_retired = items.iter().any(|item| item["sk"].as_s().unwrap() == &retired.id);
        assert!(has_retired, "{index} must contain the retired key");
        for item in items {
            assert!(!item.contains_key("verifiers") && !item.contains_key("verifier"), "{item:?}");
            let mut values = Vec::new();
            flatten(&AttributeValue::M(item), &mut values);
            assert!(!values.iter().any(|bytes| verifiers.iter().any(|verifier| contains(bytes, verifier))));
        }
    }
}

#[tokio::test]
async fn responses_contain_no_verifier_and_no_secret_of_an_issued_key() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let verifier = stored_verifier(&harness, &key).await;
    let encoded = [STANDARD.encode(&verifier), URL_SAFE.encode(&verifier), hex(&verifier)];
    let hidden = [secret_of(&key), "verifier", "pepper", "fingerprint"];
    let list = "/iam/v1/service-accounts";
    let events = format!("{}/events", account.path());
    for path in [list, &format!("{list}?limit=100"), &account.path(), &events] {
        let text = harness.get(path).await.text;
        assert!(text.contains(&key.account), "{path}");
        for hidden in encoded.iter().map(String::as_str).chain(hidden) {
            assert!(!text.contains(hidden), "the response to {path} contains {hidden}");
        }
    }
}
