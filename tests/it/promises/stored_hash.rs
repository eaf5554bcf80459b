//! What the table holds in place of secrets.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::domain::{AllowedCidrs, ApiKey, Environment, KeySpec, Pepper, RoleName, Verifier};
use tests::{Harness, Item, Key, Shape, Verdict};

const PEPPER: &[u8] = b"pepper-of-the-known-answers-0123456789-abcdefghijklmnop";
const KNOWN: &str =
    "kwsa_prod_AccountIdOf16Chr_KeyIdWith16Chars_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ2yUazK";

/// The attribute `name` within a map.
fn member<'a>(map: &'a mut AttributeValue, name: &str) -> &'a mut AttributeValue {
    let AttributeValue::M(members) = map else { panic!("no map") };
    members.get_mut(name).unwrap()
}

fn key_of<'a>(item: &'a mut Item, key: &str) -> &'a mut Item {
    let AttributeValue::M(members) = member(item.get_mut("keys").unwrap(), key) else { panic!("no map") };
    members
}

/// Everything an item holds, as bytes, one after the other.
#[allow(clippy::wildcard_enum_match_arm, reason = "the SDK's type may grow")]
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
        other => panic!("no attribute of ours is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// `needle` as it is and in each encoding that might hold it, whole.
fn encodings(needle: &str) -> Vec<Vec<u8>> {
    let bytes = needle.as_bytes();
    let hex = hex(bytes);
    let mut encodings = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    // A base64 text depends on where the needle begins in what was encoded.
    for skip in 0..3 {
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE] {
            let whole = &bytes[skip..];
            encodings.push(engine.encode(&whole[..whole.len() / 3 * 3]).into_bytes());
        }
    }
    encodings.push(bytes.iter().rev().copied().collect());
    encodings
}

/// A key with a role and networks of its own, usable from where events come.
async fn narrow_key(harness: &Harness) -> Key {
    let account = harness.create_account("batch", "ServiceAccountAdmin").await;
    let body = json!({
        "name": "narrow", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24", "2001:db8::/32"],
    });
    harness.issue_key_with(&account, &body).await
}

