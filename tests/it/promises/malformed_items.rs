//! A key is allowed only if the items that its decision reads are well-formed.

use std::collections::HashMap;

use authorizer::FunctionError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tests::{Action, Harness, Item, Key, Shape, Verdict};

use crate::support::denied;
use crate::support::items::map_at;

/// An item with one change, and a description of the change.
type Variant = (String, Item);

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: &str) -> AttributeValue {
    AttributeValue::N(number.to_owned())
}

fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

fn list(values: &[AttributeValue]) -> AttributeValue {
    AttributeValue::L(values.to_vec())
}

/// Values that none of the changed attributes can have.
fn invalid_values() -> Vec<AttributeValue> {
    vec![
        AttributeValue::Null(true),
        text(""),
        text("?"),
        number("1"),
        number("1.5"),
        number("-1"),
        AttributeValue::Bool(false),
        bytes(&[]),
        bytes(&[0; 31]),
        bytes(&[0; 32]),
        list(&[]),
        list(&[number("1")]),
        AttributeValue::M(HashMap::new()),
        AttributeValue::Ss(vec!["x".to_owned()]),
    ]
}

/// `item` without the attribute `name` of the map at `path`.
fn without(item: &Item, path: &[&str], name: &str) -> Variant {
    let mut changed = item.clone();
    map_at(&mut changed, path).remove(name);
    (format!("{path:?} without {name}"), changed)
}

/// `item` with `value` for the attribute `name` of the map at `path`.
fn with(item: &Item, path: &[&str], name: &str, value: AttributeValue) -> Variant {
    let description = format!("{path:?} with {name} = {value:?}");
    let mut changed = item.clone();
    map_at(&mut changed, path).insert(name.to_owned(), value);
    (description, changed)
}

/// The variants of `item` in which one attribute of the map at `path` is missing or
/// has an invalid value. Skips the attributes `unread`, which no decision reads.
fn variants(item: &Item, path: &[&str], unread: &[&str]) -> Vec<Variant> {
    let mut variants = Vec::new();
    let names: Vec<String> = map_at(&mut item.clone(), path).keys().cloned().collect();
    for name in names.iter().filter(|name| !unread.contains(&name.as_str())) {
        variants.push(without(item, path, name));
        variants.extend(invalid_values().into_iter().map(|value| with(item, path, name, value)));
    }
    variants
}

/// Issues a key with every optional attribute. The source address of the tests' events
/// is in its network.
async fn full_key(harness: &Harness) -> Key {
    harness.put_role("orgs.read", &["GET /organizations/{proxy+}"]).await;
    let account = harness.create_account("batch", "orgs.read").await;
    let body = json!({
        "name": "key", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24"],
    });
    harness.issue_key_with(&account, &body).await
}

/// Replaces the item `intact` with each variant, and fails if the authorizer then allows
/// `GET` on one of `paths`. Restores the item at the end, and fails if the key is still refused.
async fn assert_none_allows(
    harness: &Harness,
    key: &Key,
    paths: &[&str],
    variants: Vec<Variant>,
    intact: Item,
) {
    assert!(variants.len() >= 5, "too few variants");
    for (description, item) in variants {
        assert_ne!(item, intact, "{description} changes nothing");
        harness.table.put(item).await;
        for path in paths {
            let verdict = harness.verdict(&Shape::HttpV2.request("GET", path, &key.secret)).await;
            assert_ne!(verdict, Verdict::Allow, "{path} is allowed despite {description}");
        }
    }
    harness.table.put(intact).await;
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Allow);
}

/// An operation that needs a role, and one that needs only a valid key.
const PATHS: [&str; 2] = ["/organizations/42", "/iam/v1/whoami"];

#[tokio::test]
async fn account_with_a_missing_or_invalid_attribute_is_denied() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.account(&key.account).await;
    // No decision reads these, except for the name, which can be any text.
    let unread = [
        "pk",
        "sk",
        "gsi1pk",
        "gsi1sk",
        "gsi2pk",
        "gsi2sk",
        "labels",
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
    let read: Vec<_> = intact.keys().map(String::as_str).filter(|name| !unread.contains(name)).collect();
    assert_eq!(read.len(), 4, "expected role, enabled, keys and verifiers, not {read:?}");
    let mut variants = variants(&intact, &[], &unread);
    // An account is enabled only if the attribute is the Boolean `true`.
    for value in [text("true"), text("enabled"), list(&[AttributeValue::Bool(true)])] {
        variants.push(with(&intact, &[], "enabled", value));
    }
    assert_none_allows(&harness, &key, &PATHS, variants, intact).await;
}

