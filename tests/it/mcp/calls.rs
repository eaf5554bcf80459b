//! `tools/call`: what the API receives, and what the agent gets back.

use serde_json::{Value, json};
use tests::Harness;

use crate::support::agent::{Agent, document, register_with};
use crate::support::scripted_server::{Script, ScriptedServer, ok, response, with_body};

/// A system with an API at `server`, and the key of an account that may do everything.
async fn start(server: &ScriptedServer) -> (Harness, String) {
    let harness = Harness::start().await;
    let base = format!("{}/v1", server.url);
    let body = json!({ "title": "Teams", "baseUrl": base, "openapi": document() });
    register_with(&harness, &body).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    (harness, key.secret)
}

#[tokio::test]
async fn the_api_receives_one_request_with_a_request_token() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let (harness, key) = start(&server).await;
    let agent = Agent::with_credential(&harness, &key);
    let request = |text: String| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        for line in &mut lines {
            if let Some(token) = line.strip_prefix("authorization: Bearer ") {
                assert!(token.starts_with("kwst_"), "{line}");
                "authorization: Bearer [request token]".clone_into(line);
            }
            if line.starts_with("x-request-id: ") {
                "x-request-id: [request id]".clone_into(line);
            }
            if line.starts_with("host: ") {
                assert_eq!(*line, server.url.replace("http://", "host: "));
                "host: [host]".clone_into(line);
            }
        }
        json!({ "head": lines, "body": body })
    };
    let mut requests = Vec::new();
    for (tool, arguments) in [
        ("get_organization", json!({ "id": "ä b/".trim_end_matches('/') })),
        ("list_organizations", json!({ "limit": 5 })),
        ("create_organization", json!({ "body": { "name": "x" } })),
        ("delete_organization", json!({ "id": "42" })),
    ] {
        let (text, is_error) = agent.call(tool, &arguments).await.called();
        assert!(!is_error, "{text}");
        assert_eq!(server.take_connections(), 1);
        requests.push(request(server.take_request()));
    }
    insta::assert_json_snapshot!(requests);
}

#[tokio::test]
async fn headers_of_the_client_do_not_reach_the_api() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let (harness, key) = start(&server).await;
    let agent = Agent::with_credential(&harness, &key);
    let params = json!({ "name": "list_organizations", "arguments": {} });
    let message = agent.message("tools/call", &params);
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "list_organizations"),
        ("cookie", "session=canary"),
        ("x-canary", "canary"),
        ("proxy-authorization", "Bearer canary"),
        ("x-forwarded-for", "canary"),
    ];
    assert_eq!(agent.post(&headers, &message.to_string()).await.status, 200);
    assert!(!server.take_request().contains("canary"));
}

