//! `POST /iam/v1/service-accounts/{id}/keys`

use std::collections::BTreeSet;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Key, RequestBuilder};

use crate::support::{bad_input, changes};

fn issue<'a>(harness: &'a Harness, account: &Account) -> RequestBuilder<'a> {
    harness.request("POST", &format!("{}/keys", account.path())).admin()
}

async fn reader(harness: &Harness) -> Account {
    harness.create_account("Batch", "ServiceAccountReader").await
}

fn named(name: &str) -> Value {
    json!({ "name": name })
}

/// Whether `text` has the key format, which is public.
fn looks_like_a_key(text: &str) -> bool {
    let parts: Vec<&str> = text.split('_').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [4, 5, 16, 16, 49]
        && parts[..2] == ["kwsa", "local"]
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[tokio::test]
async fn issues_a_key_201() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let body = json!({
        "name": " server 1 ", "expiresInDays": 30, "role": "ServiceAccountReader",
        "allowedCidrs": ["203.0.113.7/24", "127.0.0.0/8", "203.0.113.0/24"],
    });
    let issued = issue(&harness, &account).json(&body).send().await;
    let secret = Key::from_issued(&account, &issued).secret;
    assert!(looks_like_a_key(&secret), "{secret}");
    assert!(secret.ends_with(issued.json()["hint"].as_str().unwrap()));
    assert_json_snapshot!(issued.snapshot(), { ".body.secret" => "[secret]" });
    // The account shows the same key, without its secret.
    let mut shown = issued.json();
    shown.as_object_mut().unwrap().remove("secret");
    assert_eq!(harness.get(&issued.headers["location"]).await.json()["keys"], json!([shown]));
    assert_eq!(harness.check(&secret).await, 200);
    assert_eq!(harness.request("POST", "/teams").bearer(&secret).send().await.status, 403);
}

#[tokio::test]
async fn writes_one_event() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let before = harness.events(&account).await;
    let issued = issue(&harness, &account).json(&named("server 1")).send().await.expect(201);
    let event = harness.new_event(&account, &before).await;
    assert_eq!(event["requestId"], issued.request_id());
    assert_eq!(event["keyId"], issued.json()["id"]);
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });
}

#[tokio::test]
async fn the_default_lifetime_is_90_days_or_the_shorter_limit() {
    for (limit, expected) in
        [("365", "2026-04-01T00:00:00Z"), ("90", "2026-04-01T00:00:00Z"), ("7", "2026-01-08T00:00:00Z")]
    {
        let harness = Harness::builder().variable("KEYWARD_MAX_KEY_LIFETIME_DAYS", limit).start().await;
        let account = reader(&harness).await;
        let issued = issue(&harness, &account).json(&named("server 1")).send().await.expect(201);
        assert_eq!(issued.json()["expiresAt"], expected, "a limit of {limit} days");
    }
}

#[tokio::test]
async fn the_limit_is_365_days_by_default() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let send = async |body: Value| issue(&harness, &account).json(&body).send().await.expect(201).json();
    assert_eq!(send(named("default")).await["expiresAt"], "2026-04-01T00:00:00Z");
    let longest = send(json!({ "name": "longest", "expiresInDays": 365 })).await;
    assert_eq!(longest["expiresAt"], "2027-01-01T00:00:00Z");
}

#[tokio::test]
async fn the_lifetime_is_from_one_day_to_the_limit() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEY_LIFETIME_DAYS", "31").start().await;
    let account = reader(&harness).await;
    let send = |days: u32| issue(&harness, &account).json(&json!({ "name": "k", "expiresInDays": days }));
    assert_eq!(send(1).send().await.expect(201).json()["expiresAt"], "2026-01-02T00:00:00Z");
    assert_eq!(send(31).send().await.expect(201).json()["expiresAt"], "2026-02-01T00:00:00Z");
    for days in [0, 32, 3650, u32::MAX] {
        let refused = harness.refuse(send(days), 422, "invalid_fields").await;
        let expected = json!([{ "pointer": "/expiresInDays", "detail": "must be from 1 to 31 days" }]);
        assert_eq!(refused.errors(), expected);
    }
}

