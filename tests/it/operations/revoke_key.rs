//! `DELETE /iam/v1/service-accounts/{id}/keys/{keyId}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Harness, Key};

#[tokio::test]
async fn a_revoked_key_is_denied_on_the_next_check_204() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let other = harness.issue_key(&account).await;
    assert_eq!(harness.check(&key.secret).await, 200);
    assert_json_snapshot!(harness.revoke(&key).await.snapshot());
    assert_eq!(harness.check(&key.secret).await, 403);
    assert_eq!(harness.check(&other.secret).await, 200);
    let keys = harness.keys(&account).await;
    assert_eq!((keys.len(), &keys[0]["id"]), (1, &json!(other.id)));
}

#[tokio::test]
async fn the_retired_key_keeps_its_verifier_for_400_days() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let account = harness.table.account(&key.account).await;
    let verifier = account["verifiers"].as_m().unwrap()[&key.id].as_m().unwrap()["verifier"].clone();
    let _ = harness.revoke(&key).await.expect(204);
    let account = harness.table.account(&key.account).await;
    assert!(account["verifiers"].as_m().unwrap().is_empty());
    assert!(account["keys"].as_m().unwrap().is_empty());
    let record = harness.table.retired_key(&key).await.unwrap();
    assert_eq!(record["verifier"], verifier);
    assert_eq!(record["reason"].as_s().unwrap(), "revoked");
    // 2026-01-01, and 400 days later.
    assert_eq!(record["retiredAt"].as_n().unwrap(), "1767225600");
    assert_eq!(record["ttl"].as_n().unwrap(), "1801785600");
}

#[tokio::test]
async fn writes_one_event_and_a_repeated_revocation_writes_none_204() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("reader", "ServiceAccountReader").await;
    let before = harness.events(&account).await;
    let revoked = harness.revoke(&key).await.expect(204);
    let event = harness.new_event(&account, &before).await;
    assert_eq!(event["requestId"], revoked.request_id());
    assert_eq!(event["keyId"], key.id);
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });

    let after = harness.table.dump().await;
    assert_eq!(harness.revoke(&key).await.snapshot(), revoked.snapshot());
    assert_eq!(after, harness.table.dump().await);
}

#[tokio::test]
async fn an_expired_key_can_be_revoked_204() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    harness.clock.advance_days(1);
    let _ = harness.revoke(&short).await.expect(204);
    assert_eq!(harness.keys(&account).await, [json!(null); 0]);
}

#[tokio::test]
async fn unknown_key_404() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let unknown = Key { id: "key_0000000000000000".to_owned(), ..key.clone() };
    let request = |key: &Key| harness.request("DELETE", &key.path()).admin();
    assert_json_snapshot!(harness.refuse(request(&unknown), 404, "key_not_found").await.snapshot());
    // Another account does not have the key.
    let other = harness.create_account("Another", "ServiceAccountReader").await;
    let elsewhere = Key { account: other.id, ..key.clone() };
    harness.refuse(request(&elsewhere), 404, "key_not_found").await;
    assert_eq!(harness.check(&key.secret).await, 200);
}
