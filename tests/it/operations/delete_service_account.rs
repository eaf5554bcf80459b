//! `DELETE /iam/v1/service-accounts/{id}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Account, Harness, RequestBuilder, Shape};

use crate::support::{bad_input, changes};

fn delete<'a>(harness: &'a Harness, account: &Account) -> RequestBuilder<'a> {
    harness.request("DELETE", &account.path()).admin()
}

#[tokio::test]
async fn deletes_an_account_and_its_keys_204() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    assert_json_snapshot!(delete(&harness, &account).send().await.snapshot());
    for key in &keys {
        assert_eq!(harness.check(&key.secret).await, 403);
    }
    let request = harness.request("GET", &account.path()).admin();
    harness.refuse(request, 404, "service_account_not_found").await;
    assert_eq!(harness.table.items("ACCOUNT#").await, []);
    assert_eq!(harness.table.items("NAME#").await, []);
    // The retired account and its retired keys remain.
    let records = harness.table.items("RETIRED#").await;
    let reasons: Vec<_> = records.iter().map(|record| record["reason"].as_s().unwrap().as_str()).collect();
    assert_eq!(reasons, ["accountDeleted"; 3]);
}

#[tokio::test]
async fn keys_of_a_deleted_account_are_recognized() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = delete(&harness, &account).send().await.expect(204);
    for key in &keys {
        for shape in Shape::ALL {
            let (_, reason) = harness.decide(&shape.bearer(&key.secret)).await;
            assert_eq!(reason, "retired", "{shape:?}");
            harness.clock.advance_seconds(1);
        }
    }
}

#[tokio::test]
async fn writes_one_event() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.issue_key(&account).await;
    let before = harness.events(&account).await;
    let deleted = delete(&harness, &account).send().await.expect(204);
    let event = harness.new_event(&account, &before).await;
    assert_eq!(event["requestId"], deleted.request_id());
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });
}

#[tokio::test]
async fn the_name_can_be_used_again() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let _ = delete(&harness, &account).send().await.expect(204);
    assert_ne!(harness.create_account("bATCH", "ServiceAccountReader").await.id, account.id);
}

#[tokio::test]
async fn deletes_an_account_with_the_most_keys_that_it_can_have_204() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for _ in 0..30 {
        harness.issue_key(&account).await;
    }
    let _ = delete(&harness, &account).send().await.expect(204);
    assert_eq!(harness.table.items("RETIRED#").await.len(), 31);
}

#[tokio::test]
async fn other_version_in_if_match_412() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    changes::update(&harness, &account, json!({ "owner": "ops" })).await;
    let stale = delete(&harness, &account).if_match("\"1\"");
    assert_json_snapshot!(harness.refuse(stale, 412, "precondition_failed").await.snapshot());
    bad_input::refuses_bad_if_match(&harness, || delete(&harness, &account), "\"2\"").await;
    let _ = delete(&harness, &account).if_match("\"2\"").send().await.expect(204);
}

#[tokio::test]
async fn an_asterisk_in_if_match_matches_any_version_204() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let _ = delete(&harness, &account).if_match("*").send().await.expect(204);
}
