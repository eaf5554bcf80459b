//! `GET /iam/v1/roles/{name}/users`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, Harness, tokens};

use crate::support::changes;
use crate::support::keys::store_usage;
use crate::support::lists;

const PATH: &str = "/iam/v1/roles/Auditor/users";

/// The account's name of each item, and whether the item is a key.
fn users(items: &[Value]) -> Vec<(&str, bool)> {
    items
        .iter()
        .map(|item| (item["serviceAccountName"].as_str().unwrap(), item["keyId"].is_string()))
        .collect()
}

#[tokio::test]
async fn lists_accounts_and_live_keys_with_their_last_use_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let account = harness.create_account("Batch", "Auditor").await;
    let used = harness.issue_key(&account).await;
    harness.issue_key(&account).await;
    store_usage(&harness, &used, &[(1, 1, 3)]).await;
    let other = harness.create_account("Another", "ServiceAccountReader").await;
    let narrow = json!({ "name": "narrow", "role": "Auditor" });
    harness.issue_key_with(&other, &narrow).await;
    harness.issue_key(&other).await;
    changes::disable(&harness, &other).await;
    harness.create_account("Unrelated", "ServiceAccountReader").await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
    let readers = harness.get("/iam/v1/roles/ServiceAccountReader/users").await.json();
    assert_eq!(users(readers["items"].as_array().unwrap()), [("Another", false), ("Unrelated", false)]);
}

#[tokio::test]
async fn leaves_out_keys_that_have_ended_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let narrow = json!({ "name": "k", "role": "Auditor", "expiresInDays": 1 });
    harness.issue_key_with(&account, &narrow).await;
    let revoked = harness.issue_key_with(&account, &narrow).await;
    assert_eq!(harness.get(PATH).await.json()["items"].as_array().unwrap().len(), 2);
    let revoke = harness.request("DELETE", &format!("{}/keys/{}", account.path(), revoked.id)).admin();
    let _ = revoke.send().await.expect(204);
    assert_eq!(harness.get(PATH).await.json()["items"].as_array().unwrap().len(), 1);
    harness.clock.advance_days(1);
    assert_eq!(harness.get(PATH).await.json(), json!({ "items": [], "checkedAccounts": 1 }));
}

#[tokio::test]
async fn pages_keep_an_account_and_its_keys_together_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    for number in 0..3 {
        let account = harness.create_account(&format!("batch {number}"), "Auditor").await;
        harness.issue_key_with(&account, &json!({ "name": "k", "role": "Auditor" })).await;
        harness.create_account(&format!("batch {number} other"), "ServiceAccountReader").await;
    }
    let pages = lists::pages(&harness, &format!("{PATH}?limit=1")).await;
    let expected: Vec<_> = ["batch 0", "batch 1", "batch 2"]
        .into_iter()
        .flat_map(|name| [(name, false), (name, true)])
        .collect();
    assert_eq!(users(&pages.concat()), expected);
    assert!(pages.iter().all(|page| [0, 2].contains(&page.len())), "{pages:?}");
    let all = harness.get(&format!("{PATH}?limit=100")).await.json();
    assert_eq!((users(all["items"].as_array().unwrap()), &all["checkedAccounts"]), (expected, &json!(6)));
    assert!(all["nextCursor"].is_null());
}

#[tokio::test]
async fn continues_where_a_bounded_search_stopped_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let first = harness.create_account("batch 0", "ServiceAccountReader").await;
    harness.create_account("batch 1", "Auditor").await;
    let stopped = json!({ "Items": [], "Count": 0, "ScannedCount": 1, "LastEvaluatedKey": {
        "pk": { "S": format!("ACCOUNT#{}", first.id) }, "sk": { "S": "ACCOUNT" },
        "gsi1pk": { "S": "ACCOUNTS" }, "gsi1sk": { "S": "batch 0" },
    } });
    harness.wire.intercept(move |call| match call.body["IndexName"].as_str() {
        Some(_) => Action::ReplaceBody(stopped.to_string()),
        None => Action::Pass,
    });
    harness.wire.take_calls();
    let page = harness.get(PATH).await.json();
    assert_eq!(page["items"], json!([]));
    let queries = harness.wire.take_operations();
    assert!(queries.iter().filter(|operation| *operation == "Query").count() <= 100, "{queries:?}");
    harness.wire.pass_all();
    let rest = harness.get(&format!("{PATH}?cursor={}", page["nextCursor"].as_str().unwrap())).await.json();
    assert_eq!(users(rest["items"].as_array().unwrap()), [("batch 1", false)]);
}

#[tokio::test]
async fn malformed_name_or_query_400() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let mut responses = Vec::new();
    for (path, code) in [
        ("/iam/v1/roles/9/users".to_owned(), "malformed_id"),
        (format!("{PATH}?limit=0"), "malformed_request"),
        (format!("{PATH}?cursor=r"), "malformed_request"),
        (format!("{PATH}?role=a"), "malformed_request"),
    ] {
        let request = harness.request("GET", &path).admin();
        responses.push(harness.refuse(request, 400, code).await.snapshot());
    }
    assert_json_snapshot!(responses);
}

#[tokio::test]
async fn unknown_role_404() {
    let harness = Harness::start().await;
    for name in ["Auditor", "serviceaccountreader"] {
        let request = harness.request("GET", &format!("/iam/v1/roles/{name}/users")).admin();
        harness.refuse(request, 404, "role_not_found").await;
    }
}

#[tokio::test]
async fn lists_the_federated_identities_with_the_role_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    tokens::register_issuer(&harness, "corp").await;
    let account = harness.create_account("Batch", "Auditor").await;
    tokens::add_identity(&harness, &account, "corp", None).await;
    let other = harness.create_account("Other", "ServiceAccountReader").await;
    let own = tokens::add_identity(&harness, &other, "corp", Some("Auditor")).await;
    let items = harness.get(PATH).await.json()["items"].clone();
    assert_json_snapshot!(items);
    // The role cannot be deleted until no account and no identity has it.
    let delete = || harness.request("DELETE", "/iam/v1/roles/Auditor").admin();
    changes::update(&harness, &account, json!({ "role": "ServiceAccountReader" })).await;
    let refused = harness.refuse(delete(), 409, "role_in_use").await.json();
    assert_eq!(refused["usedBy"][0]["identityId"], own.grant.to_string());
    assert_eq!(refused["usedBy"].as_array().unwrap().len(), 1);
    tokens::end_identity(&harness, &own).await;
    let _ = delete().send().await.expect(204);
}
