//! `DELETE /iam/v1/roles/{name}`

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Action, Call, Harness, Item, RequestBuilder};

use crate::support::changes;
use crate::support::faults::{inject, stale_index};

const PATH: &str = "/iam/v1/roles/Auditor";

fn delete(harness: &Harness) -> RequestBuilder<'_> {
    harness.request("DELETE", PATH).admin()
}

#[tokio::test]
async fn deletes_a_role_204() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports", "GET /teams"]).await;
    assert_json_snapshot!(delete(&harness).send().await.snapshot());
    harness.refuse(harness.request("GET", PATH).admin(), 404, "role_not_found").await;
    harness.refuse(delete(&harness), 404, "role_not_found").await;
    assert_eq!(harness.get("/iam/v1/roles").await.json()["items"].as_array().unwrap().len(), 3);
    let create = harness.request("POST", "/iam/v1/service-accounts").admin();
    let create = create.json(&json!({ "name": "Batch", "role": "Auditor" }));
    harness.refuse(create, 422, "invalid_fields").await;
}

#[tokio::test]
async fn writes_one_event_with_the_removed_permissions() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports", "GET /teams"]).await;
    harness.clock.advance_seconds(1);
    let reply = delete(&harness).send().await.expect(204);
    let [_, event] = <[_; 2]>::try_from(harness.table.items("EVENTS#ROLE#").await).unwrap();
    assert_eq!(event["type"].as_s().unwrap(), "role.deleted");
    assert_eq!(event["requestId"].as_s().unwrap(), reply.request_id());
    assert_eq!(event["actor"].as_m().unwrap()["name"].as_s().unwrap(), "admin@keyward.local");
    let changes = event["changes"].as_l().unwrap().iter();
    let removed: Vec<_> =
        changes.map(|change| change.as_m().unwrap()["from"].as_s().unwrap().as_str()).collect();
    assert_eq!(removed, ["GET /reports", "GET /teams"]);
}

#[tokio::test]
async fn names_the_accounts_and_live_keys_with_the_role_409() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    harness.put_role("Other", &["GET /reports"]).await;
    let other = harness.create_account("Other", "Other").await;
    harness.issue_key_with(&other, &json!({ "name": "k", "role": "Other" })).await;
    let account = harness.create_account("Batch", "Auditor").await;
    harness.issue_key(&account).await;
    let holder = harness.create_account("Holder", "ServiceAccountReader").await;
    let narrow = json!({ "name": "k", "role": "Auditor", "expiresInDays": 1 });
    let key = harness.issue_key_with(&holder, &narrow).await;
    assert_json_snapshot!(harness.refuse(delete(&harness), 409, "role_in_use").await.snapshot());

    // A disabled account counts.
    changes::disable(&harness, &account).await;
    harness.refuse(delete(&harness), 409, "role_in_use").await;
    changes::update(&harness, &account, json!({ "role": "Other" })).await;
    let used_by = harness.refuse(delete(&harness), 409, "role_in_use").await.json()["usedBy"].clone();
    let expected =
        json!([{ "serviceAccountId": holder.id, "serviceAccountName": "Holder", "keyId": key.id }]);
    assert_eq!(used_by, expected);
    // An expired key does not count.
    harness.clock.advance_days(1);
    let _ = delete(&harness).send().await.expect(204);
}

#[tokio::test]
async fn names_the_first_twenty_users_and_counts_all_409() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let narrow = json!({ "name": "k", "role": "Auditor" });
    for number in 0..8 {
        let account = harness.create_account(&format!("batch {number}"), "Auditor").await;
        harness.issue_key_with(&account, &narrow).await;
        harness.issue_key_with(&account, &narrow).await;
    }
    let refused = harness.refuse(delete(&harness), 409, "role_in_use").await.json();
    let named = refused["usedBy"].as_array().unwrap();
    assert_eq!((named.len(), &named[18]["serviceAccountName"]), (20, &json!("batch 6")));
    assert!(refused["detail"].as_str().unwrap().starts_with("24 service accounts, keys and"), "{refused}");
}