#[tokio::test]
async fn answers_become_results_that_every_client_accepts() {
    let server = ScriptedServer::start().await;
    let (harness, key) = start(&server).await;
    let agent = Agent::with_credential(&harness, &key);
    let long = format!("[\"{}\"]", "x".repeat(100_000));
    let answers: Vec<(&str, Vec<u8>)> = vec![
        ("an object", ok(r#"{ "id": "42" }"#)),
        ("an array", ok("[1, 2]")),
        ("a scalar", ok("\"x\"")),
        ("a problem type", with_body("200 OK\r\ncontent-type: application/vnd.api+json", r#"{"a":1}"#)),
        ("broken JSON", ok("{")),
        ("a text", with_body("200 OK\r\ncontent-type: text/plain; charset=utf-8", "Hello\u{1b}[31m!")),
        ("no type", with_body("200 OK", "Hello")),
        ("no content", response("204 No Content", "")),
        ("an empty body", with_body("200 OK\r\ncontent-type: application/json", "")),
        ("an image", with_body("200 OK\r\ncontent-type: image/png", vec![0; 3000])),
        ("invalid UTF-8", with_body("200 OK\r\ncontent-type: text/plain", b"a\xffb")),
        ("a redirect", with_body("302 Found\r\nlocation: http://169.254.169.254/", "")),
        ("no such thing", with_body("404 Not Found\r\ncontent-type: application/json", r#"{"detail":"x"}"#)),
        (
            "a refusal",
            with_body("403 Forbidden\r\ncontent-type: application/json", r#"{"message":"Forbidden"}"#),
        ),
        ("too many", with_body("429 Too Many Requests\r\nretry-after: 7", "")),
        ("a failure", with_body("503 Service Unavailable\r\ncontent-type: text/html", "<p>")),
        ("an unknown status", with_body("299 Odd", "x")),
    ];
    let mut results = Vec::new();
    for (name, answer) in answers {
        server.set(move |_| Script::Send(answer.clone()));
        let mut with = serde_json::Map::new();
        with.insert("answer".to_owned(), name.into());
        for (tool, arguments) in [
            // With an output schema, without one, and one that changes something.
            ("get_organization", json!({ "id": "42" })),
            ("list_organizations", json!({})),
            ("delete_organization", json!({ "id": "42" })),
        ] {
            let mut result = agent.call(tool, &arguments).await.result();
            let members = result.as_object_mut().unwrap();
            assert!(members.remove("_meta").is_some() && members.remove("resultType").is_some());
            with.insert(tool.to_owned(), result);
        }
        results.push(Value::Object(with));
    }
    insta::assert_json_snapshot!(results);
    // A long answer is cut. The call succeeded, so the result is not an error.
    server.set(move |_| Script::Send(ok(&long)));
    for (tool, arguments) in [("get_organization", json!({ "id": "42" })), ("list_organizations", json!({}))]
    {
        let (text, is_error) = agent.call(tool, &arguments).await.called();
        assert!(!is_error && text.ends_with("… (first 100000 of 100004 bytes)"), "{tool}");
    }
}

#[tokio::test]
async fn a_refused_call_names_the_permission_that_the_role_lacks() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let harness = Harness::start().await;
    let body = json!({
        "title": "Teams", "baseUrl": server.url, "openapi": document(), "routePrefix": "/prod",
    });
    register_with(&harness, &body).await;
    harness.put_role("agent", &["GET /prod/organizations/1"]).await;
    let (_, key) = harness.account_with_key("Agent", "agent").await;
    let agent = Agent::new(&harness, &key);
    let refused = |text: &str| (text.to_owned(), true);
    assert_eq!(
        agent.call("get_organization", &json!({ "id": "2" })).await.called(),
        refused(
            "Not permitted: the role lacks GET /prod/organizations/2. Ask an admin to add this permission, or to add \
             GET /prod/organizations/{id} for all requests of this tool."
        )
    );
    assert_eq!(
        agent.call("delete_organization", &json!({ "id": "1" })).await.called(),
        refused(
            "Not permitted: the role lacks DELETE /prod/organizations/1. Ask an admin to add this permission, or to add \
             DELETE /prod/organizations/{id} for all requests of this tool."
        )
    );
    assert_eq!(server.take_connections(), 0);
    assert!(!agent.call("get_organization", &json!({ "id": "1" })).await.called().1);
    assert!(server.take_request().starts_with("GET /organizations/1 HTTP/1.1\r\n"), "without the prefix");
}

/// An explanation would reveal the schema. The calls count like those with valid arguments.
#[tokio::test]
async fn invalid_arguments_for_a_tool_that_is_not_permitted_are_counted_and_not_explained() {
    let server = ScriptedServer::start().await;
    let (harness, _) = start(&server).await;
    let (_, reader) = harness.account_with_key("Reader", "ServiceAccountReader").await;
    let agent = Agent::new(&harness, &reader);
    for arguments in [json!({}), json!({ "body": {} }), json!({ "other": 1 })] {
        let (text, is_error) = agent.call("create_organization", &arguments).await.called();
        assert_eq!(
            text,
            "Not permitted: the role lacks POST /organizations. Ask an admin to add this permission."
        );
        assert!(is_error);
    }
    // The activity has the newest first.
    harness.clock.advance_seconds(1);
    assert!(agent.call("delete_organization", &json!({})).await.called().1);
    assert_eq!(server.take_connections(), 0);
    let activity = harness.get(&format!("{}/activity", reader.path())).await.json();
    let refusals = activity["recentRefusals"].as_array().unwrap();
    let paths: Vec<_> = refusals.iter().map(|refusal| refusal["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/organizations/{id}", "/organizations", "/organizations", "/organizations"]);
    assert_eq!(refusals[0]["missingPermission"], "DELETE /organizations/{name}");
}

#[tokio::test]
async fn invalid_arguments_are_explained_and_reach_no_api() {
    let server = ScriptedServer::start().await;
    let (harness, key) = start(&server).await;
    let agent = Agent::with_credential(&harness, &key);
    let mut problems = Vec::new();
    for (tool, arguments) in [
        ("get_organization", json!({})),
        ("get_organization", json!({ "id": "../teams" })),
        ("get_organization", json!({ "id": "a\r\nx: y" })),
        ("get_organization", json!({ "id": "" })),
        ("get_organization", json!({ "id": "1", "other": 1 })),
        ("list_organizations", json!({ "limit": "ten" })),
        ("create_organization", json!({ "body": {} })),
        ("create_organization", json!({ "body": { "name": key } })),
        ("get_organization", json!({ "id": key })),
    ] {
        let (text, is_error) = agent.call(tool, &arguments).await.called();
        assert!(is_error && !text.contains(&key), "{text}");
        problems.push(json!({ "tool": tool, "problem": text }));
    }
    insta::assert_json_snapshot!(problems);
    assert_eq!(server.take_connections(), 0);
}