#[tokio::test]
async fn accepts_a_custom_role_201() {
    let harness = Harness::start().await;
    harness.put_role("Orgs", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "k", "role": "Orgs" })).await;
    let teams = harness.request("GET", "/teams").bearer(&key.secret).send().await;
    assert_eq!((harness.check(&key.secret).await, teams.status), (200, 403));
}

#[tokio::test]
async fn unknown_role_422() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let request = issue(&harness, &account).json(&json!({ "name": "k", "role": "Auditor" }));
    assert_json_snapshot!(harness.refuse(request, 422, "invalid_fields").await.snapshot());
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let eleven: Vec<String> = (0..11).map(|n| format!("10.0.{n}.0/24")).collect();
    let cases = [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": "x".repeat(65) }),
        json!({ "name": "tab\there" }),
        json!({ "name": null }),
        json!({ "name": "k", "expiresInDays": 0 }),
        json!({ "name": "k", "expiresInDays": 366 }),
        json!({ "name": "k", "expiresInDays": -1 }),
        json!({ "name": "k", "expiresInDays": 1.5 }),
        json!({ "name": "k", "expiresInDays": "30" }),
        json!({ "name": "k", "expiresInDays": true }),
        json!({ "name": "k", "expiresInDays": 4_294_967_295_u64 }),
        json!({ "name": "k", "expiresInDays": 4_294_967_296_u64 }),
        json!({ "name": "k", "role": "" }),
        json!({ "name": "k", "role": 1 }),
        json!({ "name": "k", "allowedCidrs": ["10.0.0.0/8", "10.0.0.1"] }),
        json!({ "name": "k", "allowedCidrs": ["10.0.0.0/33"] }),
        json!({ "name": "k", "allowedCidrs": [""] }),
        json!({ "name": "k", "allowedCidrs": "10.0.0.0/8" }),
        json!({ "name": "k", "allowedCidrs": [1] }),
        json!({ "name": "k", "allowedCidrs": null }),
        json!({ "name": "k", "allowedCidrs": eleven }),
        json!({ "name": "", "expiresInDays": 0, "role": "", "allowedCidrs": ["x"] }),
        json!({ "name": "k", "secret": "mine" }),
    ];
    let request = || issue(&harness, &account);
    let errors = bad_input::refuse_fields(&harness, request, &cases).await;
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn disabled_account_409() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    changes::disable(&harness, &account).await;
    let request = issue(&harness, &account).json(&named("server 1"));
    assert_json_snapshot!(harness.refuse(request, 409, "service_account_disabled").await.snapshot());
}

#[tokio::test]
async fn key_limit_409() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "3").start().await;
    let account = reader(&harness).await;
    harness.issue_key(&account).await;
    let second = harness.issue_key(&account).await;
    harness.issue_key(&account).await;
    let request = || issue(&harness, &account).json(&named("one too many"));
    assert_json_snapshot!(harness.refuse(request(), 409, "key_limit_reached").await.snapshot());
    let _ = harness.revoke(&second).await.expect(204);
    harness.issue_key(&account).await;
    harness.refuse(request(), 409, "key_limit_reached").await;
    // The limit is per account.
    harness.reader_key_of("Another").await;
}

#[tokio::test]
async fn expired_keys_do_not_count_and_become_retired_keys() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "2").start().await;
    let account = reader(&harness).await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    let long = harness.issue_key_with(&account, &json!({ "name": "long", "expiresInDays": 9 })).await;
    let request = || issue(&harness, &account).json(&named("one too many"));
    harness.refuse(request(), 409, "key_limit_reached").await;

    harness.clock.advance_days(1);
    let new = harness.issue_key(&account).await;
    let keys = harness.keys(&account).await;
    let ids: Vec<_> = keys.iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&long.id, &new.id]);
    let records = harness.table.items("RETIRED#").await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["sk"].as_s().unwrap(), &short.id);
    assert_eq!(records[0]["reason"].as_s().unwrap(), "expired");
    assert_eq!(records[0]["retiredAt"].as_n().unwrap(), "1767312000");
    assert_eq!(harness.check(&short.secret).await, 403);
    assert_eq!(harness.check(&long.secret).await, 200);
    harness.refuse(request(), 409, "key_limit_reached").await;
}

