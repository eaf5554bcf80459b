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
async fn built_in_roles_use_the_configured_prefixes_200() {
    let harness = Harness::builder().variable("KEYWARD_DATA_PREFIXES", "/orders").start().await;
    let mut responses = Vec::new();
    for name in ["ServiceAccountAdmin", "ServiceAccountWriter", "ServiceAccountReader"] {
        responses.push(harness.get(&format!("/iam/v1/roles/{name}")).await.snapshot());
    }
    assert_json_snapshot!(responses);
}

#[tokio::test]
async fn unknown_role_404() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    for name in ["auditor", "serviceaccountreader", "explain"] {
        let request = harness.request("GET", &format!("/iam/v1/roles/{name}")).admin();
        harness.refuse(request, 404, "role_not_found").await;
    }
    let request = harness.request("GET", "/iam/v1/roles/Unheard-of").admin();
    assert_json_snapshot!(harness.refuse(request, 404, "role_not_found").await.snapshot());
}
