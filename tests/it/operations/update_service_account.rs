//! `PATCH /iam/v1/service-accounts/{id}`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Reply, RequestBuilder};

use crate::support::bad_input;

fn patch<'a>(harness: &'a Harness, account: &Account) -> RequestBuilder<'a> {
    harness.request("PATCH", &account.path()).admin()
}

async fn update(harness: &Harness, account: &Account, changes: &Value) -> Reply {
    patch(harness, account).json(changes).send().await
}

/// Creates an account that has every field.
async fn full_account(harness: &Harness) -> Account {
    let body = json!({
        "name": "Batch", "role": "ServiceAccountReader", "description": "Loads orders", "owner": "data-team",
        "tags": { "a": "1", "b": "2" },
    });
    let created = harness.request("POST", "/iam/v1/service-accounts").admin().json(&body).send().await;
    Account { id: created.expect(201).json()["id"].as_str().unwrap().to_owned() }
}

#[tokio::test]
async fn updates_every_field_200() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    harness.clock.advance_seconds(60);
    let body = json!({
        "name": " Nightly batch ", "role": "ServiceAccountWriter", "description": "Loads everything",
        "owner": "ops", "enabled": false, "tags": { "b": "3" },
    });
    let updated = update(&harness, &account, &body).await;
    assert_json_snapshot!(updated.snapshot());
    let read = harness.get(&account.path()).await;
    assert_eq!(read.headers["etag"], updated.headers["etag"]);
    let mut shown = read.json();
    let others = ["keys", "retiredKeys", "federatedIdentities", "endedFederatedIdentities", "unverified"];
    shown.as_object_mut().unwrap().retain(|name, _| !others.contains(&name.as_str()));
    assert_eq!(shown, updated.json());
}

#[tokio::test]
async fn writes_one_event_with_each_changed_field() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let before = harness.events(&account).await;
    let second = harness.token_of("admin-2", "second@keyward.local");
    let body = json!({ "name": "Nightly", "owner": "data-team", "enabled": false, "tags": { "b": "3" } });
    let request = harness.request("PATCH", &account.path()).bearer(&second).json(&body);
    let updated = request.send().await.expect(200);
    let event = harness.new_event(&account, &before).await;
    assert_eq!(event["requestId"], updated.request_id());
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });
}

#[tokio::test]
async fn null_clears_optional_fields_200() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let body = json!({ "description": null, "owner": null, "tags": null });
    let updated = update(&harness, &account, &body).await.expect(200).json();
    assert_eq!([&updated["description"], &updated["owner"]], [&json!(""), &json!("")]);
    assert_eq!(updated["tags"], json!({}));
    assert_eq!(updated["name"], "Batch");
}

#[tokio::test]
async fn accepts_the_merge_patch_media_type_200() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let request = patch(&harness, &account).text("application/merge-patch+json", r#"{"owner":"ops"}"#);
    assert_eq!(request.send().await.expect(200).json()["owner"], "ops");
}

#[tokio::test]
async fn update_without_changes_keeps_the_version_and_writes_no_event_200() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let before = harness.table.dump().await;
    let same = [
        json!({}),
        json!({ "enabled": true }),
        json!({ "name": " Batch ", "role": "ServiceAccountReader", "description": "Loads orders" }),
        json!({ "owner": "data-team", "tags": { "b": "2", "a": "1" } }),
    ];
    harness.clock.advance_seconds(60);
    for body in same {
        let reply = update(&harness, &account, &body).await.expect(200);
        assert_eq!(reply.headers["etag"], "\"1\"");
        assert_eq!(reply.json()["updatedAt"], "2026-01-01T00:00:00Z");
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn renaming_frees_the_old_name_and_reserves_the_new_name() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let _ = update(&harness, &account, &json!({ "name": "Nightly" })).await.expect(200);
    let other = harness.create_account("bATCH", "ServiceAccountReader").await;
    let taken = patch(&harness, &other).json(&json!({ "name": "NIGHTLY" }));
    assert_json_snapshot!(harness.refuse(taken, 409, "name_taken").await.snapshot());
    let back = patch(&harness, &account).json(&json!({ "name": "Batch" }));
    harness.refuse(back, 409, "name_taken").await;
    let list = harness.get("/iam/v1/service-accounts").await.json();
    assert_eq!([&list["items"][0]["name"], &list["items"][1]["name"]], ["bATCH", "Nightly"]);
}

