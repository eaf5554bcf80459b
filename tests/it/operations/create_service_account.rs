//! `POST /iam/v1/service-accounts`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, RequestBuilder};

use crate::support::changes;

const PATH: &str = "/iam/v1/service-accounts";

fn create(harness: &Harness) -> RequestBuilder<'_> {
    harness.request("POST", PATH).admin()
}

fn reader(name: &str) -> Value {
    json!({ "name": name, "role": "ServiceAccountReader" })
}

fn id(reply: &tests::Reply) -> String {
    reply.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn creates_an_account_201() {
    let harness = Harness::start().await;
    let body = json!({
        "name": "  Nightly batch ", "role": "ServiceAccountWriter", "description": "Loads orders",
        "owner": "data-team@example.com", "tags": { "cost-centre": "42" },
    });
    let created = create(&harness).json(&body).send().await;
    assert_json_snapshot!(created.snapshot());
    let read = harness.get(&created.headers["location"]).await;
    assert_eq!(read.json()["name"], "Nightly batch");
    assert_eq!(read.headers["etag"], created.headers["etag"]);
}

#[tokio::test]
async fn writes_one_event() {
    let harness = Harness::start().await;
    let created = create(&harness).json(&reader("Batch")).send().await.expect(201);
    let event = harness.new_event(&Account { id: id(&created) }, &[]).await;
    assert_eq!(event["requestId"], created.request_id());
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });
}

#[tokio::test]
async fn accepts_the_longest_fields_201() {
    let harness = Harness::start().await;
    let tags: serde_json::Map<_, _> =
        (0..10).map(|n| (format!("{n}{}", "k".repeat(31)), "v".repeat(64).into())).collect();
    let (name, description, owner) = ("😀".repeat(64), "é".repeat(256), "o".repeat(128));
    let body = json!({
        "name": name, "role": "ServiceAccountReader", "description": description, "owner": owner, "tags": tags,
    });
    let created = create(&harness).json(&body).send().await.expect(201).json();
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(created[field], *value);
    }
}

#[tokio::test]
async fn accepts_the_longest_body_201() {
    let harness = Harness::start().await;
    let body = reader("Batch").to_string();
    let padded = format!("{body}{}", " ".repeat(32 * 1024 - body.len()));
    let _ = create(&harness).text("application/json; charset=utf-8", &padded).send().await.expect(201);
}

#[tokio::test]
async fn accepts_a_custom_role_201() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let body = json!({ "name": "audit", "role": "Auditor" });
    assert_eq!(create(&harness).json(&body).send().await.expect(201).json()["role"], "Auditor");
}

#[tokio::test]
async fn taken_name_in_another_case_409() {
    let harness = Harness::start().await;
    harness.create_account("Batch", "ServiceAccountReader").await;
    let request = create(&harness).json(&reader(" bATCH"));
    assert_json_snapshot!(harness.refuse(request, 409, "name_taken").await.snapshot());
}

#[tokio::test]
async fn taken_name_in_another_unicode_form_409() {
    let harness = Harness::start().await;
    let composed = "Caf\u{e9} \u{c5}";
    harness.create_account(composed, "ServiceAccountReader").await;
    let joined = "C\u{200d}af\u{200c}\u{e9}\u{fe0f} \u{c5}";
    for same in [joined, "Cafe\u{301} A\u{30a}", "CAFE\u{301} \u{e5}", "\u{a0}caf\u{e9} \u{212b}\u{3000}"] {
        harness.refuse(create(&harness).json(&reader(same)), 409, "name_taken").await;
    }
}

#[tokio::test]
async fn unreadable_bodies_400_413_415() {
    let harness = Harness::start().await;
    let too_long = " ".repeat(32 * 1024 + 1);
    let mut responses = Vec::new();
    for (media_type, body, status, code) in [
        ("application/json", "{\"name\": \"Batch\",}", 400, "malformed_json"),
        ("application/json", &too_long, 413, "body_too_large"),
        ("text/plain", "{}", 415, "unsupported_media_type"),
    ] {
        let request = create(&harness).text(media_type, body);
        responses.push(harness.refuse(request, status, code).await.snapshot());
    }
    assert_json_snapshot!(responses);
}

