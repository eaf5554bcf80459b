//! `POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation`

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Item, Key, Reply, RequestBuilder};

use crate::support::items::map_at;
use crate::support::{allowed, changes, decide, denied};

fn rotate<'a>(harness: &'a Harness, key: &Key) -> RequestBuilder<'a> {
    harness.request("POST", &format!("{}/rotation", key.path())).admin()
}

fn grace(seconds: u32) -> Value {
    json!({ "graceSeconds": seconds })
}

/// Creates an account with one key.
async fn account_with_key(harness: &Harness) -> (Account, Key) {
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1", "expiresInDays": 30 })).await;
    (account, key)
}

async fn key_ids(harness: &Harness, account: &Account) -> Vec<Value> {
    harness.keys(account).await.iter().map(|key| key["id"].clone()).collect()
}

#[tokio::test]
async fn rotates_a_key_201() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let body = json!({
        "name": "server 1", "expiresInDays": 30, "role": "ServiceAccountReader", "allowedCidrs": ["127.0.0.0/8"],
    });
    let old = harness.issue_key_with(&account, &body).await;
    harness.clock.advance_days(10);
    let rotated = rotate(&harness, &old).json(&json!({})).send().await;
    assert_json_snapshot!(rotated.snapshot(), { ".body.secret" => "[secret]" });
    let new = Key::from_issued(&account, &rotated);
    assert_ne!(new.secret, old.secret);
    assert_eq!(rotated.json()["replaces"]["id"], old.id);
    // Both keys work, and the successor has the restrictions of the old key.
    for key in [&old, &new] {
        assert_eq!(harness.check(&key.secret).await, 200);
        assert_eq!(harness.request("POST", "/teams").bearer(&key.secret).send().await.status, 403);
    }
    assert_json_snapshot!(harness.get(&rotated.headers["location"]).await.json()["keys"]);
}

#[tokio::test]
async fn a_rotation_without_a_grace_period_retires_the_old_key_201() {
    let harness = Harness::start().await;
    let (account, old) = account_with_key(&harness).await;
    assert_eq!(decide(&harness, &old.secret).await, allowed());
    let rotated = rotate(&harness, &old).json(&grace(0)).send().await.expect(201);
    assert_eq!(rotated.json()["replaces"], json!({ "id": old.id, "retiresAt": "2026-01-01T00:00:00Z" }));
    let new = Key::from_issued(&account, &rotated);
    assert_eq!(harness.check(&old.secret).await, 403);
    assert_eq!(harness.check(&new.secret).await, 200);
    assert_eq!(decide(&harness, &old.secret).await, denied("retired"));
    assert_eq!(decide(&harness, &new.secret).await, allowed());
    assert_eq!(key_ids(&harness, &account).await, [new.id.as_str()]);
    let record = harness.table.retired_key(&old).await.unwrap();
    assert_eq!(record["reason"].as_s().unwrap(), "rotated");
    assert_eq!(record["replacedBy"].as_s().unwrap(), &new.id);
    assert_eq!(record["retiredAt"].as_n().unwrap(), "1767225600");
    assert!(record.contains_key("verifier"), "the authorizer can recognize the key");
    let item = harness.table.account(&account.id).await;
    assert_eq!(item["verifiers"].as_m().unwrap().len(), 1);
}

#[tokio::test]
async fn writes_one_event() {
    let harness = Harness::start().await;
    for (number, seconds) in [(1, 3600), (2, 0)] {
        let (account, old) =
            harness.account_with_key(&format!("batch {number}"), "ServiceAccountReader").await;
        let before = harness.events(&account).await;
        let rotated = rotate(&harness, &old).json(&grace(seconds)).send().await.expect(201);
        let event = harness.new_event(&account, &before).await;
        assert_eq!(event["requestId"], rotated.request_id());
        assert_eq!(event["keyId"], old.id);
        assert_json_snapshot!(format!("event_of_a_rotation_with_a_grace_of_{seconds}"), event, { ".requestId" => "[request id]" });
    }
}

