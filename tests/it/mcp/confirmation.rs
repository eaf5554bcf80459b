//! Confirmations of calls that change something.

use serde_json::{Value, json};
use tests::Harness;

use crate::support::agent::{Agent, Response, document, register_with};
use crate::support::scripted_server::{Script, ScriptedServer, ok};

/// A system with an API that has this setting, and the key of an account that may do everything.
async fn start(confirmation: &str) -> (Harness, ScriptedServer, String) {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let harness = Harness::start().await;
    let body = json!({
        "title": "Teams", "baseUrl": server.url, "openapi": document(), "confirmation": confirmation,
    });
    register_with(&harness, &body).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    (harness, server, key.secret)
}

/// The deletion of an organization.
fn deletion(id: &str) -> Value {
    json!({ "name": "delete_organization", "arguments": { "id": id } })
}

/// A repeated call with the user's answer.
fn answered(call: &Value, state: &Value, answer: Value) -> Value {
    let mut params = call.clone();
    params["requestState"] = state.clone();
    params["inputResponses"] = json!({ "confirm": answer });
    params
}

fn accept() -> Value {
    json!({ "action": "accept", "content": { "ok": true } })
}

/// The state of the question in a response.
fn state(reply: &Response) -> Value {
    let result = reply.result();
    assert_eq!(result["resultType"], "input_required", "{result}");
    result["requestState"].clone()
}

/// A result with another URL in place of the API's, which differs in each run.
fn with_fixed_url(result: &Value, server: &ScriptedServer) -> Value {
    serde_json::from_str(&result.to_string().replace(&server.url, "https://api.example.com")).unwrap()
}

#[tokio::test]
async fn a_confirmed_call_is_sent_once() {
    let (harness, server, key) = start("require").await;
    let agent = Agent::with_credential(&harness, &key).that_can_ask();
    let question = agent.ask("tools/call", &deletion("42")).await;
    let mut shown = with_fixed_url(&question.result(), &server);
    assert!(shown["requestState"].take().as_str().unwrap().len() > 40);
    insta::assert_json_snapshot!(shown);
    assert_eq!(server.take_connections(), 0, "nothing is sent before the answer");
    let repeated = answered(&deletion("42"), &state(&question), accept());
    assert_eq!(agent.ask("tools/call", &repeated).await.called(), ("{}".to_owned(), false));
    assert_eq!(server.take_connections(), 1);
    let again = agent.ask("tools/call", &repeated).await;
    assert_eq!((again.status, again.error_code()), (200, -32602));
    assert_eq!(server.take_connections(), 0, "a confirmation works once");
}

#[tokio::test]
async fn no_argument_can_hide_another_in_the_question() {
    let (harness, server, key) = start("require").await;
    let agent = Agent::with_credential(&harness, &key).that_can_ask();
    let mut with_two = document();
    with_two["paths"]["/organizations"]["post"]["parameters"] =
        json!([{ "name": "dryRun", "in": "query", "schema": { "type": "boolean" } }]);
    let body = json!({
        "title": "Teams", "baseUrl": server.url, "openapi": with_two, "confirmation": "require",
    });
    register_with(&harness, &body).await;
    let mut arguments = json!({ "body": { "name": "a\u{202e}b\u{200b}c\u{7}" }, "dryRun": true });
    let question = agent.call("create_organization", &arguments).await.result();
    let message = |result: &Value| {
        let result = with_fixed_url(result, &server);
        result["inputRequests"]["confirm"]["params"]["message"].as_str().unwrap().to_owned()
    };
    insta::assert_snapshot!(message(&question));
    // A long value is cut, and does not displace the next one.
    arguments["body"]["name"] = "x".repeat(5000).into();
    arguments["body"]["zip"] = "8000".into();
    let question = agent.call("create_organization", &arguments).await.result();
    let message = message(&question);
    let lines: Vec<_> = message.lines().collect();
    assert!(
        lines[1].starts_with("body.name: ") && lines[1].len() < 300 && lines[1].ends_with('…'),
        "{message}"
    );
    assert_eq!(lines[2..], ["body.zip: \"8000\"", "dryRun: true"]);
}

#[tokio::test]
async fn a_confirmation_is_only_for_the_same_call() {
    let (harness, server, key) = start("ask").await;
    let agent = Agent::with_credential(&harness, &key).that_can_ask();
    let (_, other) = harness.account_with_key("Other", "ServiceAccountAdmin").await;
    let other = Agent::new(&harness, &other).that_can_ask();
    let new_state = async || state(&agent.ask("tools/call", &deletion("42")).await);
    let is_invalid = |reply: &Response| assert_eq!((reply.status, reply.error_code()), (200, -32602));

    is_invalid(&agent.ask("tools/call", &answered(&deletion("43"), &new_state().await, accept())).await);
    is_invalid(&other.ask("tools/call", &answered(&deletion("42"), &new_state().await, accept())).await);
    let create = json!({ "name": "create_organization", "arguments": { "body": { "name": "x" } } });
    is_invalid(&agent.ask("tools/call", &answered(&create, &new_state().await, accept())).await);
    let old = new_state().await;
    harness.clock.advance_seconds(301);
    is_invalid(&agent.ask("tools/call", &answered(&deletion("42"), &old, accept())).await);
    for tampered in ["", "x", "AAAA"] {
        is_invalid(&agent.ask("tools/call", &answered(&deletion("42"), &tampered.into(), accept())).await);
    }
    // The tools of a changed API may differ.
    let old = new_state().await;
    let mut changed = document();
    changed["info"]["version"] = "2".into();
    let body = json!({
        "title": "Teams", "baseUrl": server.url, "openapi": changed, "confirmation": "ask",
    });
    register_with(&harness, &body).await;
    is_invalid(&agent.ask("tools/call", &answered(&deletion("42"), &old, accept())).await);
    assert_eq!(server.take_connections(), 0);
}