#[tokio::test]
async fn all_invalid_fields_422() {
    let harness = Harness::start().await;
    let body = json!({
        "name": " ", "role": "no role", "description": "a\tb", "owner": "o".repeat(129), "tags": { "a b": "" },
    });
    let refused = harness.refuse(create(&harness).json(&body), 422, "invalid_fields").await;
    assert_json_snapshot!(refused.snapshot());
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let many_tags: Value =
        (0..11).map(|n| (n.to_string(), Value::from(""))).collect::<serde_json::Map<_, _>>().into();
    let cases = [
        ("name", json!("")),
        ("name", json!("x".repeat(65))),
        ("name", json!("x".repeat(2000))),
        ("name", json!("line\nbreak")),
        ("name", json!("nul\0")),
        ("name", json!("line\u{2028}separator")),
        ("name", json!("admin\u{202e}nimda")),
        ("name", json!("zero\u{200b}width")),
        ("name", json!("\u{200d}\u{200c}")),
        ("description", json!("soft\u{ad}hyphen")),
        ("name", json!(null)),
        ("name", json!(7)),
        ("name", json!(["x"])),
        ("role", json!("")),
        ("role", json!("serviceaccountreader")),
        ("role", json!("Role/With/Slash")),
        ("role", json!("R".repeat(65))),
        ("role", json!(true)),
        ("description", json!("d".repeat(257))),
        ("description", json!(null)),
        ("owner", json!("\u{7f}")),
        ("owner", json!({})),
        ("tags", json!({ "k".repeat(33): "" })),
        ("tags", json!({ "": "" })),
        ("tags", json!({ "a/b~c": "\u{85}" })),
        ("tags", json!({ "key": "v".repeat(65) })),
        ("tags", json!({ "key": 1 })),
        ("tags", json!("a=b")),
        ("tags", many_tags),
    ];
    let mut errors = Vec::new();
    for (field, value) in cases {
        let mut body = reader("Batch");
        body[field] = value.clone();
        let refused = harness.refuse(create(&harness).json(&body), 422, "invalid_fields").await;
        let shown: String = value.to_string().chars().take(40).collect();
        errors.push(json!({ field: shown, "errors": refused.errors() }));
    }
    for missing in ["name", "role"] {
        let mut body = reader("Batch");
        body.as_object_mut().unwrap().remove(missing);
        let refused = harness.refuse(create(&harness).json(&body), 422, "invalid_fields").await;
        errors.push(json!({ missing: "(missing)", "errors": refused.errors() }));
    }
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn unknown_role_422() {
    let harness = Harness::start().await;
    let request = create(&harness).json(&json!({ "name": "Batch", "role": "Auditor" }));
    assert_json_snapshot!(harness.refuse(request, 422, "invalid_fields").await.snapshot());
}

#[tokio::test]
async fn a_retry_returns_the_same_account_201() {
    let harness = Harness::start().await;
    let send = |value: &'static str| create(&harness).idempotency_key(value).json(&reader("Batch")).send();
    let first = send("attempt-1").await.expect(201);
    let before = harness.table.dump().await;
    // With quotes, the value is a string of a structured field (RFC 9651), and means the same.
    for value in ["attempt-1", "\"attempt-1\""] {
        let again = send(value).await;
        assert_eq!(again.snapshot(), first.snapshot());
    }
    assert_eq!(before, harness.table.dump().await);
    let _ = create(&harness).idempotency_key("attempt-2").json(&reader("Batch")).send().await.expect(409);
}

#[tokio::test]
async fn a_retry_returns_the_current_account_201() {
    let harness = Harness::start().await;
    let send = || create(&harness).idempotency_key("attempt-1").json(&reader("Batch")).send();
    let account = Account { id: id(&send().await.expect(201)) };
    changes::update(&harness, &account, json!({ "name": "Renamed" })).await;
    let other = harness.create_account("Batch", "ServiceAccountReader").await;
    let again = send().await.expect(201);
    assert_eq!((id(&again), &again.json()["name"]), (account.id, &json!("Renamed")));
    assert_ne!(id(&again), other.id);
}

#[tokio::test]
async fn a_retry_with_another_body_422() {
    let harness = Harness::start().await;
    let send = |body: &Value| create(&harness).idempotency_key("attempt-1").json(body);
    let _ = send(&reader("Batch")).send().await.expect(201);
    let refused = harness.refuse(send(&reader("Batch 2")), 422, "idempotency_key_reused").await;
    assert_json_snapshot!(refused.snapshot());
    let other_role = json!({ "name": "Batch", "role": "ServiceAccountWriter" });
    harness.refuse(send(&other_role), 422, "idempotency_key_reused").await;
}

#[tokio::test]
async fn a_retry_after_the_deletion_of_the_account_409() {
    let harness = Harness::start().await;
    let send = |name: &str| create(&harness).idempotency_key("attempt-1").json(&reader(name));
    let account = Account { id: id(&send("Batch").send().await.expect(201)) };
    changes::delete(&harness, &account).await;
    let refused = harness.refuse(send("Batch"), 409, "service_account_deleted").await;
    assert_json_snapshot!(refused.snapshot());
    harness.refuse(send("Batch 2"), 422, "idempotency_key_reused").await;
}

#[tokio::test]
async fn idempotency_keys_are_separate_per_admin_201() {
    let harness = Harness::start().await;
    let second = harness.token_of("7d0e3c52-0000-4000-8000-000000000002", "second@keyward.local");
    let request = |name: &str| harness.request("POST", PATH).idempotency_key("attempt-1").json(&reader(name));
    let by_first = request("Batch").admin().send().await.expect(201);
    let by_second = request("Batch 2").bearer(&second).send().await.expect(201);
    assert_ne!(id(&by_first), id(&by_second));
    assert_eq!(by_second.json()["createdBy"]["name"], "second@keyward.local");
    let event = harness.new_event(&Account { id: id(&by_second) }, &[]).await;
    assert_eq!(event["actor"]["id"], "7d0e3c52-0000-4000-8000-000000000002");
    // The same value is also separate for another operation.
    let issue = harness.request("POST", &format!("{PATH}/{}/keys", id(&by_first))).admin();
    let _ = issue.idempotency_key("attempt-1").json(&json!({ "name": "k" })).send().await.expect(201);
}