#[tokio::test]
async fn the_successor_has_the_lifetime_of_the_old_key_up_to_the_limit() {
    for (limit, days, expected) in [
        ("365", 30, "2026-02-05T00:00:00Z"),
        ("365", 365, "2027-01-06T00:00:00Z"),
        ("7", 7, "2026-01-13T00:00:00Z"),
    ] {
        let harness = Harness::builder().variable("KEYWARD_MAX_KEY_LIFETIME_DAYS", limit).start().await;
        let account = harness.create_account("Batch", "ServiceAccountReader").await;
        let old = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": days })).await;
        harness.clock.advance_days(5);
        let rotated = rotate(&harness, &old).json(&json!({})).send().await.expect(201);
        assert_eq!(rotated.json()["expiresAt"], expected, "{days} days with a limit of {limit}");
    }
    // The old key was issued under a higher limit.
    let harness = Harness::builder().variable("KEYWARD_MAX_KEY_LIFETIME_DAYS", "7").start().await;
    let (account, old) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let expires_at = AttributeValue::N((1_767_225_600_i64 + 90 * 86_400).to_string());
    let extend =
        |item: &mut Item| drop(map_at(item, &["keys", &old.id]).insert("expiresAt".to_owned(), expires_at));
    harness.table.tamper(&account.id, extend).await;
    let rotated = rotate(&harness, &old).json(&json!({})).send().await.expect(201);
    assert_eq!(rotated.json()["expiresAt"], "2026-01-08T00:00:00Z");
}

#[tokio::test]
async fn the_grace_period_is_at_most_a_week() {
    let harness = Harness::start().await;
    let (account, _) = account_with_key(&harness).await;
    for (seconds, expected) in
        [(1, "2026-01-01T00:00:01Z"), (86_400, "2026-01-02T00:00:00Z"), (604_800, "2026-01-08T00:00:00Z")]
    {
        let key = harness.issue_key(&account).await;
        let rotated = rotate(&harness, &key).json(&grace(seconds)).send().await.expect(201);
        assert_eq!(rotated.json()["replaces"]["retiresAt"], expected);
    }
    let key = harness.issue_key(&account).await;
    for body in [
        json!({ "graceSeconds": 604_801 }),
        json!({ "graceSeconds": -1 }),
        json!({ "graceSeconds": 4_294_967_296_u64 }),
        json!({ "graceSeconds": 0.5 }),
        json!({ "graceSeconds": "60" }),
        json!({ "graceSeconds": true }),
        json!({ "grace": 60 }),
        json!({ "expiresInDays": 1 }),
    ] {
        let refused = harness.refuse(rotate(&harness, &key).json(&body), 422, "invalid_fields").await;
        let pointer = format!("/{}", body.as_object().unwrap().keys().next().unwrap());
        assert_eq!(refused.errors()[0]["pointer"], pointer, "{body}");
    }
    let refused = rotate(&harness, &key).json(&grace(604_801)).send().await;
    assert_json_snapshot!("too_long_grace_period_422", refused.snapshot());
}

#[tokio::test]
async fn a_second_rotation_of_a_key_409() {
    let harness = Harness::start().await;
    let (account, old) = account_with_key(&harness).await;
    let first = rotate(&harness, &old).json(&grace(60)).send().await.expect(201);
    let successor = first.json()["id"].as_str().unwrap().to_owned();
    let refused = async |seconds: u32| {
        let request = rotate(&harness, &old).json(&grace(seconds));
        let refused = harness.refuse(request, 409, "key_already_rotated").await;
        assert!(refused.json()["detail"].as_str().unwrap().contains(&successor), "{refused:?}");
        refused
    };
    // During the grace period.
    for seconds in [60, 0] {
        refused(seconds).await;
    }
    // After the grace period, before and after another write moves the key to the retired keys.
    harness.clock.advance_seconds(60);
    refused(60).await;
    harness.issue_key(&account).await;
    assert!(harness.table.retired_key(&old).await.is_some());
    assert_json_snapshot!(refused(60).await.snapshot());
    // Each successor can be rotated.
    let mut key = Key::from_issued(&account, &first);
    let rotated = key.clone();
    for _ in 0..2 {
        let response = rotate(&harness, &key).json(&grace(0)).send().await.expect(201);
        key = Key::from_issued(&account, &response);
    }
    assert_eq!(harness.check(&key.secret).await, 200);
    harness.refuse(rotate(&harness, &rotated).json(&json!({})), 409, "key_already_rotated").await;
}