/// The frame was computed by Python's `hmac`, `hashlib` and `struct`.
#[test]
fn the_verifier_is_the_known_one() {
    let key = ApiKey::parse(KNOWN, &Environment::parse("prod").unwrap()).unwrap();
    let pepper = Pepper::new(PEPPER).unwrap();
    let known: [(&str, &[&str], i64, &str); 6] = [
        ("", &[], 1_798_761_600, "87bd8f1b29bef5f033d5d578b94aeb48633cd8a1a810000fc34fca93505ed630"),
        (
            "ServiceAccountReader",
            &[],
            1_798_761_600,
            "27b1b89d90087a265efd1e2419b68619bff3605457dd59a430cc2c5645eb432d",
        ),
        // In any order, doubled and with host bits: one canonical form.
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
    for (role, cidrs, expires_at, expected) in known {
        let spec = KeySpec {
            expires_at: Timestamp::from_second(expires_at).unwrap(),
            role: (!role.is_empty()).then(|| RoleName::parse(role).unwrap()),
            cidrs: AllowedCidrs::parse(cidrs).unwrap(),
        };
        let verifier = Verifier::compute(&pepper, &key, &spec);
        let hex = hex(verifier.as_bytes());
        assert_eq!(hex, expected, "{role} {cidrs:?} {expires_at}");
        assert!(verifier.matches(&verifier.clone()));
        for at in 0..32 {
            let mut other = *verifier.as_bytes();
            other[at] ^= 1;
            assert!(!verifier.matches(&Verifier::from_bytes(&other).unwrap()), "byte {at}");
        }
    }
}

#[test]
fn a_verifier_is_32_bytes_and_a_pepper_at_least_43() {
    for length in [0, 1, 16, 31, 33, 64] {
        assert!(Verifier::from_bytes(&vec![0; length]).is_none(), "{length}");
    }
    assert!(Pepper::new(&[b'x'; 42]).is_none());
    assert!(Pepper::new(&[b'x'; 43]).is_some());
}

#[test]
fn nothing_secret_shows_in_debug() {
    let environment = Environment::parse("prod").unwrap();
    let key = ApiKey::parse(KNOWN, &environment).unwrap();
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
async fn a_dump_of_the_table_holds_no_secret() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountWriter").await;
    let keys = [harness.issue_key(&account).await, narrow_key_of(&harness, &account).await];
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let mut held = Vec::new();
    for item in harness.table.dump().await {
        flatten(&AttributeValue::M(item), &mut held);
    }
    assert!(held.len() > 50, "the dump was read");
    for key in keys.iter().chain([&revoked]) {
        let secret = &key.secret.rsplit('_').next().unwrap()[..43];
        for needle in encodings(secret).into_iter().chain(encodings(&key.secret)) {
            assert!(!held.iter().any(|bytes| contains(bytes, &needle)), "found in the table");
        }
        // The control: what is stored of a key is found this way.
        let hint = &key.secret.as_bytes()[key.secret.len() - 4..];
        assert!(held.iter().any(|bytes| bytes == hint));
        assert!(held.iter().any(|bytes| bytes == key.id.as_bytes()));
    }
}

async fn narrow_key_of(harness: &Harness, account: &tests::Account) -> Key {
    let body =
        json!({ "name": "narrow", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24"] });
    harness.issue_key_with(account, &body).await
}

#[tokio::test]
async fn a_verifier_copied_to_another_key_or_account_fails() {
    let harness = Harness::start().await;
    let [one, other] = [
        harness.create_account("one", "ServiceAccountAdmin").await,
        harness.create_account("other", "ServiceAccountReader").await,
    ];
    let weak = harness.issue_key(&other).await;
    let beside = harness.issue_key(&other).await;
    let strong = harness.issue_key(&one).await;
    let mut source = harness.table.get(&format!("ACCOUNT#{}", weak.account), "ACCOUNT").await.unwrap();
    let entry = key_of(&mut source, &weak.id).clone();
    let verifier = member(source.get_mut("verifiers").unwrap(), &weak.id).clone();

    // Onto another key of the same account: its holder knows only the first.
    harness
        .table
        .tamper(&beside.account, |item| {
            *key_of(item, &beside.id) = entry.clone();
            *member(item.get_mut("verifiers").unwrap(), &beside.id) = verifier.clone();
        })
        .await;
    let forged = with_ids(&weak, &beside.account, &beside.id);
    assert_wrong_secret(&harness, &forged).await;
    assert_wrong_secret(&harness, &beside.secret).await;

    // Into another account, under its own id and under one that is there.
    harness
        .table
        .tamper(&strong.account, |item| {
            let AttributeValue::M(keys) = item.get_mut("keys").unwrap() else { panic!() };
            keys.insert(weak.id.clone(), AttributeValue::M(entry.clone()));
            let AttributeValue::M(verifiers) = item.get_mut("verifiers").unwrap() else { panic!() };
            verifiers.insert(weak.id.clone(), verifier.clone());
            verifiers.insert(strong.id.clone(), verifier.clone());
        })
        .await;
    assert_wrong_secret(&harness, &with_ids(&weak, &strong.account, &weak.id)).await;
    assert_wrong_secret(&harness, &with_ids(&weak, &strong.account, &strong.id)).await;
    // The control: where it belongs it still counts.
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&weak.secret)).await, Verdict::Allow);
}

/// The same secret under other ids, with a good checksum.
fn with_ids(key: &Key, account: &str, id: &str) -> String {
    let environment = Environment::parse("local").unwrap();
    let mut parsed = ApiKey::parse(&key.secret, &environment).unwrap();
    parsed.account = account.parse().unwrap();
    parsed.id = id.parse().unwrap();
    parsed.display(&environment).expose().to_owned()
}

async fn assert_wrong_secret(harness: &Harness, key: &str) {
    for shape in Shape::ALL {
        let decided = harness.decide(&shape.bearer(key)).await;
        assert_eq!(decided, (shape.unauthorized(), "wrong_secret".to_owned()), "{shape:?}");
    }
}

