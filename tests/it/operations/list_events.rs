//! `GET /iam/v1/service-accounts/{id}/events`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness};

use crate::support::bad_input;

/// An account that was created, changed, given a key that was revoked, and
/// deleted, each a second after the other.
async fn lifetime(harness: &Harness) -> Account {
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_seconds(1);
    let change = json!({ "name": "Nightly batch", "role": "ServiceAccountWriter" });
    let _ = harness.request("PATCH", &account.path()).admin().json(&change).send().await.expect(200);
    harness.clock.advance_seconds(1);
    let key = harness.issue_key(&account).await;
    harness.clock.advance_seconds(1);
    let _ = harness.revoke(&key).await.expect(204);
    harness.clock.advance_seconds(1);
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    account
}

fn types(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn tells_all_of_an_account_newest_first_even_of_a_deleted_one_200() {
    let harness = Harness::start().await;
    let account = lifetime(&harness).await;
    let list = harness.get(&format!("{}/events", account.path())).await;
    assert_json_snapshot!(list.snapshot(), { ".body.items[].requestId" => "[request id]" });
}

#[tokio::test]
async fn pages_tell_every_event_once() {
    let harness = Harness::start().await;
    let account = lifetime(&harness).await;
    let path = format!("{}/events", account.path());
    let whole = harness.get(&path).await.json();
    let mut items = Vec::new();
    let mut query = "?limit=2".to_owned();
    for size in [2, 2, 1] {
        let page = harness.get(&format!("{path}{query}")).await.json();
        let page_items = page["items"].as_array().unwrap().clone();
        assert_eq!(page_items.len(), size);
        items.extend(page_items);
        match page.get("nextCursor") {
            Some(next) => query = format!("?limit=2&cursor={}", next.as_str().unwrap()),
            None => assert_eq!(size, 1),
        }
    }
    assert_eq!(Value::from(items), whole["items"]);
}

#[tokio::test]
async fn tells_only_of_the_one_account() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    lifetime_of_another(&harness).await;
    let list = harness.get(&format!("{}/events", account.path())).await.json();
    assert_eq!(types(&list), ["serviceAccount.created"]);
}

async fn lifetime_of_another(harness: &Harness) {
    let other = harness.create_account("Another", "ServiceAccountReader").await;
    harness.issue_key(&other).await;
}

#[tokio::test]
async fn knows_no_other_account_404() {
    let harness = Harness::start().await;
    let request = harness.request("GET", "/iam/v1/service-accounts/sa_0000000000000000/events").admin();
    let refused = harness.refuse(request, 404, "service_account_not_found").await;
    assert_json_snapshot!(refused.snapshot());
}

#[tokio::test]
async fn refuses_malformed_ids_400() {
    let harness = Harness::start().await;
    let request = |id: &str| harness.request("GET", &format!("/iam/v1/service-accounts/{id}/events"));
    bad_input::refuses_malformed_ids(&harness, request).await;
}

#[tokio::test]
async fn refuses_bad_queries_400() {
    let harness = Harness::start().await;
    let account = lifetime(&harness).await;
    harness.create_account("a", "ServiceAccountReader").await;
    harness.create_account("b", "ServiceAccountReader").await;
    let accounts = harness.get("/iam/v1/service-accounts?limit=1").await.json();
    let of_accounts = format!("cursor={}", accounts["nextCursor"].as_str().unwrap());
    let mut answers = Vec::new();
    for query in ["limit=0", "limit=101", "limit=x", "type=key.issued", "cursor=x", &of_accounts] {
        let request = harness.request("GET", &format!("{}/events?{query}", account.path())).admin();
        let refused = harness.refuse(request, 400, "malformed_request").await;
        answers.push(json!({ query: refused.json()["detail"] }));
    }
    assert_json_snapshot!(answers);
}
