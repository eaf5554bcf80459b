//! The methods of the protocol in both revisions, and the statuses of malformed requests.

use serde_json::{Value, json};
use tests::Harness;

use crate::support::agent::{API, Agent, LEGACY, MODERN, Response, register, send};

/// A system with the API, and an agent whose account is a Reader.
async fn start() -> (Harness, String) {
    let harness = Harness::start().await;
    register(&harness).await;
    let key = harness.reader_key().await;
    (harness, key.secret)
}

#[tokio::test]
async fn every_method_of_the_current_revision_has_its_result() {
    let (harness, key) = start().await;
    let agent = Agent::with_credential(&harness, &key);
    let discovered = agent.ask("server/discover", &json!({})).await;
    insta::assert_json_snapshot!("modern_discover", discovered.snapshot(&harness));
    let listed = agent.ask("tools/list", &json!({})).await;
    insta::assert_json_snapshot!("modern_list", listed.snapshot(&harness));
    let called = agent.call("get_organization", &json!({ "id": "42" })).await;
    let mut snapshot = called.snapshot(&harness);
    // The echo repeats all headers, and the snapshot of a call is elsewhere.
    let echoed = snapshot["body"]["result"]["structuredContent"].take();
    snapshot["body"]["result"]["content"][0]["text"].take();
    assert_eq!((&echoed["method"], &echoed["path"]), (&json!("GET"), &json!("/organizations/42")));
    insta::assert_json_snapshot!("modern_call", snapshot);
}

#[tokio::test]
async fn every_method_of_the_earlier_revision_has_its_result() {
    let (harness, key) = start().await;
    let agent = Agent::with_credential(&harness, &key);
    let client = json!({
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
    });
    let initialized = agent.ask_legacy("initialize", &client).await;
    insta::assert_json_snapshot!("legacy_initialize", initialized.snapshot(&harness));
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let accepted = agent.post(&[("mcp-protocol-version", LEGACY)], &notification.to_string()).await;
    assert_eq!((accepted.status, accepted.text.as_str()), (202, ""));
    let pong = agent.ask_legacy("ping", &json!({})).await;
    assert_eq!(pong.result(), json!({}));
    let listed = agent.ask_legacy("tools/list", &json!({})).await;
    insta::assert_json_snapshot!("legacy_list", listed.snapshot(&harness));
    let call = json!({ "name": "get_organization", "arguments": { "id": "42" } });
    let called = agent.ask_legacy("tools/call", &call).await.result();
    assert_eq!(called["isError"], false, "{called}");
    assert_eq!(called["resultType"], Value::Null, "only the current revision has result types");
    assert_eq!(called["structuredContent"]["path"], "/organizations/42");
}

#[tokio::test]
async fn the_version_is_negotiated_among_three() {
    let (harness, key) = start().await;
    let agent = Agent::with_credential(&harness, &key);
    for (wanted, negotiated) in [
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        // `initialize` does not exist in the current revision.
        (MODERN, "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let params = json!({
            "protocolVersion": wanted, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
        });
        let result = agent.ask_legacy("initialize", &params).await.result();
        assert_eq!(result["protocolVersion"], negotiated, "{wanted}");
    }
}

