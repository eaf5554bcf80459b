//! `POST /iam/v1/service-accounts`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::Harness;

const PATH: &str = "/iam/v1/service-accounts";

#[tokio::test]
async fn creates_an_account_201() {
    let harness = Harness::start().await;
    let body = json!({
        "name": "  Nightly batch ", "role": "ServiceAccountWriter", "description": "Loads orders",
        "owner": "data-team@example.com", "tags": { "cost-centre": "42" },
    });
    let created = harness.request("POST", PATH).admin().json(&body).send().await;
    assert_json_snapshot!(created.snapshot());
    let location = created.headers["location"].clone();
    let read = harness.request("GET", &location).admin().send().await.expect(200);
    assert_eq!(read.json()["name"], "Nightly batch");
    assert_eq!(read.headers["etag"], created.headers["etag"]);
}

#[tokio::test]
async fn refuses_a_taken_name_whatever_its_case_409() {
    let harness = Harness::start().await;
    harness.create_account("Batch", "ServiceAccountReader").await;
    let body = json!({ "name": " bATCH", "role": "ServiceAccountReader" });
    let refused = harness.request("POST", PATH).admin().json(&body).send().await;
    assert_json_snapshot!(refused.snapshot());
}