#[tokio::test]
async fn what_a_key_may_do_cannot_be_altered_in_the_table() {
    let harness = Harness::start().await;
    let key = narrow_key(&harness).await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let list = |texts: &[&str]| AttributeValue::L(texts.iter().map(|t| text(t)).collect());
    let expires_at = |more: i64| {
        let at = Timestamp::from_second(1_767_225_600 + 90 * 86_400 + more).unwrap();
        AttributeValue::N(at.as_second().to_string())
    };
    let changes = [
        ("expiresAt", Some(expires_at(1))),
        ("expiresAt", Some(expires_at(-1))),
        ("expiresAt", Some(expires_at(10 * 365 * 86_400))),
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
        let mut before = None;
        harness
            .table
            .tamper(&key.account, |item| {
                before = Some(item.clone());
                let entry = key_of(item, &key.id);
                match &value {
                    Some(value) => {
                        assert_ne!(entry.insert(name.to_owned(), value.clone()).as_ref(), Some(value));
                    }
                    None => assert!(entry.remove(name).is_some()),
                }
            })
            .await;
        let decided = harness.decide(&event).await;
        assert_eq!(decided, (Verdict::Deny, "wrong_secret".to_owned()), "{name} {value:?}");
        harness.table.put(before.unwrap()).await;
        assert_eq!(harness.verdict(&event).await, Verdict::Allow, "restored after {name}");
    }
}

#[tokio::test]
async fn a_changed_verifier_fails() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    for bit in [0, 7, 100, 255] {
        let flip = |item: &mut Item| {
            let entry = member(item.get_mut("verifiers").unwrap(), &key.id);
            let AttributeValue::B(bytes) = member(entry, "verifier") else { panic!("no bytes") };
            let mut changed = bytes.clone().into_inner();
            changed[bit / 8] ^= 1 << (bit % 8);
            *bytes = Blob::new(changed);
        };
        harness.table.tamper(&key.account, flip).await;
        assert_wrong_secret(&harness, &key.secret).await;
        harness.table.tamper(&key.account, flip).await;
    }
    assert_eq!(harness.check(&key.secret).await, 200);
}

#[tokio::test]
async fn no_index_carries_a_verifier() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let scan = harness.table.client.scan().table_name(&harness.table.name).index_name("gsi1");
    let items = scan.send().await.unwrap().items.unwrap();
    assert!(items.iter().any(|item| item.contains_key("keys")), "the account is listed with its keys");
    let verifier = verifier_of(&harness, &key).await;
    for item in items {
        assert!(!item.contains_key("verifiers") && !item.contains_key("verifier"), "{item:?}");
        let mut held = Vec::new();
        flatten(&AttributeValue::M(item), &mut held);
        assert!(!held.iter().any(|bytes| contains(bytes, &verifier)));
    }
}

async fn verifier_of(harness: &Harness, key: &Key) -> Vec<u8> {
    let mut item = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    let entry = member(item.get_mut("verifiers").unwrap(), &key.id);
    let AttributeValue::B(bytes) = member(entry, "verifier") else { panic!("no bytes") };
    bytes.clone().into_inner()
}

#[tokio::test]
async fn no_answer_holds_a_verifier_or_shows_a_secret_twice() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let verifier = verifier_of(&harness, &key).await;
    let encoded = [STANDARD.encode(&verifier), URL_SAFE.encode(&verifier)];
    let hex = hex(&verifier);
    let secret = &key.secret.rsplit('_').next().unwrap()[..43];
    for path in ["/iam/v1/service-accounts", "/iam/v1/service-accounts?limit=100", &account.path()] {
        let reply = harness.request("GET", path).admin().send().await.expect(200);
        assert!(reply.text.contains(&key.account), "{path}");
        for hidden in encoded.iter().map(String::as_str).chain([hex.as_str(), secret, "verifier", "pepper"]) {
            assert!(!reply.text.contains(hidden), "{path} shows {hidden}");
        }
        assert_no_member(&reply.json(), "fingerprint");
    }
}

fn assert_no_member(value: &Value, name: &str) {
    match value {
        Value::Object(members) => {
            assert!(!members.contains_key(name));
            members.values().for_each(|value| assert_no_member(value, name));
        }
        Value::Array(values) => values.iter().for_each(|value| assert_no_member(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
