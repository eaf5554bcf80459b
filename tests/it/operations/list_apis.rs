//! `GET /iam/v1/apis`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::Harness;

use crate::support::apis::{api, api_with};

#[tokio::test]
async fn lists_all_apis_by_name_without_their_tools_200() {
    let harness = Harness::start().await;
    assert_eq!(harness.get("/iam/v1/apis").await.json(), json!({ "items": [] }));
    for name in ["teams", "deleted", "a-2", "b"] {
        let _ = harness.put_api(name, &api_with("title", name.into())).await;
    }
    let _ = harness.request("DELETE", "/iam/v1/apis/deleted").admin().send().await.expect(204);
    let list = harness.get("/iam/v1/apis").await;
    assert_json_snapshot!(list.snapshot());
    let mut shown = harness.get("/iam/v1/apis/teams").await.json();
    for member in ["tools", "skipped"] {
        shown.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(list.json()["items"][2], shown);
}

#[tokio::test]
async fn a_malformed_api_hides_no_other_200() {
    let harness = Harness::start().await;
    for name in ["a", "b"] {
        let _ = harness.put_api(name, &api()).await;
    }
    let mut item = harness.table.get("API#a", "API").await.unwrap();
    item.remove("build");
    harness.table.put(item).await;
    let list = harness.get("/iam/v1/apis").await.json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["b"]);
}
