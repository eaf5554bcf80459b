//! Only the one well-formed item can let a key in.

use std::collections::HashMap;

use authorizer::FunctionError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tests::{Action, Harness, Item, Key, Shape, Verdict};

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: &str) -> AttributeValue {
    AttributeValue::N(number.to_owned())
}

fn bytes(length: usize) -> AttributeValue {
    AttributeValue::B(Blob::new(vec![0; length]))
}

fn list(values: &[AttributeValue]) -> AttributeValue {
    AttributeValue::L(values.to_vec())
}

/// Values that no attribute of ours has.
fn misfits() -> Vec<AttributeValue> {
    vec![
        AttributeValue::Null(true),
        s(""),
        s("?"),
        n("1"),
        n("1.5"),
        n("-1"),
        AttributeValue::Bool(false),
        bytes(0),
        bytes(31),
        bytes(32),
        list(&[]),
        list(&[n("1")]),
        AttributeValue::M(HashMap::new()),
        AttributeValue::Ss(vec!["x".to_owned()]),
    ]
}

/// The map that lies at `path` in an item.
fn at<'a>(item: &'a mut Item, path: &[&str]) -> &'a mut Item {
    path.iter().fold(item, |map, name| {
        let AttributeValue::M(map) = map.get_mut(*name).unwrap() else { panic!("{name} is no map") };
        map
    })
}

/// A key with everything that a key can have, and an event that it may pass.
async fn full_key(harness: &Harness) -> Key {
    harness.put_role("orgs.read", &["GET /organizations/{proxy+}"]).await;
    let account = harness.create_account("batch", "orgs.read").await;
    let body = json!({
        "name": "key", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24"],
    });
    harness.issue_key_with(&account, &body).await
}

/// Puts each of `items` in the place of the intact one, fails if the key passes
/// by it, and checks at the end that the intact one lets it pass.
async fn assert_none_allows(harness: &Harness, key: &Key, items: Vec<(String, Item)>, intact: Item) {
    let authorization = format!("Bearer {}", key.secret);
    assert!(items.len() >= 5, "there are some to try");
    for (what, item) in items {
        assert_ne!(item, intact, "{what} changes something");
        harness.table.put(item).await;
        for path in ["/organizations/42", "/iam/v1/whoami"] {
            let verdict = harness.verdict(&Shape::HttpV2.event("GET", path, &authorization)).await;
            assert_ne!(verdict, Verdict::Allow, "{what} lets {path} pass");
        }
    }
    harness.table.put(intact).await;
    assert_eq!(harness.verdict(&Shape::HttpV2.with(&authorization)).await, Verdict::Allow);
}

/// Every variant of `item` with one member of the map at `path` gone or of
/// another type. `optional` members may be missing; `spare` are those that a
/// decision does not need.
fn variants(item: &Item, path: &[&str], spare: &[&str]) -> Vec<(String, Item)> {
    let mut original = item.clone();
    let names: Vec<String> = at(&mut original, path).keys().cloned().collect();
    let mut variants = Vec::new();
    for name in names.iter().filter(|name| !spare.contains(&name.as_str())) {
        let mut changed = item.clone();
        at(&mut changed, path).remove(name);
        variants.push((format!("{path:?} without {name}"), changed));
        for value in misfits() {
            let mut changed = item.clone();
            let what = format!("{path:?} with {name} = {value:?}");
            at(&mut changed, path).insert(name.clone(), value);
            variants.push((what, changed));
        }
    }
    variants
}

#[tokio::test]
async fn an_account_with_an_attribute_gone_or_mistyped_lets_nobody_in() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    // A name can be any text, and none of the rest is read for a decision.
    let spare = [
        "pk",
        "sk",
        "gsi1pk",
        "gsi1sk",
        "description",
        "owner",
        "tags",
        "version",
        "createdAt",
        "createdBy",
        "updatedAt",
        "updatedBy",
        "fingerprint",
        "name",
    ];
    let items = variants(&intact, &[], &spare);
    let read: Vec<_> = intact.keys().map(String::as_str).filter(|name| !spare.contains(name)).collect();
    assert_eq!(read.len(), 4, "role, enabled, keys and verifiers, not {read:?}");
    assert_none_allows(&harness, &key, items, intact).await;
}

#[tokio::test]
async fn a_disabled_account_is_known_by_false_alone_and_an_enabled_one_by_true() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    let values =
        [s("true"), s("enabled"), n("1"), list(&[AttributeValue::Bool(true)]), AttributeValue::Bool(false)];
    let with = |value: &AttributeValue| {
        let mut item = intact.clone();
        item.insert("enabled".to_owned(), value.clone());
        (format!("enabled = {value:?}"), item)
    };
    assert_none_allows(&harness, &key, values.iter().map(with).collect(), intact.clone()).await;
}

#[tokio::test]
async fn a_key_with_a_member_gone_or_mistyped_lets_nobody_in() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    let spare = ["name", "hint", "createdAt", "createdBy", "fingerprint"];
    let mut items = variants(&intact, &["keys", &key.id], &spare);
    let cidrs = [
        list(&[s("203.0.113.0/24"), n("1")]),
        list(&[s("everywhere")]),
        list(&vec![s("203.0.113.0/24"); 11]),
        s("203.0.113.0/24"),
    ];
    for value in cidrs {
        let mut item = intact.clone();
        at(&mut item, &["keys", &key.id]).insert("cidrs".to_owned(), value.clone());
        items.push((format!("cidrs = {value:?}"), item));
    }
    for value in ["9223372036854775808", "99999999999999", "1e99", "4102444800"] {
        let mut item = intact.clone();
        at(&mut item, &["keys", &key.id]).insert("expiresAt".to_owned(), n(value));
        items.push((format!("expiresAt = {value}"), item));
    }
    assert_none_allows(&harness, &key, items, intact).await;
}

