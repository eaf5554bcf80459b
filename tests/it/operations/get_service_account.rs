//! `GET /iam/v1/service-accounts/{id}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Harness, Key, Shape, Verdict};

use crate::support::changes;
use crate::support::keys::{forged, unknown, use_key};

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
async fn shows_how_many_requests_with_each_key_were_allowed_and_refused_200() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let revoked = harness.issue_key(&account).await;
    harness.issue_key(&account).await;
    let refuse = async |event| assert_eq!(harness.verdict(&event).await, Verdict::Deny);
    let post = |key: &Key| Shape::HttpV2.request("POST", "/organizations", &key.secret);
    // In the last 30 days, but not in the last 24 hours.
    use_key(&harness, &key).await;
    use_key(&harness, &revoked).await;
    refuse(post(&revoked)).await;
    refuse(Shape::HttpV2.bearer(&forged(&key, 1))).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    harness.clock.advance_days(2);
    use_key(&harness, &key).await;
    harness.clock.advance_seconds(1);
    use_key(&harness, &key).await;
    refuse(post(&key)).await;
    refuse(post(&revoked)).await;
    // A wrong secret, and an unknown key of the account.
    refuse(Shape::HttpV2.bearer(&forged(&key, 2))).await;
    refuse(Shape::HttpV2.bearer(&unknown(&key, 3))).await;
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
