//! `GET /iam/v1/apis/{name}`

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, Harness};

use crate::support::apis::{api, api_with};

#[tokio::test]
async fn unknown_and_deleted_apis_404() {
    let harness = Harness::start().await;
    let _ = harness.put_api("teams", &api()).await;
    let get = |name: &str| harness.request("GET", &format!("/iam/v1/apis/{name}")).admin();
    assert_json_snapshot!(harness.refuse(get("other"), 404, "api_not_found").await.snapshot());
    let _ = harness.request("DELETE", "/iam/v1/apis/teams").admin().send().await.expect(204);
    harness.refuse(get("teams"), 404, "api_not_found").await;
}

#[tokio::test]
async fn returns_an_api_as_it_was_put_200() {
    let harness = Harness::start().await;
    let put = harness.put_api("teams", &api_with("exclude", ["GET /teams"].as_slice().into())).await;
    let get = harness.get("/iam/v1/apis/teams").await;
    assert_eq!((get.json(), &get.headers["etag"]), (put.json(), &put.headers["etag"]));
    assert_eq!(get.json()["tools"][0]["name"], "deleteTeam");
}

/// The tools of a build are deleted soon after the API has another build.
#[tokio::test]
async fn an_api_that_changes_while_it_is_read_is_read_again_200() {
    let harness = Harness::start().await;
    let _ = harness.put_api("teams", &api()).await;
    let old = harness.table.get("API#teams", "API").await.unwrap();
    let put = harness.put_api("teams", &api_with("title", "Changed".into())).await;
    // The first read returns the API as it was before the change.
    let stale = json!({ "Item": local_json(&old) }).to_string();
    let reads = std::sync::atomic::AtomicUsize::new(0);
    harness.wire.intercept(move |call| {
        let is_api = call.operation == "GetItem" && call.body["Key"]["sk"]["S"] == "API";
        if is_api && reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            Action::ReplaceBody(stale.clone())
        } else {
            Action::Pass
        }
    });
    assert_eq!(harness.get("/iam/v1/apis/teams").await.json(), put.json());
}

/// An item in `DynamoDB`'s JSON.
fn local_json(item: &tests::Item) -> Value {
    fn value(attribute: &AttributeValue) -> Value {
        match attribute {
            AttributeValue::S(text) => json!({ "S": text }),
            AttributeValue::N(number) => json!({ "N": number }),
            AttributeValue::L(list) => json!({ "L": list.iter().map(value).collect::<Vec<_>>() }),
            AttributeValue::M(map) => json!({ "M": local_json(map) }),
            AttributeValue::B(_)
            | AttributeValue::Bool(_)
            | AttributeValue::Bs(_)
            | AttributeValue::Ns(_)
            | AttributeValue::Null(_)
            | AttributeValue::Ss(_)
            | _ => panic!("an API has no attribute like {attribute:?}"),
        }
    }
    item.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

#[tokio::test]
async fn an_api_without_its_tools_500() {
    let harness = Harness::start().await;
    let _ = harness.put_api("teams", &api()).await;
    let items = harness.table.items("API#teams").await;
    let tools =
        items.iter().map(|item| item["sk"].as_s().unwrap()).find(|key| key.contains("TOOLS")).unwrap();
    harness.table.delete("API#teams", tools).await;
    harness.refuse(harness.request("GET", "/iam/v1/apis/teams").admin(), 500, "internal_error").await;
    // An admin can still replace the API.
    let _ = harness.put_api("teams", &api_with("title", "Repaired".into())).await;
    assert_eq!(harness.get("/iam/v1/apis/teams").await.json()["title"], "Repaired");
}
