//! `GET /iam/v1/service-accounts/{id}/events`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Account, Harness};

use crate::support::{changes, lists};

/// Creates and updates an account, issues and revokes a key, and deletes the account, with
/// a second between the changes.
async fn lifetime(harness: &Harness) -> Account {
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_seconds(1);
    let change = json!({ "name": "Nightly batch", "role": "ServiceAccountWriter" });
    changes::update(harness, &account, change).await;
    harness.clock.advance_seconds(1);
    let key = harness.issue_key(&account).await;
    harness.clock.advance_seconds(1);
    let _ = harness.revoke(&key).await.expect(204);
    harness.clock.advance_seconds(1);
    changes::delete(harness, &account).await;
    account
}

#[tokio::test]
async fn lists_events_of_a_deleted_account_newest_first_200() {
    let harness = Harness::start().await;
    let account = lifetime(&harness).await;
    let list = harness.get(&format!("{}/events", account.path())).await;
    assert_json_snapshot!(list.snapshot(), { ".body.items[].requestId" => "[request id]" });
}

#[tokio::test]
async fn pages_list_each_event_once() {
    let harness = Harness::start().await;
    let account = lifetime(&harness).await;
    let pages = lists::pages(&harness, &format!("{}/events?limit=2", account.path())).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), harness.events(&account).await);
}

#[tokio::test]
async fn lists_no_events_of_other_accounts() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.reader_key_of("Another").await;
    let events = harness.events(&account).await;
    let types: Vec<_> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["serviceAccount.created"]);
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    let account = lifetime(&harness).await;
    for name in ["a", "b"] {
        harness.create_account(name, "ServiceAccountReader").await;
    }
    let account_cursor = lists::cursor(&harness, "/iam/v1/service-accounts").await;
    let path = format!("{}/events", account.path());
    let queries = ["limit=0", "limit=101", "limit=x", "type=key.issued", "cursor=x", &account_cursor];
    assert_json_snapshot!(lists::refuse_queries(&harness, &path, &queries).await);
}
