//! `GET /iam/v1/service-accounts/{id}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::Harness;

use crate::support::changes;

#[tokio::test]
async fn shows_an_account_with_its_keys_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    harness.clock.advance_seconds(1);
    let narrow = json!({
        "name": "narrow", "role": "ServiceAccountReader", "allowedCidrs": ["2001:db8::/32", "203.0.113.7/24"],
    });
    harness.issue_key_with(&account, &narrow).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    harness.clock.advance_days(1);
    assert_json_snapshot!(harness.get(&account.path()).await.snapshot());
}

#[tokio::test]
async fn every_change_of_the_account_or_its_keys_increases_the_version() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let etag = async || harness.get(&account.path()).await.headers["etag"].clone();
    assert_eq!(etag().await, "\"1\"");
    let key = harness.issue_key(&account).await;
    assert_eq!(etag().await, "\"2\"");
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(etag().await, "\"3\"");
    changes::disable(&harness, &account).await;
    assert_eq!(etag().await, "\"4\"");
    assert_eq!(etag().await, "\"4\"");
}

#[tokio::test]
async fn an_unnecessarily_escaped_id_is_decoded_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let escaped = account.path().replace("sa_", "%73a%5F");
    assert_eq!(harness.get(&escaped).await.json()["id"], account.id);
}
