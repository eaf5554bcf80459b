//! `DELETE /iam/v1/service-accounts/{id}/keys`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Account, Harness, RequestBuilder};

fn revoke_all<'a>(harness: &'a Harness, account: &Account) -> RequestBuilder<'a> {
    harness.request("DELETE", &format!("{}/keys", account.path())).admin()
}

#[tokio::test]
async fn all_keys_are_denied_on_the_next_check_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let other = harness.reader_key().await;
    let first = harness.issue_key(&account).await;
    harness.clock.advance_seconds(1);
    let second = harness.issue_key(&account).await;
    assert_json_snapshot!(revoke_all(&harness, &account).send().await.snapshot());
    for key in [&first, &second] {
        assert_eq!(harness.check(&key.secret).await, 403);
    }
    assert_eq!(harness.check(&other.secret).await, 200);
    let shown = harness.get(&account.path()).await.json();
    assert_eq!((&shown["keys"], &shown["liveKeyCount"]), (&json!([]), &json!(0)));
    assert_eq!(harness.table.items("RETIRED#").await.len(), 2);
}

#[tokio::test]
async fn writes_one_event_for_each_key_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let mut ids = [harness.issue_key(&account).await.id, harness.issue_key(&account).await.id];
    harness.clock.advance_seconds(1);
    let revoked = revoke_all(&harness, &account).send().await.expect(200);
    let mut events = harness.events(&account).await;
    events.retain(|event| event["type"] == "key.revoked");
    assert_eq!(events.len(), 2);
    let mut key_ids: Vec<_> =
        events.iter().map(|event| event["keyId"].as_str().unwrap().to_owned()).collect();
    key_ids.sort();
    ids.sort();
    assert_eq!(key_ids, ids);
    assert!(events.iter().all(|event| event["requestId"] == revoked.request_id()));

    let after = harness.table.dump().await;
    let again = revoke_all(&harness, &account).send().await.expect(200);
    assert_eq!(again.json(), json!({ "revokedKeyIds": [] }));
    assert_eq!(after, harness.table.dump().await);
}

#[tokio::test]
async fn revokes_the_most_keys_that_an_account_can_have_200() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for _ in 0..30 {
        harness.issue_key(&account).await;
    }
    let revoked = revoke_all(&harness, &account).send().await.expect(200);
    assert_eq!(revoked.json()["revokedKeyIds"].as_array().unwrap().len(), 30);
}
