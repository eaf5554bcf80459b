//! `PUT /iam/v1/roles/{name}`

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Harness, Reply, RequestBuilder};

use crate::support::bad_input;

fn put<'a>(harness: &'a Harness, name: &str, body: &Value) -> RequestBuilder<'a> {
    harness.request("PUT", &format!("/iam/v1/roles/{name}")).admin().json(body)
}

fn auditor() -> Value {
    json!({ "description": " Reads reports ", "permissions": ["GET /reports/{id}", "GET,HEAD /reports"] })
}

/// The events of roles in the table, oldest first.
async fn events(harness: &Harness) -> Vec<tests::Item> {
    harness.table.items("EVENTS#ROLE#").await
}

/// The type of an event, and the field, old value and new value of each change.
fn type_and_changes(event: &tests::Item) -> (String, Vec<[String; 3]>) {
    let text = |value: &AttributeValue| value.as_s().unwrap().clone();
    let changes = event.get("changes").map(|changes| changes.as_l().unwrap().clone()).unwrap_or_default();
    let changes = changes.iter().map(|change| {
        let change = change.as_m().unwrap();
        ["field", "from", "to"].map(|name| text(&change[name]))
    });
    (text(&event["type"]), changes.collect())
}

#[tokio::test]
async fn creates_a_role_201() {
    let harness = Harness::start().await;
    let reply = put(&harness, "Auditor", &auditor()).send().await;
    assert_json_snapshot!(reply.snapshot());
    let read = harness.get("/iam/v1/roles/Auditor").await;
    assert_eq!((read.json(), &read.headers["etag"]), (reply.json(), &reply.headers["etag"]));
    assert_eq!(harness.get("/iam/v1/roles?limit=1").await.json()["items"], json!([reply.json()]));
}

#[tokio::test]
async fn replaces_the_whole_role_200() {
    let harness = Harness::start().await;
    let first = put(&harness, "Auditor", &auditor()).send().await.expect(201);
    harness.clock.advance_seconds(60);
    let body = json!({ "permissions": ["GET /reports/{id}", "DELETE /reports/{id}"] });
    let second = harness.token_of("admin-2", "second@keyward.local");
    let request = harness.request("PUT", "/iam/v1/roles/Auditor").bearer(&second).json(&body);
    let reply = request.send().await;
    assert_json_snapshot!(reply.snapshot());
    assert_ne!(reply.headers["etag"], first.headers["etag"]);
    assert_eq!(harness.get("/iam/v1/roles/Auditor").await.json(), reply.json());
}

#[tokio::test]
async fn each_change_writes_one_event_with_added_and_removed_permissions() {
    let harness = Harness::start().await;
    let created = put(&harness, "Auditor", &auditor()).send().await.expect(201);
    let [event] = <[_; 1]>::try_from(events(&harness).await).unwrap();
    assert_eq!(event["requestId"].as_s().unwrap(), created.request_id());
    assert_eq!(event["pk"].as_s().unwrap(), "EVENTS#ROLE#Auditor");
    assert_eq!(event["gsi1pk"].as_s().unwrap(), "EVENTS#2026-01");
    assert_eq!(event["gsi1sk"], event["sk"]);
    assert!(!event.contains_key("accountName") && !event.contains_key("key"), "{event:?}");
    let change = |field: &str, from: &str, to: &str| [field, from, to].map(str::to_owned);
    let changes = vec![
        change("description", "", "Reads reports"),
        change("permissions", "", "GET,HEAD /reports"),
        change("permissions", "", "GET /reports/{id}"),
    ];
    assert_eq!(type_and_changes(&event), ("role.created".to_owned(), changes));

    harness.clock.advance_seconds(1);
    let body = json!({ "permissions": ["GET /reports/{id}", "PUT /reports/{id}"] });
    let _ = put(&harness, "Auditor", &body).send().await.expect(200);
    let [_, event] = <[_; 2]>::try_from(events(&harness).await).unwrap();
    let changes = vec![
        change("description", "Reads reports", ""),
        change("permissions", "GET,HEAD /reports", ""),
        change("permissions", "", "PUT /reports/{id}"),
    ];
    assert_eq!(type_and_changes(&event), ("role.updated".to_owned(), changes));
}