#[tokio::test]
async fn a_call_is_not_sent_unless_the_user_accepts() {
    let (harness, server, key) = start("require").await;
    let agent = Agent::with_credential(&harness, &key).that_can_ask();
    for answer in [
        json!({ "action": "decline" }),
        json!({ "action": "cancel" }),
        json!({ "action": "accept", "content": { "ok": false } }),
    ] {
        let state = state(&agent.ask("tools/call", &deletion("42")).await);
        let declined = agent.ask("tools/call", &answered(&deletion("42"), &state, answer)).await;
        assert_eq!(declined.called(), ("The user declined this call.".to_owned(), true));
    }
    for answer in [
        json!({ "action": "accept", "content": { "ok": "true" } }),
        json!({ "action": "accept", "content": { "ok": null } }),
        json!({ "action": "accept", "content": {} }),
        json!({ "action": "accept" }),
    ] {
        let state = state(&agent.ask("tools/call", &deletion("42")).await);
        let refused = agent.ask("tools/call", &answered(&deletion("42"), &state, answer)).await;
        assert_eq!((refused.status, refused.error_code()), (200, -32602));
    }
    // Without a usable answer, the user is asked again.
    let state = state(&agent.ask("tools/call", &deletion("42")).await);
    let mut other = deletion("42");
    other["inputResponses"] = json!({ "other": accept() });
    other["requestState"] = state.clone();
    for params in [
        deletion("42"),
        other,
        answered(&deletion("42"), &state, json!({ "action": "other" })),
        answered(&deletion("42"), &state, json!(true)),
    ] {
        let again = agent.ask("tools/call", &params).await;
        assert_eq!(again.result()["resultType"], "input_required", "{params}");
    }
    let mut without_state = answered(&deletion("42"), &state, accept());
    without_state.as_object_mut().unwrap().remove("requestState");
    let again = agent.ask("tools/call", &without_state).await;
    assert_eq!(again.result()["resultType"], "input_required");
    assert_eq!(server.take_connections(), 0);
}

#[tokio::test]
async fn a_declined_call_is_not_sent_even_if_no_confirmation_is_needed() {
    let (harness, server, key) = start("off").await;
    let mut agent = Agent::with_credential(&harness, &key).that_can_ask();
    let declined = answered(&deletion("42"), &"x".into(), json!({ "action": "decline" }));
    let expected = ("The user declined this call.".to_owned(), true);
    assert_eq!(agent.ask("tools/call", &declined).await.called(), expected);
    agent.capabilities = json!({});
    assert_eq!(agent.ask("tools/call", &declined).await.called(), expected);
    assert_eq!(server.take_connections(), 0);
}

#[tokio::test]
async fn only_permitted_changes_are_asked_about() {
    let (harness, server, key) = start("require").await;
    let agent = Agent::with_credential(&harness, &key).that_can_ask();
    assert!(!agent.call("list_organizations", &json!({})).await.called().1, "a read needs no confirmation");
    assert_eq!(server.take_connections(), 1);
    let (_, reader) = harness.account_with_key("Reader", "ServiceAccountReader").await;
    let (text, is_error) =
        Agent::new(&harness, &reader).that_can_ask().ask("tools/call", &deletion("42")).await.called();
    assert!(is_error && text.starts_with("Not permitted"), "{text}");
}

#[tokio::test]
async fn clients_that_cannot_ask_are_refused_only_where_confirmation_is_required() {
    let (harness, server, key) = start("require").await;
    let agent = Agent::with_credential(&harness, &key);
    let refused = agent.ask("tools/call", &deletion("42")).await;
    assert_eq!((refused.status, refused.error_code()), (400, -32021));
    assert_eq!(
        refused.json()["error"]["data"]["requiredCapabilities"],
        json!({ "elicitation": { "form": {} } })
    );
    let legacy = agent.ask_legacy("tools/call", &deletion("42")).await;
    let (text, is_error) = legacy.called();
    assert!(is_error && text.starts_with("The user must confirm"), "{text}");
    // A client that only supports URLs cannot show a form.
    let mut only_urls = Agent::with_credential(&harness, &key);
    only_urls.capabilities = json!({ "elicitation": { "url": {} } });
    assert_eq!(only_urls.ask("tools/call", &deletion("42")).await.error_code(), -32021);
    assert_eq!(server.take_connections(), 0);

    let (harness, server, key) = start("ask").await;
    let agent = Agent::with_credential(&harness, &key);
    assert!(!agent.ask("tools/call", &deletion("42")).await.called().1);
    assert!(!agent.ask_legacy("tools/call", &deletion("42")).await.called().1);
    assert_eq!(server.take_connections(), 2);
}
