//! Request tokens: the answers to direct invocations of the token endpoint's function.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::http::{Invocable as _, respond};
use tests::{API_ID, Action, Harness, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use tests::workload::{
    KEY_TYPE, TOKEN_TYPE, another_instance, exchange, exchange_jwt, invoke_directly, jwt, reason, start,
    token, token_event,
};

/// The event that asks for a request token with this key or token.
fn event(credential: &str, method: &str, path: &str, source: Option<&str>) -> Value {
    json!({
        "keyward": "requestToken",
        "credential": credential,
        "source": source,
        "api": API_ID,
        "method": method,
        "path": path,
    })
}

async fn ask(harness: &Harness, credential: &str, method: &str, path: &str, source: Option<&str>) -> Value {
    invoke_directly(harness, &event(credential, method, path, source)).await
}

fn token_in(answer: &Value) -> String {
    assert_eq!(answer["issued"]["expiresIn"], 60, "{answer}");
    answer["issued"]["token"].as_str().unwrap().to_owned()
}

/// The authorizer's verdict on a request with this token.
async fn verdict(harness: &Harness, token: &str, method: &str, path: &str) -> Verdict {
    harness.verdict(&Shape::HttpV2.request(method, path, token)).await
}

#[tokio::test]
async fn a_request_token_works_for_its_request_only() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let of_key = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let of_identity = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    for credential in [&key.secret, &of_key, &of_identity] {
        let token = token_in(&ask(&harness, credential, "GET", "/organizations/42", Some("192.0.2.1")).await);
        assert_eq!(verdict(&harness, &token, "GET", "/organizations/42").await, Verdict::Allow);
        assert_eq!(verdict(&harness, &token, "GET", "/organizations/43").await, Verdict::Deny);
        assert_eq!(verdict(&harness, &token, "HEAD", "/organizations/42").await, Verdict::Deny);
        let mut elsewhere = event(credential, "GET", "/organizations/42", None);
        elsewhere["api"] = "another1".into();
        let elsewhere = token_in(&invoke_directly(&harness, &elsewhere).await);
        assert_eq!(verdict(&harness, &elsewhere, "GET", "/organizations/42").await, Verdict::Deny);
        let (_, refused) = reason(exchange(&harness, TOKEN_TYPE, &token, &[])).await;
        assert_eq!(refused, "request_token");
        let again = ask(&harness, &token, "GET", "/organizations/42", None).await;
        assert_eq!(again, json!({ "refused": { "reason": "request_token" } }));
    }
}

#[tokio::test]
async fn a_request_token_can_be_made_from_the_last_token_of_the_longest_chain() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let mut last = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    for _ in 2..=4 {
        last = token(&exchange(&harness, TOKEN_TYPE, &last, &[]).await);
    }
    let (_, refused) = reason(exchange(&harness, TOKEN_TYPE, &last, &[])).await;
    assert_eq!(refused, "depth", "control");
    let token = token_in(&ask(&harness, &last, "GET", "/organizations/42", None).await);
    let event = Shape::HttpV2.bearer(&token).to_string();
    let answer = harness.authorizer().answer(&event, "invocation").await.unwrap();
    assert!(answer.is_allow());
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["context"]["actors"].as_str().unwrap().split(' ').count(), 4, "{answer}");
}

#[tokio::test]
async fn a_request_token_lives_60_seconds_and_waives_networks() {
    let (harness, identity) = start().await;
    let body = json!({ "name": "k", "allowedCidrs": ["203.0.113.0/24"] });
    let key = harness.issue_key_with(&identity.account, &body).await;
    let path = "/organizations/42";
    for source in [None, Some("192.0.2.1"), Some("::1")] {
        let refused = ask(&harness, &key.secret, "GET", path, source).await;
        assert_eq!(refused, json!({ "refused": { "reason": "network" } }));
    }
    let token = token_in(&ask(&harness, &key.secret, "GET", path, Some("203.0.113.9")).await);
    assert_eq!(verdict(&harness, &token, "GET", path).await, Verdict::Allow, "from another network");
    harness.clock.advance_seconds(59);
    assert_eq!(verdict(&harness, &token, "GET", path).await, Verdict::Allow);
    harness.clock.advance_seconds(1);
    assert_eq!(verdict(&harness, &token, "GET", path).await, Verdict::Deny);
}

#[tokio::test]
async fn a_refused_request_names_its_reason_or_the_missing_permission() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let refused = |reason: &str| json!({ "refused": { "reason": reason } });
    let ask = async |credential: &str, method: &str, path: &str| {
        ask(&harness, credential, method, path, None).await
    };
    assert_eq!(
        ask(&key.secret, "DELETE", "/organizations/42").await,
        json!({ "notPermitted": { "missingPermission": "DELETE /organizations/42" } })
    );
    // No permission permits these.
    for (method, path) in
        [("GET", "/iam/v1/whoami"), ("GET", "/organizations/../iam"), ("TRACE", "/organizations/42")]
    {
        assert_eq!(ask(&key.secret, method, path).await, json!({ "notPermitted": {} }), "{path}");
        assert_eq!(ask("x", method, path).await, refused("malformed"), "the credential is checked first");
    }
    assert_eq!(ask("x", "GET", "/organizations/42").await, refused("malformed"));
    assert_eq!(ask(&jwt(&harness), "GET", "/organizations/42").await, refused("malformed"));
    let narrow = exchange(&harness, KEY_TYPE, &key.secret, &[("scope", "ServiceAccountReader")]).await;
    assert_eq!(
        ask(&token(&narrow), "PUT", "/teams/7").await,
        json!({ "notPermitted": { "missingPermission": "PUT /teams/7" } })
    );
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(ask(&key.secret, "GET", "/organizations/42").await, refused("unknown"));
}