#[tokio::test]
async fn checks_every_page_of_accounts_409() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    for number in 0..3 {
        harness.create_account(&format!("batch {number}"), "ServiceAccountReader").await;
    }
    harness.create_account("the last", "Auditor").await;
    // DynamoDB ends a page at 1 MB. Instead of creating so many accounts, the test replaces
    // the first page with an empty one.
    let first = harness.table.items("ACCOUNT#").await.remove(0);
    let text = |name: &str| json!({ "S": first[name].as_s().unwrap() });
    let key = json!({
        "pk": text("pk"), "sk": text("sk"), "gsi1pk": text("gsi1pk"), "gsi1sk": { "S": "batch 0" },
    });
    let empty = json!({ "Items": [], "Count": 0, "ScannedCount": 1, "LastEvaluatedKey": key });
    harness.wire.intercept(move |call| {
        let is_first = call.operation == "Query" && call.body["ExclusiveStartKey"].is_null();
        if is_first { Action::ReplaceBody(empty.to_string()) } else { Action::Pass }
    });
    harness.refuse(delete(&harness), 409, "role_in_use").await;
}

/// Index items of accounts, with the attributes that a check reads, and a
/// description to give them a typical size.
async fn many_accounts(harness: &Harness, number: u32) {
    let account = |number: u32| {
        let name = format!("batch {number:05}");
        let texts = [
            ("pk", format!("ACCOUNT#sa_{number:016}")),
            ("sk", "ACCOUNT".to_owned()),
            ("gsi1pk", "ACCOUNTS".to_owned()),
            ("gsi1sk", name.clone()),
            ("name", name),
            ("role", "ServiceAccountReader".to_owned()),
            ("description", "d".repeat(256)),
        ];
        let texts = texts.map(|(name, text)| (name.to_owned(), AttributeValue::S(text)));
        let keys = ("keys".to_owned(), AttributeValue::M(Item::new()));
        let enabled = ("enabled".to_owned(), AttributeValue::Bool(true));
        texts.into_iter().chain([keys, enabled]).collect::<Item>()
    };
    harness.table.put_all(&(0..number).map(account).collect::<Vec<_>>()).await;
}

/// The number of queries of the index since the last call. Checks that each reads
/// only the attributes that show whether an account uses a role.
fn account_queries(harness: &Harness) -> usize {
    let mut calls = harness.wire.take_calls();
    calls.retain(|call| call.operation == "Query");
    for Call { body, .. } in &calls {
        assert_eq!(body["IndexName"], "gsi1");
        assert_eq!(body["Select"], "SPECIFIC_ATTRIBUTES");
        let mut read: Vec<&str> = body["ProjectionExpression"].as_str().unwrap().split(',').collect();
        read.sort_unstable();
        assert_eq!(read, ["#enabled", "#keys", "#name", "#pk", "#role"]);
    }
    calls.len()
}

#[tokio::test]
async fn checks_twenty_thousand_accounts_in_one_request_or_returns_a_cursor() {
    const ACCOUNTS: u32 = 20_000;
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    many_accounts(&harness, ACCOUNTS).await;
    let last = harness.create_account("the last", "ServiceAccountReader").await;
    let narrow = harness.issue_key_with(&last, &json!({ "name": "k", "role": "Auditor" })).await;
    harness.wire.take_calls();

    // A page takes three seconds, and a check has six. The first request that
    // reaches the user of the role names it.
    let clock = Arc::clone(&harness.clock);
    harness.wire.intercept(move |call| {
        if call.operation == "Query" {
            clock.advance_seconds(3);
        }
        Action::Pass
    });
    let refused = harness.refuse(delete(&harness), 409, "role_check_incomplete").await;
    let mut queries = account_queries(&harness);
    assert_eq!(queries, 2);
    let mut cursor = refused.json()["nextCursor"].as_str().unwrap().to_owned();
    let used_by = loop {
        let reply = delete(&harness).query(&format!("cursor={cursor}")).send().await.expect(409);
        queries += account_queries(&harness);
        let reply = reply.json();
        let Some(next) = reply["nextCursor"].as_str() else { break reply["usedBy"].clone() };
        assert_ne!(next, cursor, "each request makes progress");
        next.clone_into(&mut cursor);
    };
    assert_eq!(used_by[0]["keyId"], narrow.id);
    assert_eq!(used_by.as_array().unwrap().len(), 1);

    // Once no key has the role, the request that reaches the last account deletes it.
    let _ = harness.revoke(&narrow).await.expect(204);
    harness.wire.take_calls();
    let _ = delete(&harness).query(&format!("cursor={cursor}")).send().await.expect(204);
    assert!(account_queries(&harness) <= 2);

    // Without delays, one request checks all accounts.
    harness.wire.pass_all();
    harness.put_role("Auditor", &["GET /reports"]).await;
    harness.wire.take_calls();
    let _ = delete(&harness).send().await.expect(204);
    // The revoked key made the accounts smaller, which can save a query.
    let saved = queries - account_queries(&harness);
    assert!(saved <= 1, "{saved}");
    harness.refuse(harness.request("GET", PATH).admin(), 404, "role_not_found").await;
}

