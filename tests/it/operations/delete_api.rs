//! `DELETE /iam/v1/apis/{name}`

use insta::assert_json_snapshot;
use tests::{Harness, RequestBuilder};

use crate::support::apis::{api, api_with};
use crate::support::bad_input;

fn delete<'a>(harness: &'a Harness, name: &str) -> RequestBuilder<'a> {
    harness.request("DELETE", &format!("/iam/v1/apis/{name}")).admin()
}

#[tokio::test]
async fn deletes_the_api_with_its_tools_and_document_204() {
    let harness = Harness::start().await;
    for name in ["teams", "teams-2"] {
        let _ = harness.put_api(name, &api()).await;
    }
    let kept = harness.table.items("API#teams-2").await;
    assert_json_snapshot!(delete(&harness, "teams").send().await.snapshot());
    assert_eq!(harness.table.items("API#").await, kept);
}

#[tokio::test]
async fn unknown_and_deleted_apis_404() {
    let harness = Harness::start().await;
    let _ = harness.put_api("teams", &api()).await;
    let _ = delete(&harness, "teams").send().await.expect(204);
    for name in ["teams", "other"] {
        harness.refuse(delete(&harness, name), 404, "api_not_found").await;
    }
}

#[tokio::test]
async fn only_the_version_in_if_match_is_deleted_204_400_412() {
    let harness = Harness::start().await;
    let old = harness.put_api("teams", &api()).await.headers["etag"].clone();
    let tag = harness.put_api("teams", &api_with("title", "Other".into())).await.headers["etag"].clone();
    harness.refuse(delete(&harness, "teams").if_match(&old), 412, "precondition_failed").await;
    bad_input::refuses_bad_if_match(&harness, || delete(&harness, "teams"), &tag).await;
    let _ = delete(&harness, "teams").if_match(&tag).send().await.expect(204);
}
