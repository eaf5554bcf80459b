//! `POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation`

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Key, Reply, RequestBuilder};

use crate::support::bad_input;

fn rotate<'a>(harness: &'a Harness, key: &Key) -> RequestBuilder<'a> {
    harness.request("POST", &format!("{}/rotation", key.path())).admin()
}

fn grace(seconds: u32) -> Value {
    json!({ "graceSeconds": seconds })
}

/// An account with one key.
async fn prepared(harness: &Harness) -> (Account, Key) {
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1", "expiresInDays": 30 })).await;
    (account, key)
}

async fn shown(harness: &Harness, account: &Account) -> Vec<Value> {
    harness.get(&account.path()).await.json()["keys"].as_array().unwrap().clone()
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
    // Both work, and the successor is as narrow as the old key.
    for key in [&old, &new] {
        assert_eq!(harness.check(&key.secret).await, 200);
        assert_eq!(harness.request("POST", "/teams").bearer(&key.secret).send().await.status, 403);
    }
    assert_json_snapshot!(harness.get(&rotated.headers["location"]).await.json()["keys"]);
}

#[tokio::test]
async fn a_rotation_without_grace_moves_the_old_key_to_its_record_201() {
    let harness = Harness::start().await;
    let (account, old) = prepared(&harness).await;
    let rotated = rotate(&harness, &old).json(&grace(0)).send().await.expect(201);
    assert_eq!(rotated.json()["replaces"], json!({ "id": old.id, "retiresAt": "2026-01-01T00:00:00Z" }));
    assert_eq!(harness.check(&old.secret).await, 403);
    assert_eq!(harness.check(&Key::from_issued(&account, &rotated).secret).await, 200);
    let ids: Vec<_> = shown(&harness, &account).await.into_iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [rotated.json()["id"].clone()]);
    let record = harness.table.get(&format!("RETIRED#{}", account.id), &old.id).await.unwrap();
    let text = |name: &str| record[name].as_s().unwrap().clone();
    assert_eq!(
        (text("reason"), json!(text("replacedBy"))),
        ("rotated".to_owned(), rotated.json()["id"].clone())
    );
    assert_eq!(record["retiredAt"].as_n().unwrap(), "1767225600");
    assert!(record.contains_key("verifier"), "it is recognised if it is presented again");
    let item = harness.table.get(&format!("ACCOUNT#{}", account.id), "ACCOUNT").await.unwrap();
    assert_eq!(item["verifiers"].as_m().unwrap().len(), 1);
}

#[tokio::test]
async fn makes_one_event() {
    let harness = Harness::start().await;
    for (number, seconds) in [(1, 3600), (2, 0)] {
        let account = harness.create_account(&format!("batch {number}"), "ServiceAccountReader").await;
        let old = harness.issue_key(&account).await;
        let before = harness.events(&account).await;
        let rotated = rotate(&harness, &old).json(&grace(seconds)).send().await.expect(201);
        let event = harness.new_event(&account, &before).await;
        assert_eq!(event["requestId"], rotated.request_id());
        assert_eq!(event["keyId"], old.id);
        assert_json_snapshot!(format!("makes_one_event_with_a_grace_of_{seconds}"), event, { ".requestId" => "[request id]" });
    }
}

#[tokio::test]
async fn a_successor_lives_as_long_as_the_old_key_did_and_no_longer_than_the_cap() {
    for (cap, days, expected) in [
        ("365", 30, "2026-02-05T00:00:00Z"),
        ("365", 365, "2027-01-06T00:00:00Z"),
        ("7", 7, "2026-01-13T00:00:00Z"),
    ] {
        let harness = Harness::builder().variable("KEYWARD_MAX_KEY_LIFETIME_DAYS", cap).start().await;
        let account = harness.create_account("Batch", "ServiceAccountReader").await;
        let old = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": days })).await;
        harness.clock.advance_days(5);
        let rotated = rotate(&harness, &old).json(&json!({})).send().await.expect(201);
        assert_eq!(rotated.json()["expiresAt"], expected, "{days} days under a cap of {cap}");
    }
    // The cap has been lowered since the old key was issued.
    let harness = Harness::builder().variable("KEYWARD_MAX_KEY_LIFETIME_DAYS", "7").start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let old = harness.issue_key(&account).await;
    harness
        .table
        .tamper(&account.id, |item| {
            let Some(AttributeValue::M(keys)) = item.get_mut("keys") else { panic!() };
            let Some(AttributeValue::M(key)) = keys.get_mut(&old.id) else { panic!() };
            let at = |seconds: i64| AttributeValue::N(seconds.to_string());
            key.insert("expiresAt".to_owned(), at(1_767_225_600 + 90 * 86_400));
        })
        .await;
    let rotated = rotate(&harness, &old).json(&json!({})).send().await.expect(201);
    assert_eq!(rotated.json()["expiresAt"], "2026-01-08T00:00:00Z");
}

