//! The response if several conditions of one write fail.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::{Account, Action, Call, Harness, Key, Reply};

use crate::support::faults::cancelled;

/// Cancels a transaction because the conditions failed on the items whose partition keys
/// start with these prefixes. Panics if a prefix matches no item of the transaction.
fn fail_conditions(call: &Call, prefixes: &[&str]) -> Action {
    let items = call.body["TransactItems"].as_array().unwrap();
    let partition = |item: &Value| {
        let (_, action) = item.as_object().unwrap().iter().next().unwrap();
        let key = action.get("Key").or_else(|| action.get("Item")).unwrap();
        key["pk"]["S"].as_str().unwrap().to_owned()
    };
    let partitions: Vec<String> = items.iter().map(partition).collect();
    for prefix in prefixes {
        assert!(partitions.iter().any(|pk| pk.starts_with(prefix)), "{prefix}: {partitions:?}");
    }
    let fails = |pk: &String| prefixes.iter().any(|prefix| pk.starts_with(prefix));
    let code = |pk| if fails(pk) { "ConditionalCheckFailed" } else { "None" };
    cancelled(&partitions.iter().map(code).collect::<Vec<_>>())
}

/// Sends a request and fails the conditions of its first write on these items.
async fn send(harness: &Harness, method: &str, path: &str, body: &Value, prefixes: &'static [&str]) -> Reply {
    let is_first = AtomicBool::new(true);
    harness.wire.intercept(move |call| {
        if call.operation == "TransactWriteItems" && is_first.swap(false, Ordering::SeqCst) {
            fail_conditions(call, prefixes)
        } else {
            Action::Pass
        }
    });
    let reply = harness.request(method, path).admin().json(body).send().await;
    harness.wire.pass_all();
    reply
}

async fn start() -> (Harness, Account) {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    (harness, account)
}

#[tokio::test]
async fn creating_an_account_reports_a_taken_name_before_a_missing_role() {
    let (harness, _) = start().await;
    let body = json!({ "name": "new", "role": "Auditor" });
    let path = "/iam/v1/service-accounts";
    let reply = send(&harness, "POST", path, &body, &["NAME#", "ROLE#"]).await;
    let _ = reply.expect_problem(409, "name_taken");
    let reply = send(&harness, "POST", path, &body, &["NAME#", "ROLE#", "RETIRED#"]).await;
    let _ = reply.expect_problem(409, "service_account_deleted");
    let reply = send(&harness, "POST", path, &body, &["ACCOUNT#", "NAME#", "RETIRED#"]).await;
    let _ = reply.expect(201);
    let body = json!({ "name": "another", "role": "Auditor" });
    let _ = send(&harness, "POST", path, &body, &["ROLE#", "EVENTS#"])
        .await
        .expect_problem(422, "invalid_fields");
    let _ = send(&harness, "POST", path, &body, &["EVENTS#"]).await.expect(201);
}

#[tokio::test]
async fn an_update_of_a_changed_account_is_retried_before_other_conditions_are_reported() {
    let (harness, account) = start().await;
    let body = json!({ "name": "new", "role": "Auditor" });
    let path = account.path();
    let reply = send(&harness, "PATCH", &path, &body, &["NAME#new", "NAME#batch", "ROLE#"]).await;
    let _ = reply.expect_problem(409, "name_taken");
    let reply = send(&harness, "PATCH", &path, &body, &["ROLE#", "EVENTS#"]).await;
    let _ = reply.expect_problem(422, "invalid_fields");
    let body = json!({ "name": "first", "role": "Auditor" });
    let _ = send(&harness, "PATCH", &path, &body, &["ACCOUNT#", "NAME#", "ROLE#"]).await.expect(200);
    harness.put_role("Second", &["GET /reports"]).await;
    let body = json!({ "name": "second", "role": "Second" });
    let _ = send(&harness, "PATCH", &path, &body, &["NAME#first", "ROLE#"]).await.expect(200);
    let body = json!({ "name": "third" });
    let _ = send(&harness, "PATCH", &path, &body, &["EVENTS#"]).await.expect(200);
}

#[tokio::test]
async fn issuing_a_key_reports_a_missing_role_before_a_changed_account() {
    let (harness, account) = start().await;
    let path = format!("{}/keys", account.path());
    let body = json!({ "name": "server 1", "role": "Auditor" });
    let reply = send(&harness, "POST", &path, &body, &["ACCOUNT#", "ROLE#"]).await;
    let _ = reply.expect_problem(422, "invalid_fields");
    // No record of this key exists, so the write is retried.
    let _ = send(&harness, "POST", &path, &body, &["RETIRED#", "ROLE#"]).await.expect(201);
    let _ = send(&harness, "POST", &path, &body, &["EVENTS#"]).await.expect(201);
}

#[tokio::test]
async fn adding_an_identity_reports_a_missing_issuer_before_a_missing_role() {
    let (harness, account) = start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let path = format!("{}/federated-identities", account.path());
    let body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" }, "role": "Auditor" });
    for (prefixes, pointer) in [(&["ISSUERS", "ROLE#"][..], "/issuer"), (&["ACCOUNT#", "ROLE#"][..], "/role")]
    {
        let reply = send(&harness, "POST", &path, &body, prefixes).await;
        assert_eq!(reply.expect_problem(422, "invalid_fields").errors()[0]["pointer"], pointer);
    }
    // No record of this identity exists, so the write is retried.
    let _ = send(&harness, "POST", &path, &body, &["RETIRED#", "ISSUERS"]).await.expect(201);
    let _ = send(&harness, "POST", &path, &body, &["EVENTS#"]).await.expect(201);
}

#[tokio::test]
async fn a_rotation_is_retried_if_its_conditions_fail() {
    let (harness, account) = start().await;
    let mut key = harness.issue_key(&account).await;
    let cases: [&'static [&str]; 3] = [&["ACCOUNT#"], &["RETIRED#", "ACCOUNT#"], &["EVENTS#"]];
    for prefixes in cases {
        let body = json!({ "graceSeconds": 60 });
        let reply = send(&harness, "POST", &format!("{}/rotation", key.path()), &body, prefixes).await;
        key = Key::from_issued(&account, &reply.expect(201));
    }
}
