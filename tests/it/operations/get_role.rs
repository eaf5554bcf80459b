//! `GET /iam/v1/roles/{name}`

use insta::assert_json_snapshot;
use tests::Harness;

#[tokio::test]
async fn shows_a_custom_role_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports/{id}", "ANY /audits/{proxy+}"]).await;
    assert_json_snapshot!(harness.get("/iam/v1/roles/Auditor").await.snapshot());
}

#[tokio::test]
async fn reads_consistently() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    harness.wire.take_calls();
    harness.get("/iam/v1/roles/Auditor").await;
    harness.put_role("Auditor", &["GET /teams"]).await;
    for call in harness.wire.take_calls().iter().filter(|call| call.operation == "GetItem") {
        assert_eq!(call.body["ConsistentRead"], true, "{call:?}");
    }
}

#[tokio::test]
async fn shows_what_built_in_roles_permit_in_this_deployment_200() {
    let harness = Harness::builder().variable("KEYWARD_DATA_PREFIXES", "/orders").start().await;
    let mut answers = Vec::new();
    for name in ["ServiceAccountAdmin", "ServiceAccountWriter", "ServiceAccountReader"] {
        answers.push(harness.get(&format!("/iam/v1/roles/{name}")).await.snapshot());
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn knows_no_other_role_404() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    for name in ["auditor", "serviceaccountreader", "explain"] {
        let request = harness.request("GET", &format!("/iam/v1/roles/{name}")).admin();
        harness.refuse(request, 404, "role_not_found").await;
    }
    let request = harness.request("GET", "/iam/v1/roles/Unheard-of").admin();
    assert_json_snapshot!(harness.refuse(request, 404, "role_not_found").await.snapshot());
}

#[tokio::test]
async fn refuses_malformed_names_400() {
    let harness = Harness::start().await;
    let long = "x".repeat(65);
    for name in ["1st", "-", &long] {
        let request = harness.request("GET", &format!("/iam/v1/roles/{name}")).admin();
        harness.refuse(request, 400, "malformed_id").await;
    }
}