#[tokio::test]
async fn takes_a_grace_of_up_to_a_week() {
    let harness = Harness::start().await;
    let (account, _) = prepared(&harness).await;
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
    assert_json_snapshot!("refuses_a_longer_grace_422", refused.snapshot());
    let _ = rotate(&harness, &key)
        .text("application/json", "[]")
        .send()
        .await
        .expect_problem(422, "invalid_fields");
    let _ = rotate(&harness, &key)
        .text("application/json", "{")
        .send()
        .await
        .expect_problem(400, "malformed_json");
    let _ = rotate(&harness, &key)
        .text("text/plain", "{}")
        .send()
        .await
        .expect_problem(415, "unsupported_media_type");
    let _ = rotate(&harness, &key).send().await.expect_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_key_is_rotated_once_409() {
    let harness = Harness::start().await;
    let (account, old) = prepared(&harness).await;
    let first = rotate(&harness, &old).json(&grace(60)).send().await.expect(201);
    let successor = first.json()["id"].as_str().unwrap().to_owned();
    let refuses = async |seconds: u32| {
        let request = rotate(&harness, &old).json(&grace(seconds));
        let refused = harness.refuse(request, 409, "key_already_rotated").await;
        assert!(refused.json()["detail"].as_str().unwrap().contains(&successor), "{refused:?}");
        refused
    };
    // During the grace, after it, and once another write has moved it away.
    for seconds in [60, 0] {
        refuses(seconds).await;
    }
    harness.clock.advance_seconds(60);
    refuses(60).await;
    harness.issue_key(&account).await;
    assert!(harness.table.get(&format!("RETIRED#{}", account.id), &old.id).await.is_some(), "it was moved");
    assert_json_snapshot!(refuses(60).await.snapshot());
    // Its successor can be, and so on.
    let second = rotate(&harness, &Key::from_issued(&account, &first)).json(&grace(0)).send().await.expect(201);
    let third = rotate(&harness, &Key::from_issued(&account, &second)).json(&grace(0)).send().await.expect(201);
    assert_eq!(harness.check(&Key::from_issued(&account, &third).secret).await, 200);
    harness
        .refuse(rotate(&harness, &Key::from_issued(&account, &first)).json(&json!({})), 409, "key_already_rotated")
        .await;
}

#[tokio::test]
async fn refuses_a_revoked_key_409() {
    let harness = Harness::start().await;
    let (account, key) = prepared(&harness).await;
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
async fn refuses_an_expired_key_409() {
    let harness = Harness::start().await;
    let (account, key) = prepared(&harness).await;
    harness.clock.advance_seconds(30 * 86_400 - 1);
    let other = harness.issue_key_with(&account, &json!({ "name": "other", "expiresInDays": 1 })).await;
    harness.clock.advance_seconds(1);
    let refused = harness.refuse(rotate(&harness, &key).json(&json!({})), 409, "key_expired").await;
    assert_json_snapshot!(refused.snapshot());
    harness.issue_key(&account).await;
    assert!(harness.table.get(&format!("RETIRED#{}", account.id), &key.id).await.is_some(), "it was moved");
    harness.refuse(rotate(&harness, &key).json(&json!({})), 409, "key_expired").await;
    let _ = rotate(&harness, &other).json(&json!({})).send().await.expect(201);
}

#[tokio::test]
async fn knows_no_other_key_and_no_other_account_404() {
    let harness = Harness::start().await;
    let (account, key) = prepared(&harness).await;
    let other = harness.create_account("other", "ServiceAccountReader").await;
    let unknown = Key { id: "key_0000000000000000".to_owned(), ..key.clone() };
    let refused = harness.refuse(rotate(&harness, &unknown).json(&json!({})), 404, "key_not_found").await;
    assert_json_snapshot!(refused.snapshot());
    let elsewhere = Key { account: other.id.clone(), ..key.clone() };
    harness.refuse(rotate(&harness, &elsewhere).json(&json!({})), 404, "key_not_found").await;
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    harness.refuse(rotate(&harness, &key).json(&json!({})), 404, "service_account_not_found").await;
}

#[tokio::test]
async fn refuses_a_disabled_account_409() {
    let harness = Harness::start().await;
    let (account, key) = prepared(&harness).await;
    let disable = harness.request("PATCH", &account.path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
    for seconds in [0, 60] {
        let request = rotate(&harness, &key).json(&grace(seconds));
        harness.refuse(request, 409, "service_account_disabled").await;
    }
}

#[tokio::test]
async fn at_the_limit_only_a_rotation_without_grace_is_done() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "2").start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    let long = harness.issue_key(&account).await;
    let refused = harness.refuse(rotate(&harness, &long).json(&grace(60)), 409, "key_limit_reached").await;
    assert_json_snapshot!(refused.snapshot());
    let rotated = rotate(&harness, &long).json(&grace(0)).send().await.expect(201);
    let long = Key::from_issued(&account, &rotated);
    assert_eq!(shown(&harness, &account).await.len(), 2);
    // One that is over does not count, and goes in the same write.
    harness.clock.advance_days(1);
    let rotated = rotate(&harness, &long).json(&grace(60)).send().await.expect(201);
    let ids: Vec<_> = shown(&harness, &account).await.into_iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [json!(long.id), rotated.json()["id"].clone()]);
    let records = harness.table.items("RETIRED#").await;
    assert!(records.iter().any(|record| record["sk"].as_s().unwrap() == &short.id), "{records:?}");
    // While the grace lasts the old key counts, and after it no more.
    let issue =
        || harness.request("POST", &format!("{}/keys", account.path())).admin().json(&json!({ "name": "k" }));
    harness.refuse(issue(), 409, "key_limit_reached").await;
    harness.clock.advance_seconds(60);
    let _ = issue().send().await.expect(201);
    let record = harness.table.get(&format!("RETIRED#{}", account.id), &long.id).await.unwrap();
    assert_eq!(record["reason"].as_s().unwrap(), "rotated");
    assert_eq!(record["retiredAt"].as_n().unwrap(), (1_767_225_600 + 86_400 + 60).to_string().as_str());
}