#[tokio::test]
async fn stops_after_a_hundred_queries_409() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let key = json!({
        "pk": { "S": format!("ACCOUNT#{}", account.id) }, "sk": { "S": "ACCOUNT" },
        "gsi1pk": { "S": "ACCOUNTS" }, "gsi1sk": { "S": "batch" },
    });
    // An index of endless pages.
    let item = json!({
        "pk": { "S": format!("ACCOUNT#{}", account.id) }, "name": { "S": "Batch" },
        "role": { "S": "ServiceAccountReader" }, "keys": { "M": {} },
    });
    let page = json!({ "Items": [item], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": key });
    inject(&harness, "Query", Action::ReplaceBody(page.to_string()));
    harness.wire.take_calls();
    let refused = harness.refuse(delete(&harness), 409, "role_check_incomplete").await;
    assert_eq!(account_queries(&harness), 100);
    assert_json_snapshot!(refused.snapshot());
    harness.wire.pass_all();
    let _ = harness.get(PATH).await.expect(200);
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    // The second query has the cursor of a list of roles.
    for query in ["cursor=x", "cursor=ckF1ZGl0b3I", "cursor=", "after=1", "cursor"] {
        harness.refuse(delete(&harness).query(query), 400, "malformed_request").await;
    }
    let _ = harness.get(PATH).await.expect(200);
}

#[tokio::test]
async fn keys_are_denied_after_their_role_was_deleted_because_of_a_stale_index() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /organizations/{id}"]).await;
    let (_, key) = harness.account_with_key("Batch", "Auditor").await;
    let wide = harness.create_account("Wide", "ServiceAccountAdmin").await;
    let narrow = harness.issue_key_with(&wide, &json!({ "name": "k", "role": "Auditor" })).await;
    for secret in [&key.secret, &narrow.secret] {
        assert_eq!(harness.check(secret).await, 200);
    }
    harness.wire.intercept(stale_index);
    let _ = delete(&harness).send().await.expect(204);
    harness.wire.pass_all();
    for secret in [&key.secret, &narrow.secret] {
        assert_eq!(harness.check(secret).await, 403);
    }
}

#[tokio::test]
async fn built_in_role_409() {
    let harness = Harness::start().await;
    for name in
        ["ServiceAccountAdmin", "ServiceAccountWriter", "ServiceAccountReader", "serviceaccountreader"]
    {
        let request = harness.request("DELETE", &format!("/iam/v1/roles/{name}")).admin();
        harness.refuse(request, 409, "role_built_in").await;
    }
}

#[tokio::test]
async fn unknown_role_404() {
    let harness = Harness::start().await;
    harness.put_role("auditor", &["GET /reports"]).await;
    assert_json_snapshot!(harness.refuse(delete(&harness), 404, "role_not_found").await.snapshot());
    harness.refuse(delete(&harness).if_match("*"), 404, "role_not_found").await;
}

#[tokio::test]
async fn if_match_204_412() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let first = harness.get(PATH).await.headers["etag"].clone();
    harness.put_role("Auditor", &["GET /teams"]).await;
    harness.refuse(delete(&harness).if_match(&first), 412, "precondition_failed").await;
    let second = harness.get(PATH).await.headers["etag"].clone();
    let _ = delete(&harness).if_match(&second).send().await.expect(204);
}

#[tokio::test]
async fn deletes_a_malformed_role_204() {
    for attribute in ["permissions", "version", "createdBy"] {
        let harness = Harness::start().await;
        harness.put_role("Auditor", &["GET /reports"]).await;
        let account = harness.create_account("batch", "Auditor").await;
        harness.table.tamper_role("Auditor", |item| drop(item.remove(attribute))).await;
        harness.clock.advance_seconds(1);
        harness.refuse(delete(&harness), 409, "role_in_use").await;
        changes::delete(&harness, &account).await;
        harness.refuse(delete(&harness).if_match("\"1\""), 412, "precondition_failed").await;
        let _ = delete(&harness).send().await.expect(204);
        assert_eq!(harness.table.get("ROLE#Auditor", "ROLE").await, None);
        harness.refuse(delete(&harness), 404, "role_not_found").await;
        let events = harness.table.items("EVENTS#ROLE#").await;
        assert_eq!(events.last().unwrap()["type"].as_s().unwrap(), "role.deleted", "{attribute}");
    }
}