#[tokio::test]
async fn revoked_key_409() {
    let harness = Harness::start().await;
    let (account, key) = account_with_key(&harness).await;
    let rotated = harness.issue_key(&account).await;
    let _ = rotate(&harness, &rotated).json(&json!({})).send().await.expect(201);
    for key in [&key, &rotated] {
        let _ = harness.revoke(key).await.expect(204);
        let refused = harness.refuse(rotate(&harness, key).json(&json!({})), 409, "key_revoked").await;
        assert!(refused.json()["detail"].as_str().unwrap().contains(&key.id), "{refused:?}");
    }
    let refused = rotate(&harness, &key).json(&json!({})).send().await;
    assert_json_snapshot!(refused.snapshot());
}

#[tokio::test]
async fn expired_key_409() {
    let harness = Harness::start().await;
    let (account, key) = account_with_key(&harness).await;
    harness.clock.advance_seconds(30 * 86_400 - 1);
    let other = harness.issue_key_with(&account, &json!({ "name": "other", "expiresInDays": 1 })).await;
    harness.clock.advance_seconds(1);
    let refused = harness.refuse(rotate(&harness, &key).json(&json!({})), 409, "key_expired").await;
    assert_json_snapshot!(refused.snapshot());
    harness.issue_key(&account).await;
    assert!(harness.table.retired_key(&key).await.is_some());
    harness.refuse(rotate(&harness, &key).json(&json!({})), 409, "key_expired").await;
    let _ = rotate(&harness, &other).json(&json!({})).send().await.expect(201);
}

#[tokio::test]
async fn unknown_key_404() {
    let harness = Harness::start().await;
    let (_, key) = account_with_key(&harness).await;
    let other = harness.create_account("other", "ServiceAccountReader").await;
    let unknown = Key { id: "key_0000000000000000".to_owned(), ..key.clone() };
    let refused = harness.refuse(rotate(&harness, &unknown).json(&json!({})), 404, "key_not_found").await;
    assert_json_snapshot!(refused.snapshot());
    let elsewhere = Key { account: other.id, ..key };
    harness.refuse(rotate(&harness, &elsewhere).json(&json!({})), 404, "key_not_found").await;
}

#[tokio::test]
async fn disabled_account_409() {
    let harness = Harness::start().await;
    let (account, key) = account_with_key(&harness).await;
    changes::disable(&harness, &account).await;
    for seconds in [0, 60] {
        let request = rotate(&harness, &key).json(&grace(seconds));
        harness.refuse(request, 409, "service_account_disabled").await;
    }
}