#[tokio::test]
async fn the_log_names_the_tool_and_the_missing_permission() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let logs = Logs::capture(LevelFilter::INFO);
    let mut event = event(&key.secret, "DELETE", "/organizations/42", Some("192.0.2.1"));
    event["tool"] = format!("delete_organization\n{}", key.secret).into();
    event["mcpApi"] = "demo".into();
    invoke_directly(&harness, &event).await;
    let [line] = <[Value; 1]>::try_from(logs.take_lines()).expect("exactly one line");
    for (member, expected) in [
        ("message", "exchange"),
        ("reason", "role"),
        ("grant_type", "request_token"),
        ("source", "192.0.2.1"),
        ("principal", &key.account),
        ("key_id", &key.id),
        ("mcp_api", "demo"),
        ("api_id", API_ID),
        ("method", "DELETE"),
        ("path", "/organizations/42"),
        ("missing_permission", "DELETE /organizations/42"),
    ] {
        assert_eq!(line[member], expected, "{member}");
    }
    assert!(line["tool"].as_str().unwrap().starts_with(r"delete_organization\u{a}"), "{line}");
    assert!(!line.to_string().contains(&key.secret), "{line}");
}

/// Such a call never becomes a request that an authorizer could count.
#[tokio::test]
async fn a_request_that_no_role_permits_is_counted_for_its_grant() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let instance = another_instance(&harness, false);
    let secret = &key.secret;
    let path = format!("/organizations/{secret}");
    for (method, path, count) in
        [("DELETE", "/organizations/42", 2), ("PUT", &path, 40), ("GET", "/teams/7", 1)]
    {
        for _ in 0..count {
            let event = event(secret, method, path, Some("192.0.2.1"));
            respond(&instance, &event.to_string()).await.unwrap();
            instance.follow_up().await;
        }
        harness.clock.advance_seconds(1);
    }
    for credential in ["x", &secret.replace(&key.id["key_".len()..], "AAAAAAAAAAAAAAAA")] {
        ask(&harness, credential, "DELETE", "/organizations/42", None).await;
    }
    instance.flush().await;
    let activity = format!("{}/keys/{}/activity", identity.account.path(), key.id);
    let activity = harness.request("GET", &activity).admin().send().await.expect(200);
    assert!(!activity.text.contains(secret), "{}", activity.text);
    let activity = activity.json();
    let day = &activity["byDay"][0];
    assert_eq!((&day["allowed"], &day["refusedByReason"]), (&json!(0), &json!({ "role": 42 })), "{day}");
    let refusals = activity["recentRefusals"].as_array().unwrap();
    assert!(
        refusals.iter().all(|one| one["missingPermission"] == "PUT /organizations/{name}"),
        "{refusals:?}"
    );
    let ids: BTreeSet<_> = refusals.iter().map(|one| one["requestId"].to_string()).collect();
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn a_failed_write_of_activity_changes_no_answer() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let expected = json!({ "notPermitted": { "missingPermission": "DELETE /organizations/42" } });
    for action in [Action::Refuse, Action::Hang] {
        harness.wire.intercept(move |call| {
            if matches!(call.operation.as_str(), "PutItem" | "UpdateItem") {
                action.clone()
            } else {
                Action::Pass
            }
        });
        let started = std::time::Instant::now();
        assert_eq!(ask(&harness, &key.secret, "DELETE", "/organizations/42", None).await, expected);
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_outage_is_not_a_refusal() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    harness.wire.intercept(|_| Action::Refuse);
    let unavailable = json!({ "unavailable": {} });
    assert_eq!(ask(&harness, &key.secret, "GET", "/organizations/42", None).await, unavailable);
    let event = json!({ "keyward": "permissions", "credential": key.secret, "source": null });
    assert_eq!(invoke_directly(&harness, &event).await, unavailable);
}

#[tokio::test]
async fn no_http_request_is_a_direct_invocation() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let instance = another_instance(&harness, false);
    let event = event(&key.secret, "GET", "/organizations/42", None);
    // API Gateway passes the body on as a text.
    let in_body = token_event(&event.to_string(), "192.0.2.1");
    let answer = serde_json::to_value(respond(&instance, &in_body.to_string()).await.unwrap()).unwrap();
    assert_eq!(answer["statusCode"], 400, "{answer}");
    let mut malformed = event.clone();
    malformed["keyward"] = "other".into();
    for event in [malformed.to_string(), "{}".to_owned(), "[".to_owned(), json!({ "keyward": 1 }).to_string()]
    {
        let error = respond(&instance, &event).await.expect_err("an error").to_string();
        assert!(!error.contains(&key.secret), "{error}");
    }
}
