//! The credential of an agent: which ones are accepted, from where, and until when.

use serde_json::json;
use tests::workload::{KEY_TYPE, TOKEN_TYPE, exchange, token};
use tests::{Action, Harness, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::activity::shown;
use crate::support::agent::{API, Agent, Deployed, MODERN, Response, event, register, send};
use crate::support::audit_lines::with_message;
use crate::support::keys::{forged, unknown};

/// The response to `tools/list` with these values of `Authorization`.
async fn list_with(harness: &Harness, authorization: &[&str]) -> Response {
    let body = Agent::with_credential(harness, "").message("tools/list", &json!({})).to_string();
    let mut headers = vec![
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/list"),
    ];
    headers.extend(authorization.iter().map(|value| ("authorization", *value)));
    send(harness, "POST", &format!("/mcp/{API}"), &headers, &body).await
}

#[tokio::test]
async fn missing_and_malformed_credentials_are_refused_before_any_call() {
    let harness = Harness::start().await;
    register(&harness).await;
    let key = harness.reader_key().await.secret;
    let mistyped = format!("{}x", &key[..key.len() - 1]);
    let foreign = key.replacen("_local_", "_other_", 1);
    let bearer = |credential: &str| format!("Bearer {credential}");
    let valid = bearer(&key);
    harness.wire.take_calls();
    let cases: Vec<(&str, Vec<String>)> = vec![
        ("none", vec![]),
        ("empty", vec![String::new()]),
        ("unset_variable", vec![bearer("${KEYWARD_KEY}")]),
        ("mistyped", vec![bearer(&mistyped)]),
        ("foreign", vec![bearer(&foreign)]),
        ("another_scheme", vec![format!("Basic {key}")]),
        ("without_scheme", vec![key.clone()]),
        ("jwt", vec![bearer("eyJhbGciOiJub25lIn0.e30.x")]),
        ("two_headers", vec![valid.clone(), valid.clone()]),
        ("joined", vec![format!("{valid},{valid}")]),
    ];
    let mut responses = serde_json::Map::new();
    for (name, values) in cases {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let reply = list_with(&harness, &values).await;
        assert_eq!(reply.status, 401, "{name}");
        assert!(!reply.text.contains(&key), "{name}");
        responses.insert(name.to_owned(), reply.snapshot(&harness));
    }
    for value in ["Bearer", "Bearer $KEYWARD_KEY", "Bearer %KEYWARD_KEY%", "Bearer {{KEYWARD_KEY}}"] {
        let reply = list_with(&harness, &[value]).await.snapshot(&harness);
        assert_eq!(reply, responses["unset_variable"], "{value}");
    }
    assert!(harness.wire.take_calls().is_empty(), "no call was made");
    insta::assert_json_snapshot!(responses);
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        assert_eq!(list_with(&harness, &[&format!("{scheme} {key}")]).await.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_refused_credential_gets_401_from_every_method() {
    let harness = Harness::start().await;
    register(&harness).await;
    let key = harness.reader_key().await;
    let agent = Agent::new(&harness, &key);
    assert_eq!(agent.list().await.len(), 2);
    let _ = harness.revoke(&key).await.expect(204);
    let params = json!({ "name": "get_organization", "arguments": { "id": "42" } });
    let client = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" },
    });
    let replies = [
        agent.ask("server/discover", &json!({})).await,
        agent.ask("tools/list", &json!({})).await,
        agent.ask("tools/call", &params).await,
        agent.ask_legacy("initialize", &client).await,
        agent.ask_legacy("tools/list", &json!({})).await,
        agent.ask_legacy("tools/call", &params).await,
        // Neither the tools nor their arguments can be probed.
        agent.call("nothing", &json!({})).await,
        agent.call("get_organization", &json!({})).await,
        agent.call("search_tools", &json!({})).await,
    ];
    let first = replies[0].snapshot(&harness);
    for reply in &replies {
        assert_eq!(reply.snapshot(&harness), first);
    }
    insta::assert_json_snapshot!(first);
    // Nor can the names of APIs.
    let mut other = Agent::new(&harness, &key);
    "other".clone_into(&mut other.api);
    let mut expected = first.clone();
    let challenge = expected["headers"]["www-authenticate"].as_str().unwrap().replace("/teams", "/other");
    expected["headers"]["www-authenticate"] = challenge.into();
    for method in ["server/discover", "tools/list"] {
        assert_eq!(other.ask(method, &json!({})).await.snapshot(&harness), expected);
    }
    assert_eq!(other.call("x", &json!({})).await.snapshot(&harness), expected);
}

#[tokio::test]
async fn use_of_a_revoked_key_by_an_agent_is_detected() {
    let harness = Harness::start().await;
    register(&harness).await;
    let (account, key) = harness.account_with_key("Agent", "ServiceAccountReader").await;
    let agent = Agent::new(&harness, &key);
    let params = json!({ "name": "get_organization", "arguments": { "id": "42" } });
    assert!(agent.call("delete_organization", &json!({ "id": "42" })).await.called().1);
    let used = async || shown(&harness.get(&format!("{}/activity", key.path())).await.json());
    assert_eq!(used().await, [0, 1], "a call that the role does not permit is counted once");
    let _ = harness.revoke(&key).await.expect(204);
    harness.clock.advance_seconds(60);
    let attention = async || harness.get("/iam/v1/attention?reason=usedAfterEnd").await.json();
    assert_eq!(attention().await["items"], json!([]));

    let logs = Logs::capture(LevelFilter::INFO);
    for (number, (method, params)) in
        [("tools/call", &params), ("tools/list", &json!({})), ("tools/call", &params)].into_iter().enumerate()
    {
        assert_eq!(agent.ask(method, params).await.status, 401);
        let lines = with_message(&logs.take_lines(), "exchange");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["reason"], &line["key_id"]), (&json!("revoked"), &json!(key.id)), "{line}");
        assert_eq!(used().await, [0, 2 + u64::try_from(number).unwrap()], "each request is counted once");
    }
    let attention = attention().await;
    let [item] = attention["items"].as_array().unwrap().as_slice() else { panic!("{attention}") };
    assert_eq!((&item["key"]["id"], &item["endReason"]), (&json!(key.id), &json!("revoked")), "{item}");
    let shown = harness.get(&account.path()).await.json();
    assert_eq!(shown["retiredKeys"][0]["usedAfterEndAt"], "2026-01-01T00:01:00Z", "{shown}");

    // A credential without the key's secret adds only to a counter.
    for credential in [forged(&key, 1), unknown(&key, 2)] {
        assert_eq!(
            Agent::with_credential(&harness, &credential).ask("tools/list", &json!({})).await.status,
            401
        );
    }
    assert_eq!(harness.get(&account.path()).await.json()["unverified"]["last24Hours"], 2);
    assert_eq!(used().await, [0, 4]);
}

