//! The directory, from which searches and the overview read, agrees with the accounts.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{Account, Harness, Item, Key, RequestBuilder};

use crate::support::faults::random_conflicts;

/// The labels and the sort key that an account's item must have.
fn expected(item: &Item) -> (BTreeMap<String, String>, String) {
    let keys = item["keys"].as_m().unwrap();
    let number = |map: &Item, name: &str| map.get(name).map(|value| value.as_n().unwrap().clone());
    let mut labels = BTreeMap::new();
    let mut first = "9999999999".to_owned();
    for (id, key) in keys {
        let key = key.as_m().unwrap();
        let text = |name: &str| key[name].as_s().unwrap().clone();
        if id.starts_with("fid_") {
            let expires = number(key, "expiresAt");
            first = first.min(expires.clone().unwrap_or_else(|| "9999999999".to_owned()));
            let expires = expires.unwrap_or_else(|| "-".to_owned());
            labels.insert(id.clone(), format!("{expires} {} {}", text("issuer"), text("name")));
            continue;
        }
        let expires = number(key, "expiresAt").unwrap();
        let times = if let Some(retires) = number(key, "retiresAt") {
            format!("{expires}/{retires}")
        } else {
            first = first.min(expires.clone());
            expires
        };
        labels.insert(id.clone(), format!("{times} {} {}", text("hint"), text("name")));
    }
    let state = if *item["enabled"].as_bool().unwrap() { "E" } else { "D" };
    (labels, format!("{state}#{first}#{}", &item["pk"].as_s().unwrap()["ACCOUNT#sa_".len()..]))
}

fn stored(item: &Item) -> (BTreeMap<String, String>, String) {
    let labels = item["labels"].as_m().unwrap().iter();
    let labels = labels.map(|(id, label)| (id.clone(), label.as_s().unwrap().clone())).collect();
    (labels, item["gsi2sk"].as_s().unwrap().clone())
}

/// Fails unless each account's labels are those of its grants, and its sort key is at most
/// that of the first expiry.
async fn assert_in_step(harness: &Harness, operation: &str) {
    for item in harness.table.items("ACCOUNT#").await {
        let ((labels, sort_key), (stored_labels, stored_sort_key)) = (expected(&item), stored(&item));
        assert_eq!(stored_labels, labels, "after {operation}");
        assert!(stored_sort_key <= sort_key, "{stored_sort_key} is later than {sort_key} after {operation}");
        assert_eq!(stored_sort_key[..2], sort_key[..2], "after {operation}");
        assert_eq!(item["gsi2pk"].as_s().unwrap(), "ACCOUNTS");
    }
}

/// Fails unless each account's entry is exact.
async fn assert_exact(harness: &Harness) {
    for item in harness.table.items("ACCOUNT#").await {
        assert_eq!(stored(&item), expected(&item));
    }
}

fn rotation<'a>(harness: &'a Harness, key: &Key, grace: u32) -> RequestBuilder<'a> {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    request.json(&json!({ "graceSeconds": grace }))
}

async fn issue(harness: &Harness, account: &Account, name: &str, days: u32) -> Key {
    harness.issue_key_with(account, &json!({ "name": name, "expiresInDays": days })).await
}

async fn patch(harness: &Harness, account: &Account, changes: Value) {
    let _ = harness.request("PATCH", &account.path()).admin().json(&changes).send().await.expect(200);
}

/// Adds a federated identity that expires after this number of days, or never.
async fn add_identity(harness: &Harness, account: &Account, days: Option<u32>) -> String {
    let mut body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
    if let Some(days) = days {
        body["expiresInDays"] = days.into();
    }
    let id = harness.add_identity(account, &body).await["id"].as_str().unwrap().to_owned();
    format!("{}/federated-identities/{id}", account.path())
}

/// Makes each kind of change, and checks the directory after each.
async fn change_everything(harness: &Harness, account: &Account) {
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    add_identity(harness, account, None).await;
    assert_in_step(harness, "adding an identity that never expires").await;
    let expiring = add_identity(harness, account, Some(2)).await;
    assert_exact(harness).await;
    let first = issue(harness, account, "first", 30).await;
    assert_in_step(harness, "the issue of the first key").await;
    let earlier = issue(harness, account, "earlier", 1).await;
    assert_in_step(harness, "the issue of a key that expires earlier").await;
    let second = issue(harness, account, "second", 40).await;
    let _ = rotation(harness, &first, 3600).send().await.expect(201);
    assert_in_step(harness, "a rotation with a grace period").await;
    let _ = rotation(harness, &second, 0).send().await.expect(201);
    assert_in_step(harness, "a rotation that ends the old key").await;
    let _ = harness.revoke(&earlier).await.expect(204);
    assert_in_step(harness, "a revocation").await;
    let _ = harness.request("DELETE", &expiring).admin().send().await.expect(204);
    assert_in_step(harness, "the deletion of an identity").await;
    add_identity(harness, account, Some(1)).await;
    patch(harness, account, json!({ "enabled": false })).await;
    assert_in_step(harness, "disabling the account").await;
    assert_exact(harness).await;
    patch(harness, account, json!({ "enabled": true, "name": "another" })).await;
    assert_in_step(harness, "enabling the account").await;
    issue(harness, account, "short", 1).await;
    harness.clock.advance_days(1);
    issue(harness, account, "next", 90).await;
    assert_in_step(harness, "the removal of ended keys by the issue of another").await;
    issue(harness, account, "short", 1).await;
    harness.clock.advance_days(1);
    harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
    assert_exact(harness).await;
    let _ = harness.request("DELETE", &format!("{}/keys", account.path())).admin().send().await.expect(200);
    assert_exact(harness).await;
}