#[tokio::test]
async fn a_record_is_kept_400_days_from_when_it_was_written() {
    let harness = Harness::start().await;
    let (account, old) = prepared(&harness).await;
    let _ = rotate(&harness, &old).json(&grace(60)).send().await.expect(201);
    // So late that a life counted from its end would be over already.
    harness.clock.advance_days(500);
    harness.issue_key(&account).await;
    let record = harness.table.get(&format!("RETIRED#{}", account.id), &old.id).await.unwrap();
    assert_eq!(record["ttl"].as_n().unwrap(), (1_767_225_600_i64 + 900 * 86_400).to_string().as_str());
}

#[tokio::test]
async fn refuses_malformed_ids_400() {
    let harness = Harness::start().await;
    let (account, key) = prepared(&harness).await;
    let keys = format!("{}/keys", account.path());
    let of_account = |id: &str| {
        let path = format!("/iam/v1/service-accounts/{id}/keys/{}/rotation", key.id);
        harness.request("POST", &path).json(&json!({}))
    };
    bad_input::refuses_malformed_ids(&harness, of_account).await;
    let of_key = |id: &str| harness.request("POST", &format!("{keys}/{id}/rotation")).json(&json!({}));
    bad_input::refuses_malformed_ids(&harness, of_key).await;
}

#[tokio::test]
async fn refuses_malformed_idempotency_keys_400() {
    let harness = Harness::start().await;
    let (_, key) = prepared(&harness).await;
    bad_input::refuses_malformed_idempotency_keys(&harness, || rotate(&harness, &key).json(&json!({}))).await;
}

#[tokio::test]
async fn a_retry_names_the_successor_and_shows_no_secret_409() {
    let harness = Harness::start().await;
    let (account, old) = prepared(&harness).await;
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
        // Another attempt is told that the old key has its successor.
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
async fn one_value_means_another_thing_for_another_key_or_operation_201() {
    let harness = Harness::start().await;
    let (account, first) = prepared(&harness).await;
    let issue = harness.request("POST", &format!("{}/keys", account.path())).admin().idempotency_key("1");
    let second = Key::from_issued(&account, &issue.json(&json!({ "name": "second" })).send().await.expect(201));
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
async fn whoami_tells_a_key_until_when_it_works() {
    let harness = Harness::start().await;
    let (_, old) = prepared(&harness).await;
    let whoami =
        async || harness.request("GET", "/iam/v1/whoami").bearer(&old.secret).send().await.expect(200);
    assert_eq!(whoami().await.json().get("retiresAt"), None);
    let _ = rotate(&harness, &old).json(&grace(60)).send().await.expect(201);
    let told = whoami().await.json();
    assert_eq!(told["retiresAt"], "2026-01-01T00:01:00Z");
    assert_eq!(told["expiresAt"], "2026-01-31T00:00:00Z");
}