#[tokio::test]
async fn at_the_key_limit_only_a_rotation_without_a_grace_period_works_201_409() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "2").start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    let long = harness.issue_key(&account).await;
    let refused = harness.refuse(rotate(&harness, &long).json(&grace(60)), 409, "key_limit_reached").await;
    assert_json_snapshot!(refused.snapshot());
    let rotated = rotate(&harness, &long).json(&grace(0)).send().await.expect(201);
    let long = Key::from_issued(&account, &rotated);
    assert_eq!(key_ids(&harness, &account).await.len(), 2);
    // An expired key does not count, and the rotation moves that key to the retired keys.
    harness.clock.advance_days(1);
    let rotated = rotate(&harness, &long).json(&grace(60)).send().await.expect(201);
    assert_eq!(key_ids(&harness, &account).await, [json!(long.id), rotated.json()["id"].clone()]);
    assert!(harness.table.retired_key(&short).await.is_some());
    // The old key counts until its grace period ends.
    let issue =
        || harness.request("POST", &format!("{}/keys", account.path())).admin().json(&json!({ "name": "k" }));
    harness.refuse(issue(), 409, "key_limit_reached").await;
    harness.clock.advance_seconds(60);
    let _ = issue().send().await.expect(201);
    let record = harness.table.retired_key(&long).await.unwrap();
    assert_eq!(record["reason"].as_s().unwrap(), "rotated");
    assert_eq!(record["retiredAt"].as_n().unwrap(), (1_767_225_600 + 86_400 + 60).to_string().as_str());
}

#[tokio::test]
async fn a_retired_key_is_kept_for_400_days_after_it_was_moved() {
    let harness = Harness::start().await;
    let (account, old) = account_with_key(&harness).await;
    let _ = rotate(&harness, &old).json(&grace(60)).send().await.expect(201);
    // More than 400 days after the end of the key.
    harness.clock.advance_days(500);
    harness.issue_key(&account).await;
    let record = harness.table.retired_key(&old).await.unwrap();
    assert_eq!(record["ttl"].as_n().unwrap(), (1_767_225_600_i64 + 900 * 86_400).to_string().as_str());
}

#[tokio::test]
async fn a_retry_names_the_successor_without_its_secret_409() {
    let harness = Harness::start().await;
    let (account, old) = account_with_key(&harness).await;
    let send =
        |attempt: &str, seconds: u32| rotate(&harness, &old).idempotency_key(attempt).json(&grace(seconds));
    let first: Reply = send("attempt-1", 0).send().await.expect(201);
    let successor = Key::from_issued(&account, &first);
    let retries = async || {
        for attempt in ["attempt-1", "\"attempt-1\""] {
            let refused = harness.refuse(send(attempt, 0), 409, "key_already_issued").await;
            assert!(refused.json()["detail"].as_str().unwrap().contains(&successor.id), "{refused:?}");
            assert!(!refused.text.contains("kwsa_"));
        }
        harness.refuse(send("attempt-1", 60), 422, "idempotency_key_reused").await;
        // A new request is refused because the key already has a successor.
        harness.refuse(send("attempt-2", 0), 409, "key_already_rotated").await;
    };
    retries().await;
    let _ = harness.revoke(&successor).await.expect(204);
    retries().await;
    harness.clock.advance_days(60);
    harness.issue_key(&account).await;
    retries().await;
}

#[tokio::test]
async fn idempotency_keys_are_separate_per_key_and_operation_201() {
    let harness = Harness::start().await;
    let (account, first) = account_with_key(&harness).await;
    let issue = harness.request("POST", &format!("{}/keys", account.path())).admin().idempotency_key("1");
    let second =
        Key::from_issued(&account, &issue.json(&json!({ "name": "second" })).send().await.expect(201));
    let mut ids = vec![second.id.clone()];
    for key in [&first, &second] {
        let rotated = rotate(&harness, key).idempotency_key("1").json(&json!({})).send().await.expect(201);
        ids.push(rotated.json()["id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn whoami_shows_the_end_of_the_grace_period() {
    let harness = Harness::start().await;
    let (_, old) = account_with_key(&harness).await;
    let whoami =
        async || harness.request("GET", "/iam/v1/whoami").bearer(&old.secret).send().await.expect(200);
    assert_eq!(whoami().await.json().get("retiresAt"), None);
    let _ = rotate(&harness, &old).json(&grace(60)).send().await.expect(201);
    let shown = whoami().await.json();
    assert_eq!(shown["retiresAt"], "2026-01-01T00:01:00Z");
    assert_eq!(shown["expiresAt"], "2026-01-31T00:00:00Z");
}
