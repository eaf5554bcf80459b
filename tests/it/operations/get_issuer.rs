//! `GET /iam/v1/issuers/{name}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::Harness;

#[tokio::test]
async fn unknown_and_deleted_issuers_404() {
    let harness = Harness::start().await;
    harness.trust_github().await;
    let get = |name: &str| harness.request("GET", &format!("/iam/v1/issuers/{name}")).admin();
    assert_json_snapshot!(harness.refuse(get("GitHub"), 404, "issuer_not_found").await.snapshot());
    let _ = harness.request("DELETE", "/iam/v1/issuers/github").admin().send().await.expect(204);
    harness.refuse(get("github"), 404, "issuer_not_found").await;
}

#[tokio::test]
async fn returns_an_issuer_as_it_was_put_200() {
    let harness = Harness::start().await;
    let body = json!({ "issuer": "https://id.example.com", "jwksUri": "https://keys.example.com/set" });
    let put = harness.put_issuer("corp", &body).await;
    let get = harness.get("/iam/v1/issuers/corp").await;
    assert_eq!((get.json(), &get.headers["etag"]), (put.json(), &put.headers["etag"]));
}