/// How many items of APIs a request reads, and its HTTP status.
async fn reads_of(harness: &Harness, key: &str, method: &str) -> (usize, u16) {
    let agent = Agent::with_credential(harness, key);
    harness.wire.take_calls();
    let reply = match method {
        "initialize" => {
            let client = json!({
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" },
            });
            agent.ask_legacy(method, &client).await
        }
        "tools/call" => agent.call("nothing", &json!({})).await,
        method => agent.ask(method, &json!({})).await,
    };
    let calls = harness.wire.take_calls().into_iter();
    let of_apis = calls.filter(|call| {
        let key = call.body["Key"]["pk"]["S"].as_str();
        call.operation == "GetItem" && key.is_some_and(|key| key.starts_with("API#"))
    });
    (of_apis.count(), reply.status)
}

#[tokio::test]
async fn a_stranger_causes_no_read_of_the_api() {
    let harness = Harness::start().await;
    register(&harness).await;
    let key = harness.reader_key().await;
    let forged = forged(&key, 1);
    for method in ["tools/call", "tools/list", "server/discover", "initialize", "tools/call"] {
        assert_eq!(reads_of(&harness, &forged, method).await, (0, 401), "{method}");
    }
    // The tools are read once. After the key ended, only the next call can still cause a read.
    assert_eq!(reads_of(&harness, &key.secret, "tools/call").await, (2, 200));
    assert_eq!(reads_of(&harness, &key.secret, "tools/call").await, (1, 200));
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(reads_of(&harness, &key.secret, "tools/call").await, (1, 401));
    assert_eq!(reads_of(&harness, &key.secret, "tools/call").await, (0, 401));
}

#[tokio::test]
async fn tokens_and_their_children_work_until_they_or_their_key_end() {
    let harness = Harness::start().await;
    register(&harness).await;
    harness.put_role("one", &["GET /organizations/42"]).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountReader").await;
    let parent = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let child = token(&exchange(&harness, TOKEN_TYPE, &parent, &[("scope", "one")]).await);
    let parent = Agent::with_credential(&harness, &parent);
    let child = Agent::with_credential(&harness, &child);
    assert_eq!(parent.list().await, ["list_organizations", "get_organization"]);
    assert_eq!(child.list().await, ["get_organization"]);
    assert!(!child.call("get_organization", &json!({ "id": "42" })).await.called().1);
    assert!(child.call("get_organization", &json!({ "id": "43" })).await.called().1);
    let _ = harness.revoke(&key).await.expect(204);
    for agent in [parent, child] {
        assert_eq!(agent.call("get_organization", &json!({ "id": "42" })).await.status, 401);
    }
}