#[tokio::test]
async fn renaming_can_change_only_the_case_200() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let reply = update(&harness, &account, &json!({ "name": "BATCH" })).await.expect(200);
    assert_eq!((reply.json()["name"].as_str(), reply.headers["etag"].as_str()), (Some("BATCH"), "\"2\""));
    let request = harness.request("POST", "/iam/v1/service-accounts").admin();
    let again = request.json(&json!({ "name": "batch", "role": "ServiceAccountReader" }));
    harness.refuse(again, 409, "name_taken").await;
}

#[tokio::test]
async fn accepts_a_custom_role_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let account = full_account(&harness).await;
    let key = harness.issue_key(&account).await;
    let _ = update(&harness, &account, &json!({ "role": "Auditor" })).await.expect(200);
    let reports = harness.request("GET", "/reports").bearer(&key.secret).send().await;
    assert_eq!((reports.status, harness.check(&key.secret).await), (200, 403));
}

#[tokio::test]
async fn unknown_role_422() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let request = patch(&harness, &account).json(&json!({ "owner": "ops", "role": "Auditor" }));
    assert_json_snapshot!(harness.refuse(request, 422, "invalid_fields").await.snapshot());
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let cases = [
        json!({ "name": null }),
        json!({ "name": "" }),
        json!({ "name": "x".repeat(65) }),
        json!({ "name": "bell\u{7}" }),
        json!({ "role": null }),
        json!({ "role": "1st" }),
        json!({ "enabled": null }),
        json!({ "enabled": "false" }),
        json!({ "enabled": 0 }),
        json!({ "description": "d".repeat(257) }),
        json!({ "owner": 5 }),
        json!({ "tags": { "k": null } }),
        json!({ "tags": [] }),
        json!({ "id": "sa_0000000000000000" }),
        json!({ "version": 7 }),
        json!({ "owner": "fine", "name": "", "role": "" }),
    ];
    let request = || patch(&harness, &account);
    let errors = bad_input::refuse_fields(&harness, request, &cases).await;
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn matching_if_match_200() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let send = |tag: &str, owner: &str| {
        patch(&harness, &account).if_match(tag).json(&json!({ "owner": owner })).send()
    };
    let first = send("\"1\"", "ops").await.expect(200);
    let second = send(&first.headers["etag"], "data").await.expect(200);
    assert_eq!(second.headers["etag"], "\"3\"");
    assert_eq!(send("*", "anyone").await.expect(200).headers["etag"], "\"4\"");
}

#[tokio::test]
async fn other_version_in_if_match_412() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let _ = update(&harness, &account, &json!({ "owner": "ops" })).await.expect(200);
    // Even an update without changes is refused.
    let no_op = patch(&harness, &account).if_match("\"1\"").json(&json!({ "owner": "ops" }));
    harness.refuse(no_op, 412, "precondition_failed").await;
    let stale = patch(&harness, &account).if_match("\"1\"").json(&json!({ "owner": "data" }));
    assert_json_snapshot!(harness.refuse(stale, 412, "precondition_failed").await.snapshot());
    let request = || patch(&harness, &account).json(&json!({ "owner": "data" }));
    bad_input::refuses_bad_if_match(&harness, request, "\"2\"").await;
}

#[tokio::test]
async fn malformed_if_match_400() {
    let harness = Harness::start().await;
    let account = full_account(&harness).await;
    let request = patch(&harness, &account).if_match("1").json(&json!({ "owner": "data" }));
    assert_json_snapshot!(harness.refuse(request, 400, "malformed_request").await.snapshot());
}