#[tokio::test]
async fn key_with_a_missing_or_invalid_attribute_is_denied() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.account(&key.account).await;
    let path = ["keys", &key.id];
    let unread = ["name", "hint", "createdAt", "createdBy", "fingerprint"];
    let mut variants = variants(&intact, &path, &unread);
    for cidrs in [
        list(&[text("203.0.113.0/24"), number("1")]),
        list(&[text("everywhere")]),
        list(&vec![text("203.0.113.0/24"); 11]),
        text("203.0.113.0/24"),
    ] {
        variants.push(with(&intact, &path, "cidrs", cidrs));
    }
    for expires_at in ["9223372036854775808", "99999999999999", "1e99", "4102444800"] {
        variants.push(with(&intact, &path, "expiresAt", number(expires_at)));
    }
    assert_none_allows(&harness, &key, &PATHS, variants, intact).await;
}

#[tokio::test]
async fn key_with_a_missing_or_invalid_verifier_is_denied() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.account(&key.account).await;
    let path = ["verifiers", &key.id];
    let mut variants = variants(&intact, &path, &[]);
    let verifier = map_at(&mut intact.clone(), &path)["verifier"].as_b().unwrap().clone().into_inner();
    let too_long = [&verifier[..], &[0]].concat();
    let twice = verifier.repeat(2);
    for verifier in [&verifier[..31], &verifier[1..], &too_long, &[], &twice] {
        variants.push(with(&intact, &path, "verifier", bytes(verifier)));
    }
    for pepper in ["v2", "v0", "v01", "1", "current", "V1", "v1 ", "v9999999999"] {
        variants.push(with(&intact, &path, "pepper", text(pepper)));
    }
    for map in ["keys", "verifiers"] {
        variants.push(without(&intact, &[map], &key.id));
    }
    assert_none_allows(&harness, &key, &PATHS, variants, intact).await;
}

#[tokio::test]
async fn account_with_an_unknown_or_malformed_role_is_denied() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let intact = harness.table.account(&key.account).await;
    let roles = [
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
    let variants = roles.iter().map(|role| with(&intact, &[], "role", text(role))).collect();
    // `whoami` needs no role, so it stays allowed.
    assert_none_allows(&harness, &key, &PATHS[..1], variants, intact).await;
}

#[tokio::test]
async fn missing_or_malformed_role_item_is_denied() {
    let harness = Harness::start().await;
    let key = full_key(&harness).await;
    let event = Shape::HttpV2.bearer(&key.secret);
    let intact = harness.table.get("ROLE#orgs.read", "ROLE").await.unwrap();
    let valid = text("GET /organizations/{proxy+}");
    let mut invalid = invalid_values();
    invalid.extend([
        valid.clone(),
        AttributeValue::Ss(vec!["GET /organizations/{proxy+}".to_owned()]),
        list(&[valid.clone(), number("1")]),
        list(&[valid.clone(), AttributeValue::Null(true)]),
        // One malformed permission makes the whole role unreadable.
        list(&[valid.clone(), text("GET organizations")]),
        list(&[valid.clone(), text("FETCH /organizations")]),
        list(&[valid.clone(), text("")]),
        list(&[list(std::slice::from_ref(&valid))]),
        list(&vec![valid.clone(); 101]),
    ]);
    let with_permissions = |permissions| with(&intact, &[], "permissions", permissions);
    let variants = invalid.into_iter().map(with_permissions).collect();
    assert_none_allows(&harness, &key, &PATHS[..1], variants, intact.clone()).await;

    harness.table.put(without(&intact, &[], "permissions").1).await;
    let outage = (Verdict::Failed(FunctionError::Unavailable), "outage".to_owned());
    assert_eq!(harness.decide(&event).await, outage);
    harness.table.delete("ROLE#orgs.read", "ROLE").await;
    assert_eq!(harness.decide(&event).await, denied("role"));

    // As a control, a role with the maximum number of permissions is allowed.
    harness.table.put(with_permissions(list(&vec![valid; 100])).1).await;
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}

#[tokio::test]
async fn malformed_database_response_is_denied() {
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
        harness.wire.intercept(move |_| Action::Respond(200, body.to_owned()));
        assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{body}");
        harness.wire.intercept(move |_| Action::ReplaceBody(body.to_owned()));
        assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{body}");
    }
    harness.wire.pass_all();
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}