#[tokio::test]
async fn a_verifier_gone_mistyped_or_of_an_unknown_pepper_lets_nobody_in() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    let mut items = variants(&intact, &["verifiers", &key.id], &[]);
    let original =
        at(&mut intact.clone(), &["verifiers", &key.id])["verifier"].as_b().unwrap().clone().into_inner();
    let mut long = original.clone();
    long.push(0);
    for verifier in [original[..31].to_vec(), original[1..].to_vec(), long, Vec::new(), original.repeat(2)] {
        let mut item = intact.clone();
        let length = verifier.len();
        at(&mut item, &["verifiers", &key.id])
            .insert("verifier".to_owned(), AttributeValue::B(Blob::new(verifier)));
        items.push((format!("a verifier of {length} bytes"), item));
    }
    for version in ["v2", "v0", "v01", "1", "current", "V1", "v1 ", "v9999999999"] {
        let mut item = intact.clone();
        at(&mut item, &["verifiers", &key.id]).insert("pepper".to_owned(), s(version));
        items.push((format!("pepper {version}"), item));
    }
    for (gone, left) in [("keys", "verifiers"), ("verifiers", "keys")] {
        let mut item = intact.clone();
        at(&mut item, &[gone]).remove(&key.id);
        items.push((format!("{left} without {gone}"), item));
    }
    assert_none_allows(&harness, &key, items, intact).await;
}

#[tokio::test]
async fn a_role_that_is_unknown_or_unreadable_lets_nobody_in() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    let names = [
        "no.such.role",
        "serviceaccountadmin",
        "ServiceAccountAdmin ",
        "ServiceAccountadmin",
        "Admin",
        "admin",
        "*",
        "ANY",
        "",
        "role with spaces",
        "1role",
        "ORGS.READ",
        "orgs.read,ServiceAccountAdmin",
        "orgs.read\0",
        &"x".repeat(65),
    ];
    let with = |name: &&str| {
        let mut item = intact.clone();
        item.insert("role".to_owned(), s(name));
        (format!("role = {name:?}"), item)
    };
    // An unknown custom role must not keep even whoami from a key that is good,
    // so these are tried on an operation.
    let event = Shape::HttpV2.bearer(&key.secret);
    for (what, item) in names.iter().map(with) {
        harness.table.put(item).await;
        assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{what}");
    }
    harness.table.put(intact).await;
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}

#[tokio::test]
async fn a_role_item_that_is_missing_or_broken_lets_nobody_in() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let event = Shape::HttpV2.bearer(&key.secret);
    let intact = harness.table.get("ROLE#orgs.read", "ROLE").await.unwrap();
    let good = s("GET /organizations/{proxy+}");
    let mut broken: Vec<AttributeValue> = misfits();
    broken.extend([
        good.clone(),
        AttributeValue::Ss(vec!["GET /organizations/{proxy+}".to_owned()]),
        list(&[good.clone(), n("1")]),
        list(&[good.clone(), AttributeValue::Null(true)]),
        // One permission that cannot be read spoils the whole role.
        list(&[good.clone(), s("GET organizations")]),
        list(&[good.clone(), s("FETCH /organizations")]),
        list(&[good.clone(), s("")]),
        list(&[list(std::slice::from_ref(&good))]),
        list(&vec![good.clone(); 101]),
    ]);
    for value in broken {
        let mut item = intact.clone();
        item.insert("permissions".to_owned(), value.clone());
        harness.table.put(item).await;
        assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{value:?}");
    }
    let mut item = intact.clone();
    item.remove("permissions");
    harness.table.put(item).await;
    assert_eq!(
        harness.decide(&event).await,
        (Verdict::Failed(FunctionError::Unavailable), "outage".to_owned())
    );

    let delete = harness.table.client.delete_item().table_name(&harness.table.name);
    delete.key("pk", s("ROLE#orgs.read")).key("sk", s("ROLE")).send().await.unwrap();
    assert_eq!(harness.decide(&event).await, (Verdict::Deny, "role".to_owned()));

    // The control: the intact one, and as many permissions as there may be.
    harness.table.put(intact.clone()).await;
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    let mut item = intact;
    item.insert("permissions".to_owned(), list(&vec![good; 100]));
    harness.table.put(item).await;
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}

#[tokio::test]
async fn answers_that_are_no_item_let_nobody_in() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let event = Shape::HttpV2.bearer(&key.secret);
    harness.authorizer().warm().await;
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "true",
        "{}",
        "{\"Item\":null}",
        "{\"Item\":{}}",
        "{\"Item\":[]}",
        "{\"Item\":{\"role\":{\"S\":\"ServiceAccountAdmin\"},\"enabled\":{\"BOOL\":true},\"name\":{\"S\":\"x\"}}}",
        "{\"Item\":{\"enabled\":{\"BOOL\":true}}}",
        "{\"Items\":[]}",
        "<html>",
        "\u{feff}{}",
    ];
    for body in bodies {
        harness.wire.disturb(move |_| Action::Answer(200, body.to_owned()));
        assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{body}");
        harness.wire.disturb(move |_| Action::Replace(body.to_owned()));
        assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{body}");
    }
    harness.wire.calm();
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}
