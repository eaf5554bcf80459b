//! `GET /.well-known/oauth-authorization-server`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Event, Harness};

const PATH: &str = "/.well-known/oauth-authorization-server";

#[tokio::test]
async fn describes_the_token_endpoint_of_the_host_200() {
    let harness = Harness::start().await;
    let reply = harness.request("GET", PATH).send().await.expect(200);
    let api = &harness.system.facts().api;
    let mut snapshot = reply.snapshot();
    snapshot["body"] =
        serde_json::from_str(&snapshot["body"].to_string().replace(api, "http://api.example.com")).unwrap();
    assert_json_snapshot!(snapshot);
}

#[tokio::test]
async fn a_query_400() {
    let harness = Harness::start().await;
    let _ =
        harness.request("GET", &format!("{PATH}?x=1")).send().await.expect_problem(400, "malformed_request");
}

#[tokio::test]
async fn another_route_404() {
    let harness = Harness::start().await;
    let event =
        Event { route: "GET /iam/v1/other".to_owned(), parameters: json!({}), body: None, context: None };
    assert_eq!(harness.invoke("ExchangeToken", &event).await.status, 404);
}
