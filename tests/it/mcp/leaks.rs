//! The agent's credential is in no request to the API, no log line and no response.

use serde_json::json;
use tests::workload::{KEY_TYPE, exchange, token};
use tests::{Action, Harness, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::agent::{Agent, document, register_with};
use crate::support::scripted_server::{Script, ScriptedServer, ok};

#[tokio::test]
async fn the_credential_is_in_no_request_log_line_or_response() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let harness = Harness::start().await;
    let body = json!({ "title": "Teams", "baseUrl": server.url, "openapi": document() });
    register_with(&harness, &body).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    let of_key = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    for credential in [&key.secret, &of_key] {
        let secret = &credential[credential.len() - 40..];
        let logs = Logs::capture(LevelFilter::TRACE);
        let mut texts = Vec::new();
        let agent = Agent::with_credential(&harness, credential).that_can_ask();
        let call = json!({ "name": "get_organization", "arguments": { "id": "42" } });
        for method in ["server/discover", "tools/list", "ping", credential] {
            texts.push(agent.ask(method, &json!({})).await.text);
        }
        texts.push(agent.ask("tools/call", &call).await.text);
        texts.push(agent.ask_legacy("tools/call", &call).await.text);
        // In the place of everything that an error could repeat.
        for params in [
            json!({ "name": credential, "arguments": {} }),
            json!({ "name": "get_organization", "arguments": { "id": credential } }),
            json!({ "name": "get_organization", "arguments": { credential.as_str(): "x" } }),
            json!({ "name": "create_organization", "arguments": { "body": { "name": credential } } }),
            json!({ "name": "list_organizations", "arguments": { "limit": credential } }),
            json!({ "name": "delete_organization", "arguments": { "id": "1" }, "requestState": credential }),
        ] {
            texts.push(agent.ask("tools/call", &params).await.text);
        }
        texts.push(agent.ask("tools/list", &json!({ "cursor": credential })).await.text);
        let mut message = agent.message("tools/list", &json!({}));
        message["id"] = credential.as_str().into();
        for version in [credential, "2026-07-28"] {
            let headers = [("mcp-protocol-version", version), ("mcp-method", credential)];
            texts.push(agent.post(&headers, &message.to_string()).await.text);
        }
        for action in [Action::Refuse, Action::Respond(500, "{}".to_owned())] {
            harness.wire.intercept(move |_| action.clone());
            texts.push(agent.ask("tools/call", &call).await.text);
            harness.wire.pass_all();
        }
        for text in texts {
            assert!(!text.contains(secret), "{text}");
        }
        // The SDK logs its requests below INFO, which release builds leave out.
        let lines = logs.take_lines().into_iter();
        let lines: Vec<_> =
            lines.filter(|line| !line["target"].as_str().unwrap().starts_with("aws_")).collect();
        assert!(lines.iter().any(|line| line["message"] == "answered"));
        for line in lines {
            assert!(!line.to_string().contains(secret), "{line}");
        }
        let requests = server.take_requests();
        assert!(!requests.is_empty());
        for request in requests {
            assert!(!request.contains(secret), "{request}");
        }
    }
}

#[tokio::test]
async fn an_answer_with_the_request_token_does_not_show_the_token() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Echo);
    let harness = Harness::start().await;
    let body = json!({ "title": "Teams", "baseUrl": server.url, "openapi": document() });
    register_with(&harness, &body).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    let agent = Agent::new(&harness, &key);
    let (text, is_error) = agent.call("get_organization", &json!({ "id": "42" })).await.called();
    assert!(server.take_request().contains("Bearer kwst_"));
    assert!(!is_error && text.contains("Bearer [redacted]") && !text.contains("kwst_"), "{text}");
    server.set(|_| Script::EchoEscaped);
    let result = agent.call("get_organization", &json!({ "id": "42" })).await.result().to_string();
    assert_eq!(result.matches("Bearer [redacted]").count(), 4, "twice in each form: {result}");
    assert!(!result.contains("kwst_"), "{result}");
    server.set(|_| Script::RefuseEscaped);
    let (text, is_error) = agent.call("get_organization", &json!({ "id": "42" })).await.called();
    assert!(is_error && text.contains("Bearer [redacted]") && !text.contains("kwst_"), "{text}");
}