#[tokio::test]
async fn malformed_messages_have_the_codes_and_statuses_of_the_protocol() {
    let (harness, key) = start().await;
    let agent = Agent::with_credential(&harness, &key);
    let list = agent.message("tools/list", &json!({}));
    let modern = [("mcp-protocol-version", MODERN), ("mcp-method", "tools/list")];
    let status_and_code = |reply: &Response| (reply.status, reply.error_code());

    // Headers that are missing or differ from the body.
    for headers in [
        vec![],
        vec![("mcp-protocol-version", MODERN)],
        vec![("mcp-method", "tools/list")],
        vec![("mcp-protocol-version", MODERN), ("mcp-method", "tools/call")],
        vec![("mcp-protocol-version", LEGACY), ("mcp-method", "tools/list")],
    ] {
        let reply = agent.post(&headers, &list.to_string()).await;
        assert_eq!(status_and_code(&reply), (400, -32020), "{headers:?}");
    }
    let call = agent.message("tools/call", &json!({ "name": "get_organization" }));
    let other_name =
        [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "list_organizations")];
    let reply = agent.post(&other_name, &call.to_string()).await;
    assert_eq!(status_and_code(&reply), (400, -32020));

    // An unsupported version, and missing metadata.
    let mut unsupported = list.clone();
    unsupported["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2099-01-01".into();
    let headers = [("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
    let reply = agent.post(&headers, &unsupported.to_string()).await;
    assert_eq!(status_and_code(&reply), (400, -32022));
    let supported = json!(["2025-06-18", "2025-11-25", "2026-07-28"]);
    assert_eq!(reply.json()["error"]["data"], json!({ "requested": "2099-01-01", "supported": supported }));
    let mut incomplete = list.clone();
    incomplete["params"]["_meta"]
        .as_object_mut()
        .unwrap()
        .remove("io.modelcontextprotocol/clientCapabilities");
    let reply = agent.post(&modern, &incomplete.to_string()).await;
    assert_eq!(status_and_code(&reply), (400, -32602));

    // Methods that this server does not have.
    for method in [
        "ping",
        "resources/list",
        "prompts/list",
        "logging/setLevel",
        "completion/complete",
        "subscriptions/listen",
        "sampling/createMessage",
        "nothing",
    ] {
        let params = match method {
            "logging/setLevel" => json!({ "level": "info" }),
            "subscriptions/listen" => json!({ "notifications": {} }),
            "completion/complete" => json!({
                "ref": { "type": "ref/prompt", "name": "x" }, "argument": { "name": "x", "value": "x" },
            }),
            _ => json!({}),
        };
        let reply = agent.ask(method, &params).await;
        assert_eq!(status_and_code(&reply), (404, -32601), "{method}");
    }

    // An invalid cursor, and an unknown tool.
    let reply = agent.ask("tools/list", &json!({ "cursor": "x" })).await;
    assert_eq!(status_and_code(&reply), (200, -32602));
    let reply = agent.call("nothing", &json!({})).await;
    assert_eq!(status_and_code(&reply), (200, -32602));

    // Bodies that are not one message.
    for (body, status) in [
        ("", 415),
        ("[", 415),
        ("{}", 415),
        ("null", 415),
        ("\u{feff}{}", 415),
        (&*format!("[{list}]"), 415),
        (&*"x".repeat(1024 * 1024 + 1), 413),
    ] {
        assert_eq!(agent.post(&modern, body).await.status, status, "{}", &body[..body.len().min(80)]);
    }
    let response = json!({ "jsonrpc": "2.0", "id": 1, "result": {} }).to_string();
    assert_eq!(agent.post(&modern, &response).await.status, 400);
}

#[tokio::test]
async fn other_media_types_methods_hosts_and_origins_are_refused() {
    let (harness, key) = start().await;
    let agent = Agent::with_credential(&harness, &key);
    let body = agent.message("tools/list", &json!({})).to_string();
    let bearer = format!("Bearer {key}");
    let both = "application/json, text/event-stream";
    let path = format!("/mcp/{API}");
    let post = async |headers: &[(&str, &str)]| {
        let common = [
            ("authorization", bearer.as_str()),
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/list"),
        ];
        let headers = [common.as_slice(), headers].concat();
        send(&harness, "POST", &path, &headers, &body).await.status
    };
    let json = ("content-type", "application/json");
    assert_eq!(post(&[json, ("accept", both)]).await, 200);
    assert_eq!(post(&[json]).await, 406);
    assert_eq!(post(&[json, ("accept", "application/json")]).await, 406);
    assert_eq!(post(&[("content-type", "text/plain"), ("accept", both)]).await, 415);
    assert_eq!(post(&[json, ("accept", both), ("origin", "https://example.com")]).await, 403);
    assert_eq!(post(&[json, ("accept", both), ("origin", "null")]).await, 403);
    let own = harness.system.facts().mcp.trim_end_matches("/mcp").to_owned();
    assert_eq!(post(&[json, ("accept", both), ("origin", &own)]).await, 200);
    assert_eq!(post(&[json, ("accept", both), ("host", "example.com")]).await, 421);
    // Sessions and resumed streams of earlier revisions are ignored.
    assert_eq!(post(&[json, ("accept", both), ("mcp-session-id", "x"), ("last-event-id", "1")]).await, 200);

    for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"] {
        let headers = [("authorization", bearer.as_str()), ("accept", both)];
        let reply = send(&harness, method, &path, &headers, "").await;
        assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, "POST"), "{method}");
        assert_eq!(send(&harness, method, &path, &[], "").await.status, 401, "{method} without a key");
    }
}

#[tokio::test]
async fn odd_paths_have_no_route() {
    let (harness, key) = start().await;
    let bearer = format!("Bearer {key}");
    let long = format!("/mcp/{}", "x".repeat(5000));
    for path in [
        "/",
        "/mcp",
        "/mcp/",
        "/mcp/Teams",
        "/mcp/teams/",
        "/mcp/teams/x",
        "/mcp/te%20ams",
        "/mcp/%FF",
        "/mcp/[",
        "/mcp/%5B",
        "/mcp/%5C",
        "/mcp/^",
        "/mcp/..",
        "/mcp/%2e%2e",
        "/mcp/teams%2Fx",
        "/mcp/%00",
        "/mcp/-teams",
        "/mcp/teams-",
        "/mcp/te--ams",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/openid-configuration",
        &long,
    ] {
        for method in ["GET", "POST"] {
            let reply = send(&harness, method, path, &[("authorization", &bearer)], "").await;
            assert_eq!(reply.status, 404, "{method} {path}: {reply:?}");
            assert_eq!(reply.json()["code"], "route_not_found", "{method} {path}");
        }
    }
    let metadata = "/.well-known/oauth-protected-resource/mcp/Teams";
    assert_eq!(send(&harness, "GET", metadata, &[], "").await.status, 404);
}

#[tokio::test]
async fn metadata_name_the_token_endpoint() {
    let (harness, _) = start().await;
    for (name, path) in [
        ("metadata_of_api", "/.well-known/oauth-protected-resource/mcp/teams"),
        ("metadata_of_server", "/.well-known/oauth-protected-resource"),
        // The routes do not tell which APIs exist.
        ("metadata_of_unknown_api", "/.well-known/oauth-protected-resource/mcp/other"),
    ] {
        let reply = send(&harness, "GET", path, &[], "").await;
        insta::assert_json_snapshot!(name, reply.snapshot(&harness));
        assert_eq!(send(&harness, "POST", path, &[], "").await.status, 405);
    }
}
