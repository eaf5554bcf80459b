//! What every operation can answer beside its own statuses: 409 to too many
//! concurrent changes, 429, 500 and 503.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, FailingEntropy, Harness, Reply};

use crate::support::routes::{self, ROUTES, Route};

/// The answer to each of `routes` while the table answers each call that is
/// `affected` so.
async fn disturbed(
    routes: impl Iterator<Item = &Route>,
    affected: fn(&str) -> bool,
    status: u16,
    body: Value,
) -> Vec<Reply> {
    let harness = Harness::start().await;
    let (_, key) = routes::victim(&harness, "victim").await;
    let before = harness.table.dump().await;
    harness.wire.disturb(move |call| {
        if affected(&call.operation) { Action::Answer(status, body.to_string()) } else { Action::Pass }
    });
    let events: Vec<_> =
        routes.map(|route| (route, route.event(&key, Some(route.good_context(&key))))).collect();
    let replies = join_all(events.iter().map(|(route, event)| harness.invoke(route.function, event))).await;
    assert_eq!(before, harness.table.dump().await);
    replies
}

fn any_of_the_table(operation: &str) -> bool {
    operation != "GetSecretValue"
}

/// Fails unless all are this problem. One of them stands for all.
fn all(replies: Vec<Reply>, status: u16, code: &str) -> Value {
    for reply in &replies {
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{reply:?}");
    }
    let first = replies.into_iter().next().unwrap();
    json!({ "status": first.status, "headers": first.headers, "body": first.json() })
}

#[tokio::test]
async fn a_throttled_table_is_429() {
    let body = json!({ "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow" });
    let replies = disturbed(ROUTES.iter(), any_of_the_table, 400, body).await;
    assert_json_snapshot!(all(replies, 429, "throttled"));
}

#[tokio::test]
async fn a_table_that_is_down_is_503() {
    let replies = disturbed(ROUTES.iter(), any_of_the_table, 500, json!({})).await;
    assert_json_snapshot!(all(replies, 503, "dependency_unavailable"));
}

#[tokio::test]
async fn others_that_change_the_same_account_without_end_are_409() {
    let reasons = json!([{ "Code": "TransactionConflict", "Message": "conflict" }]);
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "cancelled", "CancellationReasons": reasons,
    });
    let changes = ROUTES.iter().filter(|route| route.is_change());
    let is_write = |operation: &str| operation == "TransactWriteItems";
    let replies = disturbed(changes, is_write, 400, body).await;
    assert_json_snapshot!(all(replies, 409, "concurrent_changes"));
}

/// A parameter that a change does not know could have meant "do not".
#[tokio::test]
async fn a_change_with_a_query_is_400_and_changes_nothing() {
    let harness = Harness::start().await;
    let (_, key) = routes::victim(&harness, "victim").await;
    let before = harness.table.dump().await;
    let mut replies = Vec::new();
    for route in ROUTES.iter().filter(|route| route.is_change()) {
        replies.push(route.request(&harness, &key).query("dryRun=true").admin().send().await);
    }
    // The deletion of a role knows one parameter, and names it.
    let details: BTreeSet<String> =
        replies.iter().map(|reply| reply.json()["detail"].as_str().unwrap().to_owned()).collect();
    assert_json_snapshot!(details);
    all(replies, 400, "malformed_request");
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn an_item_that_is_not_well_formed_is_500() {
    let harness = Harness::start().await;
    let (account, key) = routes::victim(&harness, "victim").await;
    harness.table.tamper(&account.id, |item| drop(item.remove("role"))).await;
    let mut event = harness.table.items("EVENTS#sa_").await.remove(0);
    event.insert("type".to_owned(), AttributeValue::S("unheard.of".to_owned()));
    harness.table.put(event).await;
    let mut role = harness.table.get(&format!("ROLE#{}", routes::ROLE), "ROLE").await.unwrap();
    role.remove("permissions");
    harness.table.put(role).await;
    let before = harness.table.dump().await;
    let mut replies = Vec::new();
    // Putting or deleting a role mends it.
    let mends = |route: &Route| route.function == "ManageRoles" && ["PUT", "DELETE"].contains(&route.method);
    let reads = |route: &&Route| route.function != "CreateServiceAccount" && !mends(route);
    for route in ROUTES.iter().filter(reads) {
        let event = route.event(&key, Some(route.good_context(&key)));
        replies.push(harness.invoke(route.function, &event).await);
    }
    assert_json_snapshot!(all(replies, 500, "internal_error"));
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn a_random_source_that_fails_makes_no_account_and_no_key_500() {
    let harness = Harness::builder().entropy(FailingEntropy).start().await;
    let request = harness.request("POST", "/iam/v1/service-accounts").admin();
    let body = json!({ "name": "Batch", "role": "ServiceAccountReader" });
    harness.refuse(request.json(&body), 500, "internal_error").await;
    let request = harness.request("POST", "/iam/v1/service-accounts/sa_0000000000000000/keys").admin();
    harness.refuse(request.json(&json!({ "name": "k" })), 500, "internal_error").await;
}
