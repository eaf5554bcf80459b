//! Each committed audit event is also logged, in one line.

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Harness, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::apis::api_with;
use crate::support::audit_lines::with_message;
use crate::support::changes;

#[tokio::test]
async fn each_change_logs_one_line_with_the_content_of_its_event() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::INFO);
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let change = json!({
        "name": "Nightly batch", "description": "of Ada Lovelace", "role": "ServiceAccountWriter",
        "enabled": false, "owner": "ada@example.com", "tags": { "phone": "555-0100" },
    });
    changes::update(&harness, &account, change).await;
    changes::update(&harness, &account, json!({ "enabled": true })).await;
    let old = harness.issue_key(&account).await;
    let new = changes::rotate(&harness, &old, 60).await.json();
    let _ = harness.revoke(&key).await.expect(204);
    let _ = harness.request("DELETE", &format!("{}/keys", account.path())).admin().send().await.expect(200);
    changes::delete(&harness, &account).await;
    let lines = with_message(&logs.take_lines(), "audit");

    let events = harness.events(&account).await;
    assert_eq!((lines.len(), events.len()), (10, 10));
    for event in events {
        let line = lines.iter().find(|line| line["event_id"] == event["id"]).expect("a line for the event");
        for (field, member) in [
            ("type", "/type"),
            ("at", "/at"),
            ("actor_id", "/actor/id"),
            ("actor_name", "/actor/name"),
            ("account_id", "/serviceAccountId"),
            ("account_name", "/serviceAccountName"),
            ("key_id", "/keyId"),
            ("request_id", "/requestId"),
        ] {
            assert_eq!(line.get(field), event.pointer(member), "{field} of {event}");
        }
        let changed: Vec<_> = event["changes"].as_array().into_iter().flatten().collect();
        let changed: Vec<_> = changed.iter().map(|change| change["field"].as_str().unwrap()).collect();
        assert_eq!(line["changed"].as_str().unwrap_or_default(), changed.join(","), "{event}");
    }
    let rotated = lines.iter().find(|line| line["type"] == "key.rotated").unwrap();
    assert_eq!((&rotated["key_id"], &rotated["replaced_by"]), (&json!(old.id), &new["id"]));
    assert_eq!(rotated["retires_at"], "2026-01-01T00:01:00Z");
    // Of the changed values, lines contain only those that affect what keys can do.
    let updates: Vec<_> = lines.iter().filter(|line| line["type"] == "serviceAccount.updated").collect();
    assert_json_snapshot!(updates, { "[].timestamp" => "[timestamp]", "[].request_id" => "[request id]" });
    let text = Value::from(lines).to_string();
    for personal_data in ["Lovelace", "ada@example.com", "555-0100"] {
        assert!(!text.contains(personal_data), "{personal_data}");
    }
}

#[tokio::test]
async fn role_changes_log_granted_and_withdrawn_permissions() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::INFO);
    let put = |permissions: &[&str]| {
        let body = json!({ "description": "by Ada Lovelace", "permissions": permissions });
        harness.request("PUT", "/iam/v1/roles/lister").admin().json(&body).send()
    };
    let _ = put(&["GET /orders", "GET /orders/{id}"]).await.expect(201);
    let _ = put(&["GET /orders", "POST /orders"]).await.expect(200);
    let _ = harness.request("DELETE", "/iam/v1/roles/lister").admin().send().await.expect(204);
    let lines = with_message(&logs.take_lines(), "audit");
    let shown: Vec<Value> = lines
        .iter()
        .map(|line| {
            let members = ["type", "role_name", "changed", "granted", "withdrawn", "account_id", "key_id"];
            members.into_iter().filter_map(|name| Some((name.to_owned(), line.get(name)?.clone()))).collect()
        })
        .collect();
    assert_json_snapshot!(shown);
    assert!(!Value::from(lines).to_string().contains("Lovelace"));
}

/// A line has everything that decides which workloads a new identity accepts.
#[tokio::test]
async fn changes_of_identities_and_issuers_log_what_is_trusted() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let logs = Logs::capture(LevelFilter::INFO);
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let uri = json!({ "issuer": "https://id.example.com", "jwksUri": "https://keys.example.com/" });
    let _ = harness.put_issuer("corp", &uri).await;
    let body = json!({
        "name": "of Ada Lovelace", "issuer": "corp", "audience": "https://keyward.example.com",
        "claims": { "sub": ["a", "b"] }, "role": "ServiceAccountReader",
    });
    let identity = harness.add_identity(&account, &body).await;
    let path = format!("{}/federated-identities/{}", account.path(), identity["id"].as_str().unwrap());
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
    let _ = harness.request("DELETE", "/iam/v1/issuers/corp").admin().send().await.expect(204);
    let lines = with_message(&logs.take_lines(), "audit");
    assert_json_snapshot!(lines, {
        "[].timestamp" => "[timestamp]", "[].request_id" => "[request id]", "[].event_id" => "[event id]",
    });
    assert!(!Value::from(lines).to_string().contains("Lovelace"));
}

/// A line has everything that decides where the requests of tools go.
#[tokio::test]
async fn changes_of_apis_log_what_agents_can_use() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::INFO);
    let _ = harness.put_api("teams", &api_with("title", "of Ada Lovelace".into())).await;
    let settings = json!({
        "title": "of Ada Lovelace", "baseUrl": "https://api.example.com/v1", "apiId": "other", "routePrefix": "/v1",
        "include": ["GET /v1/teams"], "confirmation": "require",
    });
    let _ = harness.put_api("teams", &settings).await;
    let _ = harness.request("DELETE", "/iam/v1/apis/teams").admin().send().await.expect(204);
    let lines = with_message(&logs.take_lines(), "audit");
    assert_json_snapshot!(lines, {
        "[].timestamp" => "[timestamp]", "[].request_id" => "[request id]", "[].event_id" => "[event id]",
    });
    assert!(!Value::from(lines).to_string().contains("Lovelace"));
}

#[tokio::test]
async fn requests_that_change_nothing_log_no_audit_line() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let _ = harness.revoke(&key).await.expect(204);
    harness.create_account("Taken", "ServiceAccountReader").await;
    let logs = Logs::capture(LevelFilter::INFO);
    let _ = harness.revoke(&key).await.expect(204);
    let patch = |body: Value| harness.request("PATCH", &account.path()).admin().json(&body).send();
    let _ = patch(json!({ "name": "Batch" })).await.expect(200);
    let _ = patch(json!({ "name": "Taken" })).await.expect(409);
    let _ = patch(json!({ "role": "unknown" })).await.expect(422);
    let _ = harness.get(&account.path()).await;
    let lines = logs.take_lines();
    assert_eq!(with_message(&lines, "audit"), Vec::<Value>::new());
    assert_eq!(with_message(&lines, "audit_unconfirmed"), Vec::<Value>::new());
}
