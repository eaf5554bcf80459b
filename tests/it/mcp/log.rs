//! The log lines of requests.

use serde_json::{Value, json};
use tests::{Harness, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::agent::{Agent, document, register_with, send};
use crate::support::scripted_server::{Script, ScriptedServer, ok, with_body};

/// The only log line of the MCP server since the last call, without what differs in each run.
fn line(logs: &Logs) -> Value {
    let lines: Vec<Value> = logs
        .take_lines()
        .into_iter()
        .filter(|line| line["target"].as_str().unwrap().starts_with("mcp::"))
        .collect();
    let [mut line] = <[Value; 1]>::try_from(lines).expect("exactly one line");
    let members = line.as_object_mut().unwrap();
    for name in ["timestamp", "milliseconds", "request_id", "target"] {
        assert!(members.remove(name).is_some(), "{name}");
    }
    for name in ["account", "grant"] {
        if members.contains_key(name) {
            members.insert(name.to_owned(), format!("[{name}]").into());
        }
    }
    line
}

#[tokio::test]
async fn each_request_logs_one_line_with_its_outcome_and_no_arguments() {
    let server = ScriptedServer::start().await;
    let harness = Harness::start().await;
    let body = json!({ "title": "Teams", "baseUrl": server.url, "openapi": document() });
    register_with(&harness, &body).await;
    harness.put_role("agent", &["GET /organizations/{id}", "GET /organizations"]).await;
    let (_, key) = harness.account_with_key("Agent", "agent").await;
    let agent = Agent::new(&harness, &key);
    let logs = Logs::capture(LevelFilter::INFO);
    let mut lines = Vec::new();
    server.set(|_| Script::Send(ok("{}")));
    agent.ask("server/discover", &json!({})).await;
    lines.push(line(&logs));
    agent.ask("tools/list", &json!({})).await;
    lines.push(line(&logs));
    agent.call("get_organization", &json!({ "id": "canary" })).await;
    lines.push(line(&logs));
    server.set(|_| Script::Send(with_body("404 Not Found", "canary")));
    agent.call("get_organization", &json!({ "id": "canary" })).await;
    lines.push(line(&logs));
    server.set(|_| Script::Send(Vec::new()));
    agent.call("get_organization", &json!({ "id": "canary" })).await;
    lines.push(line(&logs));
    agent.call("delete_organization", &json!({ "id": "canary" })).await;
    lines.push(line(&logs));
    agent.call("get_organization", &json!({ "canary": "canary" })).await;
    lines.push(line(&logs));
    agent.call("canary", &json!({})).await;
    lines.push(line(&logs));
    agent.ask("canary", &json!({})).await;
    lines.push(line(&logs));
    send(&harness, "POST", "/mcp/canary", &[], "").await;
    lines.push(line(&logs));
    send(&harness, "GET", "/canary?canary=1", &[], "").await;
    lines.push(line(&logs));
    send(&harness, "GET", "/.well-known/oauth-protected-resource", &[], "").await;
    lines.push(line(&logs));
    let _ = harness.revoke(&key).await.expect(204);
    logs.take();
    agent.call("get_organization", &json!({ "id": "canary" })).await;
    lines.push(line(&logs));
    // The name of an API is not secret, and the one in a path without a credential is logged.
    let text = Value::from(lines.clone()).to_string().replace("\"api\":\"canary\"", "");
    assert!(!text.contains("canary"), "{text}");
    insta::assert_json_snapshot!(lines);
}
