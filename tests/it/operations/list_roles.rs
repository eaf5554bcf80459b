//! `GET /iam/v1/roles`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, Harness};

use crate::support::faults::inject;
use crate::support::lists;

const PATH: &str = "/iam/v1/roles";

fn names(items: &[Value]) -> Vec<&str> {
    items.iter().map(|role| role["name"].as_str().unwrap()).collect()
}

async fn first_page(harness: &Harness, query: &str) -> Vec<Value> {
    harness.get(&format!("{PATH}?{query}")).await.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn lists_only_built_in_roles_by_default_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn lists_built_in_and_custom_roles_ordered_by_name_200() {
    let harness = Harness::start().await;
    for name in ["Zebra", "auditor", "Auditor", "ServiceAccountHelper", "Z"] {
        harness.put_role(name, &["GET /reports"]).await;
    }
    let expected = [
        "Auditor",
        "ServiceAccountAdmin",
        "ServiceAccountHelper",
        "ServiceAccountReader",
        "ServiceAccountWriter",
        "Z",
        "Zebra",
        "auditor",
    ];
    for limit in 1..=9 {
        let pages = lists::pages(&harness, &format!("{PATH}?limit={limit}")).await;
        assert_eq!(names(&pages.concat()), expected, "{limit} per page");
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit), "{pages:?}");
        assert!(!pages.last().unwrap().is_empty(), "{pages:?}");
    }
}

#[tokio::test]
async fn lists_a_custom_role_until_its_deletion() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports", "ANY /audits/{proxy+}"]).await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let role = harness.get("/iam/v1/roles/Auditor").await.json();
    let page = harness.get(&format!("{PATH}?limit=1")).await.json();
    assert_eq!(page["items"], json!([role]));
    let _ = harness.request("DELETE", "/iam/v1/roles/Auditor").admin().send().await.expect(204);
    // The cursor still works, although its role has been deleted.
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(first_page(&harness, &format!("cursor={cursor}")).await.len(), 3);
    assert_eq!(lists::pages(&harness, &format!("{PATH}?limit=100")).await.concat().len(), 3);
}

#[tokio::test]
async fn a_page_can_take_several_queries_200() {
    let harness = Harness::start().await;
    // Forty of the longest roles are more than the 1 MB at which a query stops.
    let mut expected = Vec::new();
    for role in 0..48 {
        let longest = |number: usize| format!("GET /{role:02}{number:03}{}", "a".repeat(246));
        let permissions: Vec<String> = (0..100).map(longest).collect();
        let name = format!("Role{role:02}");
        harness.put_role(&name, &permissions.iter().map(String::as_str).collect::<Vec<_>>()).await;
        expected.push(name);
    }
    harness.wire.take_calls();
    assert_eq!(names(&first_page(&harness, "limit=48").await), expected);
    let queries = harness.wire.take_operations();
    assert!(queries.iter().filter(|operation| *operation == "Query").count() > 1, "{queries:?}");
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    for name in ["a", "b"] {
        harness.create_account(name, "ServiceAccountReader").await;
    }
    let account_cursor = lists::cursor(&harness, "/iam/v1/service-accounts").await;
    // The last cursor is `r` and an invalid role name.
    let queries = ["limit=0", "limit=101", "prefix=a", "cursor=x", &account_cursor, "cursor=cjE"];
    assert_json_snapshot!(lists::refuse_queries(&harness, PATH, &queries).await);
}

#[tokio::test]
async fn malformed_role_500() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let malformed = json!({ "Items": [{ "pk": { "S": "ROLE#Auditor" } }], "Count": 1, "ScannedCount": 1 });
    inject(&harness, "Query", Action::ReplaceBody(malformed.to_string()));
    let request = harness.request("GET", PATH).admin();
    let _ = request.send().await.expect_problem(500, "internal_error");
}
