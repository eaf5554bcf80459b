//! `DELETE /iam/v1/issuers/{name}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Harness, RequestBuilder};

use crate::support::bad_input;

fn delete<'a>(harness: &'a Harness, name: &str) -> RequestBuilder<'a> {
    harness.request("DELETE", &format!("/iam/v1/issuers/{name}")).admin()
}

#[tokio::test]
async fn keeps_only_the_name_and_the_url_204() {
    let harness = Harness::start().await;
    harness.trust_github().await;
    harness.clock.advance_seconds(60);
    assert_json_snapshot!(delete(&harness, "github").send().await.snapshot());
    let item = harness.table.get("ISSUERS", "github").await.unwrap();
    let mut names: Vec<_> = item.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["deletedAt", "deletedBy", "issuer", "pk", "sk", "version"]);
}

#[tokio::test]
async fn an_issuer_that_is_registered_again_has_another_id() {
    let harness = Harness::start().await;
    harness.trust_github().await;
    let first = harness.table.get("ISSUERS", "github").await.unwrap();
    let _ = delete(&harness, "github").send().await.expect(204);
    harness.clock.advance_seconds(60);
    harness.trust_github().await;
    let second = harness.table.get("ISSUERS", "github").await.unwrap();
    assert_ne!(first["id"], second["id"]);
    assert_ne!(first["seal"], second["seal"]);
    assert_eq!(harness.get("/iam/v1/issuers/github").await.json()["createdAt"], "2026-01-01T00:01:00Z");
}

#[tokio::test]
async fn federated_identities_stay_and_show_that_their_issuer_was_deleted() {
    let harness = Harness::start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
    harness.add_identity(&account, &body).await;
    let state = async || harness.get(&account.path()).await.json()["federatedIdentities"][0]["state"].clone();
    assert_eq!(state().await, "active");
    let _ = delete(&harness, "corp").send().await.expect(204);
    assert_eq!(state().await, "issuerDeleted");
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    assert_eq!(state().await, "active");
}

#[tokio::test]
async fn unknown_and_deleted_issuers_404() {
    let harness = Harness::start().await;
    harness.trust_github().await;
    let _ = delete(&harness, "github").send().await.expect(204);
    for name in ["github", "other"] {
        harness.refuse(delete(&harness, name), 404, "issuer_not_found").await;
    }
}

#[tokio::test]
async fn only_the_version_in_if_match_is_deleted_204_400_412() {
    let harness = Harness::start().await;
    harness.trust_github().await;
    let tag = harness.get("/iam/v1/issuers/github").await.headers["etag"].clone();
    bad_input::refuses_bad_if_match(&harness, || delete(&harness, "github"), &tag).await;
    let _ = delete(&harness, "github").if_match(&tag).send().await.expect(204);
}
