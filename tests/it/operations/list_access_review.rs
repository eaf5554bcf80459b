//! `GET /iam/v1/access-review`

use std::collections::BTreeMap;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Action, Harness, Key, Shape, Verdict};

use crate::support::lists::{pages, refuse_queries};

const PATH: &str = "/iam/v1/access-review";

async fn review(harness: &Harness, account: &Account, decision: &str) {
    let request = harness.request("POST", &format!("{}/reviews", account.path())).admin();
    let _ = request.json(&json!({ "decision": decision, "note": "checked" })).send().await.expect(201);
}

async fn use_route(harness: &Harness, key: &Key, method: &str, path: &str, route: &str) {
    let mut event = Shape::HttpV2.request(method, path, &key.secret);
    event["routeKey"] = route.into();
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}

/// The names on each page of a filtered list.
async fn names(harness: &Harness, query: &str) -> Vec<Vec<String>> {
    let pages = pages(harness, &format!("{PATH}?{query}")).await;
    let names = |page: Vec<Value>| {
        page.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    pages.into_iter().map(names).collect()
}

#[tokio::test]
async fn lists_accounts_with_what_a_review_needs_to_know_200() {
    let harness = Harness::start().await;
    harness.put_role("Custom", &["GET /teams", "PUT /teams/{id}", "GET /organizations"]).await;
    let batch = harness.create_account("batch", "Custom").await;
    let key = harness.issue_key_with(&batch, &json!({ "name": "k", "expiresInDays": 30 })).await;
    use_route(&harness, &key, "GET", "/teams", "GET /teams").await;
    harness.create_account("idle", "ServiceAccountReader").await;
    harness.clock.advance_days(1);
    review(&harness, &batch, "narrow").await;
    harness.clock.advance_days(1);
    review(&harness, &batch, "keep").await;
    let shown = harness.get(PATH).await;
    assert_json_snapshot!(shown.snapshot(), { ".body.items[].lastReview.id" => "[id]" });
}

#[tokio::test]
async fn the_number_of_unused_permissions_is_absent_if_routes_do_not_show_it() {
    let harness = Harness::start().await;
    let unused = async || harness.get(PATH).await.json()["items"][0]["unusedPermissionCount"].clone();
    harness.put_role("Custom", &["GET /teams", "GET /organizations"]).await;
    let account = harness.create_account("batch", "Custom").await;
    let key = harness.issue_key(&account).await;
    assert_eq!(unused().await, Value::Null, "no route was recorded");
    use_route(&harness, &key, "GET", "/teams", "GET /teams").await;
    assert_eq!(unused().await, 1);
    use_route(&harness, &key, "GET", "/organizations", "$default").await;
    assert_eq!(unused().await, Value::Null, "a route has no path");
    // A malformed role hides only the numbers.
    harness.table.tamper_role("Custom", |item| drop(item.remove("permissions"))).await;
    let shown = harness.get(PATH).await.json()["items"][0].clone();
    assert_eq!((&shown["name"], &shown["permissionCount"]), (&json!("batch"), &Value::Null));
}

#[tokio::test]
async fn lists_only_accounts_that_were_not_reviewed_since_an_instant() {
    let harness = Harness::start().await;
    let mut accounts = BTreeMap::new();
    for name in ["a", "b", "c", "d"] {
        accounts.insert(name, harness.create_account(name, "ServiceAccountReader").await);
    }
    review(&harness, &accounts["a"], "keep").await;
    harness.clock.advance_days(10);
    review(&harness, &accounts["c"], "keep").await;
    for (before, expected) in [
        ("2026-01-01T00:00:00Z", &["b", "d"][..]),
        ("2026-01-01T00:00:00.001Z", &["a", "b", "d"]),
        ("2026-01-11T00:00:00Z", &["a", "b", "d"]),
        ("2026-01-12T00:00:00%2B00:00", &["a", "b", "c", "d"]),
    ] {
        assert_eq!(names(&harness, &format!("reviewedBefore={before}")).await, [expected], "{before}");
        let pages = names(&harness, &format!("reviewedBefore={before}&limit=1")).await;
        assert_eq!(pages.concat(), expected, "{before}");
    }
    assert_eq!(names(&harness, "limit=3").await, [&["a", "b", "c"][..], &["d"]]);
}

#[tokio::test]
async fn a_page_checks_at_most_500_accounts() {
    let harness = Harness::start().await;
    let first = harness.create_account("account 000", "ServiceAccountReader").await;
    review(&harness, &first, "keep").await;
    let account = harness.table.account(&first.id).await;
    let latest = harness.table.get(&format!("REVIEW#{}", first.id), "REVIEW").await.unwrap();
    let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
    let mut items = Vec::new();
    for number in 1..=520 {
        let (id, name) = (format!("sa_{number:016}"), format!("account {number:03}"));
        let mut copy = account.clone();
        copy.insert("pk".to_owned(), text(format!("ACCOUNT#{id}")));
        copy.insert("name".to_owned(), text(name.clone()));
        copy.insert("gsi1sk".to_owned(), text(name));
        items.push(copy);
        if number < 510 {
            let mut review = latest.clone();
            review.insert("pk".to_owned(), text(format!("REVIEW#{id}")));
            items.push(review);
        }
    }
    harness.table.put_all(&items).await;
    harness.wire.take_calls();
    let path = format!("{PATH}?reviewedBefore=2026-01-01T00:00:00Z");
    let page = harness.get(&path).await.json();
    assert_eq!(page["items"], json!([]));
    // 5 queries for accounts, and one read of a review for each.
    assert_eq!(harness.wire.take_calls().len(), 505);
    let path = format!("{path}&cursor={}", page["nextCursor"].as_str().unwrap());
    let page = harness.get(&path).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 11);
    assert_eq!(page.get("nextCursor"), None);
}

#[tokio::test]
async fn a_page_makes_a_bounded_number_of_reads() {
    let harness = Harness::start().await;
    harness.put_role("Custom", &["GET /teams"]).await;
    for number in 0..6 {
        harness.create_account(&format!("account {number}"), "Custom").await;
    }
    harness.wire.take_calls();
    let page = harness.get(&format!("{PATH}?limit=5")).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 5);
    let mut operations = harness.wire.take_operations();
    operations.sort();
    // One query for the list. For each account, the review, the routes and the last uses. The
    // role is read once.
    assert_eq!(operations, [vec!["GetItem"; 6], vec!["Query"; 11]].concat());
    // A failed read gives no response, because it would claim that there was no review.
    harness.wire.intercept(|call| {
        let is_review = call.body.to_string().contains("REVIEW#");
        if is_review { Action::Refuse } else { Action::Pass }
    });
    harness.refuse(harness.request("GET", PATH).admin(), 503, "dependency_unavailable").await;
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    let queries = [
        "reviewedBefore=",
        "reviewedBefore=yesterday",
        "reviewedBefore=2026-01-01",
        "reviewedBefore=2026-01-01T00:00:00Z&reviewedBefore=2026-01-01T00:00:00Z",
        "limit=0",
        "cursor=x",
        "days=90",
    ];
    assert_json_snapshot!(refuse_queries(&harness, PATH, &queries).await);
}