#[tokio::test]
async fn each_change_of_an_account_or_its_keys_changes_the_directory() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    assert_exact(&harness).await;
    change_everything(&harness, &account).await;
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    let found = harness.get("/iam/v1/search?q=another").await.json();
    assert_eq!(found["accounts"], json!([]));
}

/// Removes what an earlier version of Keyward did not write.
async fn make_old(harness: &Harness, account: &Account) {
    harness
        .table
        .tamper(&account.id, |item| {
            for name in ["gsi2pk", "gsi2sk", "labels"] {
                item.remove(name);
            }
        })
        .await;
}

#[tokio::test]
async fn accounts_of_an_earlier_version_can_be_changed_and_are_added_to_the_directory() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = issue(&harness, &account, "old", 30).await;
    make_old(&harness, &account).await;
    let _ = rotation(&harness, &key, 60).send().await.expect(201);
    assert_exact(&harness).await;
    make_old(&harness, &account).await;
    issue(&harness, &account, "new", 30).await;
    assert_exact(&harness).await;
    make_old(&harness, &account).await;
    patch(&harness, &account, json!({ "owner": "o" })).await;
    assert_exact(&harness).await;
    // A revocation does not depend on the directory.
    for damage in [None, Some(AttributeValue::Bool(true))] {
        let key = issue(&harness, &account, "revoked", 30).await;
        make_old(&harness, &account).await;
        if let Some(damage) = damage {
            harness.table.set(&account.id, "labels", damage.clone()).await;
            harness.table.set(&account.id, "gsi2sk", AttributeValue::S("x".to_owned())).await;
        }
        let _ = harness.revoke(&key).await.expect(204);
        assert_eq!(harness.check(&key.secret).await, 403);
        let swept = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
        assert_eq!(swept.corrected_entries, 1);
        assert_exact(&harness).await;
    }
    let swept = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
    assert_eq!(swept.corrected_entries, 0);
    // Nor does it depend on the labels.
    let malformed = [("a b".to_owned(), AttributeValue::S("label".to_owned()))].into_iter().collect();
    for labels in [Item::new(), malformed] {
        let key = issue(&harness, &account, "revoked", 30).await;
        harness.table.set(&account.id, "labels", AttributeValue::M(labels)).await;
        let _ = harness.revoke(&key).await.expect(204);
        let _ = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
        assert_exact(&harness).await;
    }
}

#[tokio::test]
async fn the_sweep_corrects_wrong_entries_without_a_new_version() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    issue(&harness, &account, "key", 30).await;
    let tag = harness.get(&account.path()).await.headers["etag"].clone();
    let intact = harness.table.account(&account.id).await;
    let label = AttributeValue::S("1 x7Qz key".to_owned());
    let labels = [("key_AAAAAAAAAAAAAAAA".to_owned(), label)].into_iter().collect();
    for (name, value) in [
        ("labels", AttributeValue::M(labels)),
        ("labels", AttributeValue::M(Item::new())),
        ("gsi2sk", AttributeValue::S("E#9999999999#x".to_owned())),
    ] {
        harness.table.set(&account.id, name, value).await;
        let swept = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
        assert_eq!(swept.corrected_entries, 1, "{name}");
        assert_eq!(harness.table.account(&account.id).await, intact);
    }
    assert_eq!(harness.get(&account.path()).await.headers["etag"], tag);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_of_keys_keep_the_directory_in_step() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut keys = Vec::new();
    for number in 0..8 {
        keys.push(issue(&harness, &account, &format!("old {number}"), 10 + number).await);
    }
    random_conflicts(&harness, 0.2);
    let issues = join_all((0..8).map(|number| {
        let body = json!({ "name": format!("new {number}"), "expiresInDays": 5 + number });
        let request = harness.request("POST", &format!("{}/keys", account.path())).admin();
        async move { request.json(&body).send().await.status }
    }));
    let revocations = join_all(keys.iter().map(async |key| harness.revoke(key).await.status));
    let sweeps = join_all((0..2).map(|_| harness.system.sweep_keys().sweep(Timestamp::MAX)));
    let (created, revoked, swept) = tokio::join!(issues, revocations, sweeps);
    let statuses: BTreeSet<u16> = created.into_iter().chain(revoked).collect();
    assert!(statuses.is_subset(&BTreeSet::from([201, 204, 503])), "{statuses:?}");
    assert!(swept.iter().all(Result::is_ok), "{swept:?}");
    harness.wire.pass_all();
    assert_in_step(&harness, "concurrent changes").await;
    harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
    assert_exact(&harness).await;
}
