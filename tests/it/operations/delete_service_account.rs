//! `DELETE /iam/v1/service-accounts/{id}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Account, Harness, RequestBuilder, Shape};

use crate::support::bad_input;

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
    // The records of the account and of both keys stay, each with its reason.
    let records = harness.table.items("RETIRED#").await;
    let reasons: Vec<_> = records.iter().map(|record| record["reason"].as_s().unwrap().as_str()).collect();
    assert_eq!(reasons, ["accountDeleted"; 3]);
}

#[tokio::test]
async fn a_key_that_went_with_its_account_is_still_recognised() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = delete(&harness, &account).send().await.expect(204);
    for key in &keys {
        for shape in Shape::ALL {
            let decided = harness.decide(&shape.bearer(&key.secret)).await;
            assert_eq!(decided.1, "retired", "{shape:?}");
            harness.clock.advance_seconds(1);
        }
    }
}

#[tokio::test]
async fn makes_one_event() {
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
async fn frees_the_name() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let _ = delete(&harness, &account).send().await.expect(204);
    assert_ne!(harness.create_account("bATCH", "ServiceAccountReader").await.id, account.id);
}

#[tokio::test]
async fn deletes_an_account_with_as_many_keys_as_can_be_204() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for _ in 0..30 {
        harness.issue_key(&account).await;
    }
    let _ = delete(&harness, &account).send().await.expect(204);
    assert_eq!(harness.table.items("RETIRED#").await.len(), 31);
}

#[tokio::test]
async fn knows_no_other_account_404() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let unknown = Account { id: "sa_0000000000000000".to_owned() };
    let refused = harness.refuse(delete(&harness, &unknown), 404, "service_account_not_found").await;
    assert_json_snapshot!(refused.snapshot());
    // Nor one that was deleted before.
    let _ = delete(&harness, &account).send().await.expect(204);
    harness.refuse(delete(&harness, &account), 404, "service_account_not_found").await;
}

#[tokio::test]
async fn refuses_malformed_ids_400() {
    let harness = Harness::start().await;
    let request = |id: &str| harness.request("DELETE", &format!("/iam/v1/service-accounts/{id}"));
    bad_input::refuses_malformed_ids(&harness, request).await;
}

#[tokio::test]
async fn refuses_another_version_than_if_match_names_412() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let change = harness.request("PATCH", &account.path()).admin().json(&json!({ "owner": "ops" }));
    let _ = change.send().await.expect(200);
    let stale = delete(&harness, &account).if_match("\"1\"");
    assert_json_snapshot!(harness.refuse(stale, 412, "precondition_failed").await.snapshot());
    bad_input::refuses_bad_if_match(&harness, || delete(&harness, &account), "\"2\"").await;
    let _ = delete(&harness, &account).if_match("\"2\"").send().await.expect(204);
}

#[tokio::test]
async fn takes_any_version_for_an_asterisk_204() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let _ = delete(&harness, &account).if_match("*").send().await.expect(204);
}