#[tokio::test]
async fn a_retry_names_the_key_without_its_secret_409() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let send = |value: &str| issue(&harness, &account).idempotency_key(value).json(&named("server 1"));
    let key = Key::from_issued(&account, &send("attempt-1").send().await.expect(201));
    for value in ["attempt-1", "\"attempt-1\""] {
        let refused = harness.refuse(send(value), 409, "key_already_issued").await;
        assert!(refused.json()["detail"].as_str().unwrap().contains(&key.id));
        assert!(!refused.text.contains("kwsa_"));
    }
    let refused = harness.refuse(send("attempt-1"), 409, "key_already_issued").await;
    assert_json_snapshot!(refused.snapshot());
    let other = send("attempt-2").send().await.expect(201);
    assert_ne!(other.json()["id"], key.id);
}

#[tokio::test]
async fn a_retry_after_the_end_of_the_key_issues_no_key_409() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let body = json!({ "name": "server 1", "expiresInDays": 1 });
    let send = |value: &str| issue(&harness, &account).idempotency_key(value).json(&body);
    let revoked = Key::from_issued(&account, &send("attempt-1").send().await.expect(201));
    let _ = harness.revoke(&revoked).await.expect(204);
    let refused = harness.refuse(send("attempt-1"), 409, "key_already_issued").await;
    assert!(refused.json()["detail"].as_str().unwrap().contains(&revoked.id));

    let _ = send("attempt-2").send().await.expect(201);
    harness.clock.advance_days(2);
    harness.refuse(send("attempt-2"), 409, "key_already_issued").await;
    // Issuing another key moves the expired key to the retired keys.
    harness.issue_key(&account).await;
    harness.refuse(send("attempt-2"), 409, "key_already_issued").await;
}

#[tokio::test]
async fn a_retry_is_recognized_at_the_key_limit_and_in_a_disabled_account_409() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "1").start().await;
    let account = reader(&harness).await;
    let send = || issue(&harness, &account).idempotency_key("attempt-1").json(&named("server 1"));
    let first = Key::from_issued(&account, &send().send().await.expect(201));
    harness.refuse(send(), 409, "key_already_issued").await;
    let _ = harness.revoke(&first).await.expect(204);
    harness.issue_key(&account).await;
    harness.refuse(send(), 409, "key_already_issued").await;
    changes::disable(&harness, &account).await;
    harness.refuse(send(), 409, "key_already_issued").await;
}

#[tokio::test]
async fn a_retry_after_the_deletion_of_the_account_404() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let send = || issue(&harness, &account).idempotency_key("attempt-1").json(&named("server 1"));
    let _ = send().send().await.expect(201);
    changes::delete(&harness, &account).await;
    harness.refuse(send(), 404, "service_account_not_found").await;
}

#[tokio::test]
async fn a_retry_with_another_body_422() {
    let harness = Harness::start().await;
    let account = reader(&harness).await;
    let send = |name: &str| issue(&harness, &account).idempotency_key("attempt-1").json(&named(name));
    let issued = Key::from_issued(&account, &send("server 1").send().await.expect(201));
    let refused = harness.refuse(send("server 2"), 422, "idempotency_key_reused").await;
    assert_json_snapshot!(refused.snapshot());
    let _ = harness.revoke(&issued).await.expect(204);
    harness.refuse(send("server 2"), 422, "idempotency_key_reused").await;
}

#[tokio::test]
async fn idempotency_keys_are_separate_per_admin_and_account_201() {
    let harness = Harness::start().await;
    let first = reader(&harness).await;
    let other = harness.create_account("Another", "ServiceAccountReader").await;
    let second = harness.token_of("admin-2", "second@keyward.local");
    let request = |account: &Account| {
        let request = harness.request("POST", &format!("{}/keys", account.path()));
        request.idempotency_key("attempt-1").json(&named("server 1"))
    };
    let by_first = request(&first).admin().send().await.expect(201);
    let by_second = request(&first).bearer(&second).send().await.expect(201);
    let of_other = request(&other).admin().send().await.expect(201);
    assert_eq!(by_second.json()["createdBy"]["id"], "admin-2");
    let mut ids = BTreeSet::new();
    for (account, issued) in [(&first, by_first), (&first, by_second), (&other, of_other)] {
        let key = Key::from_issued(account, &issued);
        assert_eq!(harness.check(&key.secret).await, 200);
        ids.insert(key.id);
    }
    assert_eq!(ids.len(), 3);
}