#[tokio::test]
async fn a_key_with_networks_works_from_them_and_from_nowhere_else() {
    let harness = Harness::start().await;
    register(&harness).await;
    let account = harness.create_account("Agent", "ServiceAccountReader").await;
    let body = json!({ "name": "office", "allowedCidrs": ["198.51.100.0/24"] });
    let key = harness.issue_key_with(&account, &body).await;
    // The gateway of local mode sees 127.0.0.1.
    assert_eq!(Agent::new(&harness, &key).ask("tools/list", &json!({})).await.status, 401);
    assert_eq!(harness.check(&key.secret).await, 403, "the API itself refuses the address");
    let deployed = Deployed::with_loopback_hosts(&harness);
    for (source, status) in [("198.51.100.7", 200), ("198.51.101.7", 401), ("::1", 401), ("", 401)] {
        let reply = deployed.invoke(&event(&harness, &key.secret, source, "tools/list", &json!({}))).await;
        assert_eq!(reply.status, status, "{source}");
    }
    let params = json!({ "name": "get_organization", "arguments": { "id": "42" } });
    let call = event(&harness, &key.secret, "198.51.100.7", "tools/call", &params);
    let reply = deployed.invoke(&call).await;
    // The call itself comes from this function, so the request token waives the networks.
    assert!(!reply.called().1, "{reply:?}");
}

#[tokio::test]
async fn behind_api_gateway_the_host_must_be_the_domain_of_the_api() {
    let harness = Harness::start().await;
    register(&harness).await;
    let key = harness.reader_key().await.secret;
    let deployed = Deployed::new(&harness);
    for (host, domain, status) in [
        ("mcp.example.com", "mcp.example.com", 200),
        ("MCP.example.com", "mcp.example.com", 200),
        ("mcp.example.com", "other.example.com", 421),
        ("other.example.com", "other.example.com", 421),
        ("", "mcp.example.com", 421),
    ] {
        let mut event = event(&harness, &key, "192.0.2.1", "tools/list", &json!({}));
        event["requestContext"]["domainName"] = domain.into();
        match host {
            "" => drop(event["headers"].as_object_mut().unwrap().remove("host")),
            host => event["headers"]["host"] = host.into(),
        }
        assert_eq!(deployed.invoke(&event).await.status, status, "{host} {domain}");
    }
    let mut from_page = event(&harness, &key, "192.0.2.1", "tools/list", &json!({}));
    from_page["headers"]["origin"] = "https://mcp.example.com".into();
    assert_eq!(deployed.invoke(&from_page).await.status, 403, "no page may use the server");
    let mut without_key = event(&harness, &key, "192.0.2.1", "tools/list", &json!({}));
    without_key["headers"].as_object_mut().unwrap().remove("authorization");
    let reply = deployed.invoke(&without_key).await;
    assert_eq!(
        reply.headers["www-authenticate"],
        "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp/teams\""
    );
}

#[tokio::test]
async fn outages_allow_nothing_and_get_503() {
    let harness = Harness::start().await;
    register(&harness).await;
    let key = harness.reader_key().await;
    let agent = Agent::new(&harness, &key);
    let params = json!({ "name": "get_organization", "arguments": { "id": "42" } });
    for fault in [
        Action::Refuse,
        Action::Respond(500, "{}".to_owned()),
        Action::Respond(200, "{}".to_owned()),
        Action::Respond(200, String::new()),
        Action::Respond(200, r#"{"permitted":{}}"#.to_owned()),
        Action::Respond(200, r#"{"issued":{}}"#.to_owned()),
        Action::Respond(200, r#"{"unavailable":{}}"#.to_owned()),
        Action::Respond(200, r#"{"errorMessage":"x"}"#.to_owned()),
    ] {
        for operation in ["Invoke", "GetItem"] {
            let fault = fault.clone();
            harness.wire.intercept(
                move |call| {
                    if call.operation == operation { fault.clone() } else { Action::Pass }
                },
            );
            for (method, params) in [("tools/list", &json!({})), ("tools/call", &params)] {
                let reply = agent.ask(method, params).await;
                // An empty answer of the table means that there is no item.
                let expected: &[u16] = if operation == "GetItem" { &[503, 404, 401] } else { &[503] };
                assert!(expected.contains(&reply.status), "{operation} {method}: {reply:?}");
                if reply.status == 503 {
                    assert_eq!(reply.headers["retry-after"], "1");
                    assert_eq!(reply.json()["code"], "dependency_unavailable");
                }
            }
            harness.wire.pass_all();
        }
    }
    assert_eq!(agent.list().await.len(), 2, "it recovers");
}
