//! Paged lists.

use serde_json::{Value, json};
use tests::Harness;

/// The items on each page of the list at `path`, which has a query.
pub(crate) async fn pages(harness: &Harness, path: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = harness.get(&format!("{path}{cursor}")).await.json();
        pages.push(page["items"].as_array().unwrap().clone());
        match page.get("nextCursor") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
            None => return pages,
        }
    }
}

/// The query parameter that continues the list at `path` after its first item.
pub(crate) async fn cursor(harness: &Harness, path: &str) -> String {
    let page = harness.get(&format!("{path}?limit=1")).await.json();
    format!("cursor={}", page["nextCursor"].as_str().unwrap())
}

/// Checks that the list at `path` refuses each query. Returns each query with the detail of
/// its problem.
pub(crate) async fn refuse_queries(harness: &Harness, path: &str, queries: &[&str]) -> Vec<Value> {
    let mut details = Vec::new();
    for &query in queries {
        let request = harness.request("GET", path).query(query).admin();
        let refused = harness.refuse(request, 400, "malformed_request").await;
        details.push(json!({ query: refused.json()["detail"] }));
    }
    details
}
