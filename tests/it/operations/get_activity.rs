//! `GET /iam/v1/activity`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Harness, Shape, Verdict};

use crate::support::changes;
use crate::support::keys::{forged, use_key};

const PATH: &str = "/iam/v1/activity";

#[tokio::test]
async fn shows_no_activity_without_requests_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn adds_up_the_requests_of_all_keys_200() {
    let harness = Harness::start().await;
    let (_, reader) = harness.account_with_key("reader", "ServiceAccountReader").await;
    let (writer_account, writer) = harness.account_with_key("writer", "ServiceAccountWriter").await;
    use_key(&harness, &reader).await;
    harness.clock.advance_days(3);
    // The counts of all keys are spread over several items.
    for key in [&reader, &writer, &writer] {
        let instance = harness.another_authorizer();
        let answer = instance.answer(&Shape::HttpV2.bearer(&key.secret).to_string(), "invocation-1").await;
        assert!(answer.unwrap().is_allow());
    }
    let post = |secret: &str| Shape::HttpV2.request("POST", "/organizations", secret);
    assert_eq!(harness.verdict(&post(&reader.secret)).await, Verdict::Deny);
    harness.clock.advance_seconds(3600);
    assert_eq!(harness.verdict(&post(&writer.secret)).await, Verdict::Allow);
    // Keys of a deleted account count. Wrong secrets do not.
    changes::delete(&harness, &writer_account).await;
    assert_eq!(harness.verdict(&post(&writer.secret)).await, Verdict::Deny);
    assert_eq!(harness.verdict(&post(&forged(&reader, 1))).await, Verdict::Deny);
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn tokens_of_admins_do_not_count() {
    let harness = Harness::start().await;
    let before = harness.get(PATH).await.json();
    let _ = harness.request("GET", "/organizations/42").api_admin().send().await.expect(200);
    assert_eq!(harness.get(PATH).await.json(), before);
}

#[tokio::test]
async fn counts_are_shown_for_90_days() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("reader", "ServiceAccountReader").await;
    use_key(&harness, &key).await;
    harness.clock.advance_days(89);
    let shown = harness.get(PATH).await.json();
    assert_eq!(
        shown["byDay"],
        json!([{ "day": "2026-01-01", "allowed": 1, "refused": 0, "refusedByReason": {} }])
    );
    harness.clock.advance_days(1);
    assert_eq!(harness.get(PATH).await.json()["byDay"], json!([]));
}

#[tokio::test]
async fn queries_400() {
    let harness = Harness::start().await;
    let request = harness.request("GET", &format!("{PATH}?days=7")).admin();
    assert_json_snapshot!(harness.refuse(request, 400, "malformed_request").await.snapshot());
}