#[tokio::test]
async fn a_role_with_the_name_of_an_account_id_has_separate_events() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let before = harness.events(&account).await;
    harness.put_role(&account.id, &["GET /reports"]).await;
    assert_eq!(harness.events(&account).await, before);
    assert_eq!(events(&harness).await.len(), 1);
}

#[tokio::test]
async fn an_identical_role_changes_nothing_and_writes_no_event_200() {
    let harness = Harness::start().await;
    let created = put(&harness, "Auditor", &auditor()).send().await.expect(201);
    let before = harness.table.dump().await;
    harness.clock.advance_seconds(60);
    let another_order = json!({
        "description": "Reads reports", "permissions": ["GET,HEAD /reports", "GET /reports/{id}"],
    });
    for body in [auditor(), another_order] {
        let same = put(&harness, "Auditor", &body).send().await.expect(200);
        assert_eq!((same.json(), &same.headers["etag"]), (created.json(), &created.headers["etag"]));
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn new_permissions_apply_from_the_next_check() {
    let harness = Harness::start().await;
    harness.put_role("Orgs", &["GET /organizations/{id}"]).await;
    let (_, key) = harness.account_with_key("Batch", "Orgs").await;
    let wide = harness.create_account("Wide", "ServiceAccountAdmin").await;
    let narrow = harness.issue_key_with(&wide, &json!({ "name": "k", "role": "Orgs" })).await;
    for (permissions, status) in
        [("GET /organizations/{id}", 200), ("POST /organizations/{id}", 403), ("ANY /{proxy+}", 200)]
    {
        harness.put_role("Orgs", &[permissions]).await;
        assert_eq!(harness.check(&key.secret).await, status, "{permissions}");
        assert_eq!(harness.check(&narrow.secret).await, status, "{permissions}");
    }
    harness.put_role("Orgs", &[]).await;
    assert_eq!(harness.check(&key.secret).await, 403, "a role without permissions permits nothing");
}

#[tokio::test]
async fn accepts_the_most_and_longest_permissions_201() {
    let harness = Harness::start().await;
    let longest = |number: usize| format!("GET /{number:03}{}", "a".repeat(248));
    let body = json!({
        "description": "\u{e9}".repeat(256), "permissions": (0..100).map(longest).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&body).unwrap();
    let reply = harness
        .request("PUT", &format!("/iam/v1/roles/{}", "R".repeat(64)))
        .admin()
        .text("application/json", &text)
        .send()
        .await
        .expect(201);
    assert_eq!(reply.json()["permissions"], body["permissions"]);
    // Replacing all permissions writes the longest event.
    harness.clock.advance_seconds(1);
    let others = json!({ "permissions": (100..200).map(longest).collect::<Vec<_>>() });
    let _ = put(&harness, &"R".repeat(64), &others).send().await.expect(200);
    let event = events(&harness).await.pop().unwrap();
    assert_eq!(type_and_changes(&event).1.len(), 201);
}

#[tokio::test]
async fn built_in_role_409() {
    let harness = Harness::start().await;
    let refused = put(&harness, "ServiceAccountReader", &auditor());
    assert_json_snapshot!(harness.refuse(refused, 409, "role_built_in").await.snapshot());
    for name in ["ServiceAccountAdmin", "ServiceAccountWriter", "serviceaccountadmin", "SERVICEACCOUNTREADER"]
    {
        harness.refuse(put(&harness, name, &auditor()), 409, "role_built_in").await;
    }
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let permissions = |texts: &[&str]| json!({ "permissions": texts });
    let cases = [
        json!({}),
        json!({ "permissions": null }),
        json!({ "permissions": "GET /teams" }),
        json!({ "permissions": [7] }),
        json!({ "permissions": { "0": "GET /teams" } }),
        json!({ "permissions": vec!["GET /teams"; 101] }),
        json!({ "permissions": [], "description": null }),
        json!({ "permissions": [], "description": "d".repeat(257) }),
        json!({ "permissions": [], "description": "bell\u{7}" }),
        json!({ "permissions": [], "name": "Auditor" }),
        permissions(&["GET /ok", "/teams", "get /teams", "GET teams", "GET  /teams", "GET /teams?x=1"]),
        permissions(&[
            "GET,GET /teams",
            "ANY,GET /teams",
            "TRACE /teams",
            "* /teams",
            "GET /te*ms",
            "GET /%41",
        ]),
        permissions(&["GET /{a+}/b", "GET /{}", "GET /{a", "GET /a{b}", "GET //teams", "GET /a/../b", ""]),
        permissions(&["GET /iam", "ANY /iam/{proxy+}", "GET /iam/v1/whoami", "GET /IAM/x", "GET /iam;x/y"]),
        permissions(&["GET /..;/x", "GET /a/;b"]),
        permissions(&[
            "GET /teams",
            "GET /teams",
            "GET,PUT /a/{b}",
            "PUT,GET /a/{c}",
            "ANY /x",
            "GET,HEAD,OPTIONS,POST,PUT,PATCH,DELETE /x",
        ]),
        json!({ "permissions": [format!("GET /{}", "a".repeat(252))] }),
    ];
    let request = || harness.request("PUT", "/iam/v1/roles/Auditor").admin();
    let errors = bad_input::refuse_fields(&harness, request, &cases).await;
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn accepts_paths_that_resemble_the_reserved_path_201() {
    let harness = Harness::start().await;
    let texts = ["GET /iamx", "GET /v1/iam", "GET /{any}/v1", "ANY /{proxy+}", "GET /", "GET /a;b"];
    let _ = put(&harness, "Wide", &json!({ "permissions": texts })).send().await.expect(201);
    // The widest role does not permit the reserved path.
    let (_, key) = harness.account_with_key("Batch", "Wide").await;
    let reserved = harness.request("GET", "/iam/v1/roles").bearer(&key.secret).send().await;
    assert_eq!(reserved.status, 403);
}

#[tokio::test]
async fn if_match_200_412() {
    let harness = Harness::start().await;
    let body = |path: &str| json!({ "permissions": [format!("GET {path}")] });
    let send = async |tag: &str, path: &str| -> Reply {
        put(&harness, "Auditor", &body(path)).if_match(tag).send().await
    };
    // The role does not exist, so no If-Match is true.
    for tag in ["*", "\"1\""] {
        let refused = put(&harness, "Auditor", &body("/a")).if_match(tag);
        harness.refuse(refused, 412, "precondition_failed").await;
    }
    let first = put(&harness, "Auditor", &body("/a")).send().await.expect(201).headers["etag"].clone();
    let second = send(&first, "/b").await.expect(200).headers["etag"].clone();
    // Even a request that changes nothing is refused.
    let stale = put(&harness, "Auditor", &body("/b")).if_match(&first);
    assert_json_snapshot!(harness.refuse(stale, 412, "precondition_failed").await.snapshot());
    let change = || put(&harness, "Auditor", &body("/c"));
    bad_input::refuses_bad_if_match(&harness, change, &second).await;
    let _ = send("*", "/c").await.expect(200);
}

#[tokio::test]
async fn the_tag_of_a_deleted_role_with_the_same_name_412() {
    let harness = Harness::start().await;
    let earlier = put(&harness, "Auditor", &auditor()).send().await.expect(201).headers["etag"].clone();
    let _ = harness.request("DELETE", "/iam/v1/roles/Auditor").admin().send().await.expect(204);
    let _ = put(&harness, "Auditor", &auditor()).send().await.expect(201);
    let stale = put(&harness, "Auditor", &json!({ "permissions": [] })).if_match(&earlier);
    harness.refuse(stale, 412, "precondition_failed").await;
}

#[tokio::test]
async fn if_none_match_201_412() {
    let harness = Harness::start().await;
    let create = || put(&harness, "Auditor", &auditor()).header("If-None-Match", "*");
    let _ = create().send().await.expect(201);
    harness.refuse(create(), 412, "precondition_failed").await;
    for value in ["\"1\"", "", "**"] {
        let refused = put(&harness, "Other", &auditor()).header("If-None-Match", value);
        harness.refuse(refused, 400, "malformed_request").await;
    }
    harness.refuse(create().if_match("*"), 400, "malformed_request").await;
}

/// Makes the item of the role malformed in one of four ways.
async fn malform(harness: &Harness, way: usize) {
    let malform = |item: &mut tests::Item| match way {
        0 => drop(item.insert("permissions".to_owned(), AttributeValue::S("ANY /{proxy+}".to_owned()))),
        1 => drop(item.insert("version".to_owned(), AttributeValue::S("two".to_owned()))),
        2 => drop(item.remove("version")),
        _ => drop(item.remove("createdBy")),
    };
    harness.table.tamper_role("Auditor", malform).await;
}

#[tokio::test]
async fn replaces_a_malformed_role_200() {
    for way in 0..4 {
        let harness = Harness::start().await;
        let first = put(&harness, "Auditor", &auditor()).send().await.expect(201);
        let (_, key) = harness.account_with_key("batch", "Auditor").await;
        malform(&harness, way).await;
        harness.clock.advance_seconds(1);
        let read = harness.request("GET", "/iam/v1/roles/Auditor").admin();
        harness.refuse(read, 500, "internal_error").await;
        // The role exists, and has no known version.
        let seen = &first.headers["etag"];
        let new = json!({ "permissions": ["GET /invoices"] });
        let stale = put(&harness, "Auditor", &new).if_match(seen);
        harness.refuse(stale, 412, "precondition_failed").await;
        let create = put(&harness, "Auditor", &new).header("if-none-match", "*");
        harness.refuse(create, 412, "precondition_failed").await;

        let reply = put(&harness, "Auditor", &new).if_match("*").send().await.expect(200);
        assert_ne!(reply.headers["etag"], first.headers["etag"]);
        assert_eq!(harness.get("/iam/v1/roles/Auditor").await.json(), reply.json());
        let invoices = harness.request("GET", "/invoices").bearer(&key.secret).send().await;
        assert_eq!(invoices.status, 200, "{way}");
        let events = events(&harness).await;
        let added = ["permissions".to_owned(), String::new(), "GET /invoices".to_owned()];
        assert_eq!(type_and_changes(events.last().unwrap()), ("role.updated".to_owned(), vec![added]));
    }
}

#[tokio::test]
async fn one_of_five_requests_replaces_the_malformed_role() {
    for way in 0..4 {
        let harness = Harness::start().await;
        let _ = put(&harness, "Auditor", &auditor()).send().await.expect(201);
        malform(&harness, way).await;
        let bodies: Vec<Value> =
            (0..5).map(|n| json!({ "permissions": [format!("GET /reports-{n}")] })).collect();
        let replies = join_all(bodies.iter().map(|body| put(&harness, "Auditor", body).send())).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        // Only the first request finds a malformed role, without permissions to remove.
        let events = events(&harness).await;
        let updates =
            events.iter().map(type_and_changes).filter(|(event_type, _)| event_type == "role.updated");
        let without_removals =
            updates.filter(|(_, changes)| changes.iter().all(|[_, from, _]| from.is_empty()));
        assert_eq!((events.len(), without_removals.count()), (6, 1), "{way}");
    }
}
