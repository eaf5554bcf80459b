//! `POST /iam/v1/service-accounts/{id}/reviews`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::domain::Clock as _;
use tests::{Account, Harness, RequestBuilder};

use crate::support::tally::count_events;

fn review<'a>(harness: &'a Harness, account: &Account, body: &Value) -> RequestBuilder<'a> {
    harness.request("POST", &format!("{}/reviews", account.path())).admin().json(body)
}

#[tokio::test]
async fn records_the_answer_as_an_audit_event_201() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let before = harness.get(&account.path()).await.json();
    harness.clock.advance_days(1);
    let body = json!({ "decision": "keep", "note": " Still used by the billing team " });
    let kept = review(&harness, &account, &body).send().await.expect(201);
    for decision in ["narrow", "revoke"] {
        let body = json!({ "decision": decision });
        let answered = review(&harness, &account, &body).send().await.expect(201).json();
        assert_eq!((&answered["decision"], &answered["note"]), (&json!(decision), &json!("")));
    }
    assert_json_snapshot!(kept.snapshot());
    let events = harness.events(&account).await;
    let reviews = events.iter().filter(|event| event["type"] == "serviceAccount.reviewed");
    let reviews: Vec<_> = reviews.map(|event| &event["changes"]).collect();
    assert_json_snapshot!(reviews);
    // The answer changes nothing else.
    assert_eq!(harness.get(&account.path()).await.json(), before);
    assert_eq!(harness.check(&key.secret).await, 200);
}

#[tokio::test]
async fn a_retry_with_the_same_idempotency_key_records_nothing_201_422() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let other = harness.create_account("other", "ServiceAccountReader").await;
    let keep = json!({ "decision": "keep" });
    let send = |account: &Account, body: &Value| review(&harness, account, body).idempotency_key("one");
    let first = send(&account, &keep).send().await.expect(201).json();
    harness.clock.advance_days(1);
    // A later review must not hide the first one from a retry.
    let _ = review(&harness, &account, &json!({ "decision": "narrow" })).send().await.expect(201);
    assert_eq!(send(&account, &keep).send().await.expect(201).json(), first);
    assert_eq!(count_events(&harness, "serviceAccount.reviewed").await, 2);
    let changed = send(&account, &json!({ "decision": "revoke" }));
    harness.refuse(changed, 422, "idempotency_key_reused").await;
    // The same value for another account is another request.
    let elsewhere = send(&other, &keep).send().await.expect(201).json();
    assert_ne!(elsewhere["id"], first["id"]);
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let before = harness.table.dump().await;
    let mut problems = Vec::new();
    for body in [
        json!({}),
        json!({ "decision": "" }),
        json!({ "decision": "KEEP" }),
        json!({ "decision": "delete", "note": "x".repeat(257) }),
        json!({ "decision": "keep", "note": "two\nlines" }),
        json!({ "decision": "keep", "note": "\u{202e}" }),
        json!({ "decision": null }),
    ] {
        let refused = harness.refuse(review(&harness, &account, &body), 422, "invalid_fields").await;
        problems.push(refused.json()["errors"].clone());
    }
    assert_json_snapshot!(problems);
    assert_eq!(harness.table.dump().await, before);
}

#[tokio::test]
async fn reviews_are_kept_for_400_days() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let _ = review(&harness, &account, &json!({ "decision": "keep" })).send().await.expect(201);
    let items = harness.table.items("REVIEW#").await;
    assert_eq!(items.len(), 2, "the review, and the latest review");
    let now = harness.clock.now().as_second();
    for item in items {
        let ttl: i64 = item["ttl"].as_n().unwrap().parse().unwrap();
        assert_eq!(ttl, now + 400 * 86_400);
    }
}
