//! `GET /iam/v1/roles`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, Harness};

const PATH: &str = "/iam/v1/roles";

fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|role| role["name"].as_str().unwrap().to_owned()).collect()
}

/// The names on each page.
async fn pages(harness: &Harness, limit: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut path = format!("{PATH}?limit={limit}");
    loop {
        let page = harness.get(&path).await.json();
        pages.push(names(&page));
        let Some(cursor) = page["nextCursor"].as_str() else { return pages };
        path = format!("{PATH}?limit={limit}&cursor={cursor}");
    }
}

#[tokio::test]
async fn lists_built_in_roles_where_there_are_no_others_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn lists_built_in_and_custom_roles_in_the_order_of_their_names_200() {
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
        let pages = pages(&harness, limit).await;
        assert_eq!(pages.concat(), expected, "by {limit}");
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit), "{pages:?}");
        assert!(!pages.last().unwrap().is_empty(), "{pages:?}");
    }
}

#[tokio::test]
async fn shows_a_custom_role_as_get_does_and_no_longer_once_it_is_deleted() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports", "ANY /audits/{proxy+}"]).await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let role = harness.get("/iam/v1/roles/Auditor").await.json();
    let page = harness.get(&format!("{PATH}?limit=1")).await.json();
    assert_eq!(page["items"], json!([role]));
    let _ = harness.request("DELETE", "/iam/v1/roles/Auditor").admin().send().await.expect(204);
    // The page after goes on, though the role that it goes on from is gone.
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(names(&harness.get(&format!("{PATH}?cursor={cursor}")).await.json()).len(), 3);
    assert_eq!(pages(&harness, 100).await.concat().len(), 3);
}

#[tokio::test]
async fn goes_on_where_a_query_stops_early_200() {
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
    let page = harness.get(&format!("{PATH}?limit=48")).await.json();
    assert_eq!(names(&page), expected);
    let queries = harness.wire.take_operations();
    assert!(queries.iter().filter(|operation| *operation == "Query").count() > 1, "{queries:?}");
}

#[tokio::test]
async fn refuses_bad_queries_400() {
    let harness = Harness::start().await;
    let account = harness.create_account("a", "ServiceAccountReader").await;
    harness.create_account("b", "ServiceAccountReader").await;
    let _ = account;
    let accounts = harness.get("/iam/v1/service-accounts?limit=1").await.json();
    let of_accounts = format!("cursor={}", accounts["nextCursor"].as_str().unwrap());
    let mut answers = Vec::new();
    // The last one is `r` and a name that none can have.
    for query in ["limit=0", "limit=101", "prefix=a", "cursor=x", &of_accounts, "cursor=cjE"] {
        let request = harness.request("GET", &format!("{PATH}?{query}")).admin();
        let refused = harness.refuse(request, 400, "malformed_request").await;
        answers.push(json!({ query: refused.json()["detail"] }));
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn a_role_that_is_not_well_formed_is_told_500() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    harness.wire.disturb(|call| {
        let empty = json!({ "Items": [{ "pk": { "S": "ROLE#Auditor" } }], "Count": 1, "ScannedCount": 1 });
        if call.operation == "Query" { Action::Replace(empty.to_string()) } else { Action::Pass }
    });
    let request = harness.request("GET", PATH).admin();
    let _ = request.send().await.expect_problem(500, "internal_error");
}
