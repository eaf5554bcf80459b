//! `GET /iam/v1/issuers`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::Harness;

#[tokio::test]
async fn lists_all_issuers_by_name_200() {
    let harness = Harness::start().await;
    let empty = harness.get("/iam/v1/issuers").await;
    assert_json_snapshot!(empty.snapshot());
    harness.trust_github().await;
    for name in ["corp", "Z", "deleted", "b.2"] {
        let _ = harness.put_issuer(name, &json!({ "issuer": "https://id.example.com" })).await;
    }
    let _ = harness.request("DELETE", "/iam/v1/issuers/deleted").admin().send().await.expect(204);
    let list = harness.get("/iam/v1/issuers").await.json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["Z", "b.2", "corp", "github"]);
    assert_eq!(list["items"][3], harness.get("/iam/v1/issuers/github").await.json());
}

#[tokio::test]
async fn a_malformed_issuer_hides_no_other_200() {
    let harness = Harness::start().await;
    harness.trust_github().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let mut item = harness.table.get("ISSUERS", "corp").await.unwrap();
    item.remove("algorithms");
    harness.table.put(item).await;
    let list = harness.get("/iam/v1/issuers").await.json();
    assert_eq!(list["items"], json!([harness.get("/iam/v1/issuers/github").await.json()]));
}
