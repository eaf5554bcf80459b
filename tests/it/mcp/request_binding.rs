//! The API cannot use the request token for anything but the request that it came with.

use serde_json::{Value, json};
use tests::{API_ID, Harness, Shape, Verdict};

use crate::support::agent::{Agent, document, register_with};
use crate::support::scripted_server::{Script, ScriptedServer, ok};

/// The authorizer's verdict on a request with this token at an API.
async fn verdict(harness: &Harness, api: &str, method: &str, path: &str, token: &str) -> Verdict {
    let event = Shape::HttpV2.request(method, path, token).to_string().replace(API_ID, api);
    let event: Value = serde_json::from_str(&event).unwrap();
    harness.verdict(&event).await
}

#[tokio::test]
async fn a_request_token_cannot_be_replayed_at_another_api_path_or_method_or_later() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let harness = Harness::start().await;
    let body = json!({
        "title": "Teams", "baseUrl": server.url, "apiId": "thisapi", "openapi": document(),
        "routePrefix": "/prod",
    });
    register_with(&harness, &body).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    let agent = Agent::new(&harness, &key);
    assert!(!agent.call("get_organization", &json!({ "id": "a b" })).await.called().1);
    let request = server.take_request();
    let token = request.split("authorization: Bearer ").nth(1).unwrap().lines().next().unwrap();
    let verdict =
        async |api: &str, method: &str, path: &str| verdict(&harness, api, method, path, token).await;
    // HTTP APIs decode the path of the ARN, and REST APIs do not.
    for path in ["/prod/organizations/a%20b", "/prod/organizations/a b"] {
        assert_eq!(verdict("thisapi", "GET", path).await, Verdict::Allow, "{path}");
    }
    for (api, method, path) in [
        ("otherapi", "GET", "/prod/organizations/a b"),
        ("thisapi", "DELETE", "/prod/organizations/a b"),
        ("thisapi", "GET", "/prod/organizations/a"),
        ("thisapi", "GET", "/prod/organizations"),
        ("thisapi", "GET", "/organizations/a b"),
        ("thisapi", "GET", "/iam/v1/whoami"),
    ] {
        assert_ne!(verdict(api, method, path).await, Verdict::Allow, "{api} {method} {path}");
    }
    // Neither at the MCP server nor at the token endpoint.
    assert_eq!(Agent::with_credential(&harness, token).ask("tools/list", &json!({})).await.status, 401);
    let exchanged = tests::workload::exchange(&harness, tests::workload::TOKEN_TYPE, token, &[]).await;
    assert_eq!(exchanged.status, 400);
    harness.clock.advance_seconds(60);
    assert_ne!(verdict("thisapi", "GET", "/prod/organizations/a b").await, Verdict::Allow);
}
