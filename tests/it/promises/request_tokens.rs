//! Request tokens: the answers to direct invocations of the token endpoint's function.

use serde_json::{Value, json};
use shared::http::respond;
use tests::{Harness, Shape, Verdict};

use tests::workload::{
    KEY_TYPE, TOKEN_TYPE, another_instance, exchange, exchange_jwt, jwt, reason, start, token, token_event,
};

/// The answer to a direct invocation with these members.
async fn ask(harness: &Harness, credential: &str, method: &str, path: &str, source: Option<&str>) -> Value {
    let event = json!({
        "keyward": "requestToken",
        "credential": credential,
        "source": source,
        "method": method,
        "path": path,
    });
    let answer = respond(&another_instance(harness, false), &event.to_string()).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

fn token_in(answer: &Value) -> String {
    assert_eq!(answer["issued"]["expiresIn"], 60, "{answer}");
    answer["issued"]["token"].as_str().unwrap().to_owned()
}

/// The authorizer's verdict on a request with this token.
async fn verdict(harness: &Harness, token: &str, method: &str, path: &str) -> Verdict {
    let mut event = Shape::HttpV2.bearer(token).to_string();
    event = event.replace("/GET/organizations/42", &format!("/{method}{path}"));
    event = event.replace("/organizations/42", path);
    let mut event: Value = serde_json::from_str(&event).unwrap();
    event["requestContext"]["http"]["method"] = method.into();
    harness.verdict(&event).await
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
        let (_, refused) = reason(exchange(&harness, TOKEN_TYPE, &token, &[])).await;
        assert_eq!(refused, "request_token");
        let again = ask(&harness, &token, "GET", "/organizations/42", None).await;
        assert_eq!(again, json!({ "refused": { "reason": "request_token" } }));
    }
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
async fn a_refused_request_names_its_reason_and_the_missing_permission() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let refused = |reason: &str| json!({ "refused": { "reason": reason } });
    let ask = async |credential: &str, method: &str, path: &str| {
        ask(&harness, credential, method, path, None).await
    };
    assert_eq!(
        ask(&key.secret, "DELETE", "/organizations/42").await,
        json!({ "refused": { "reason": "role", "missingPermission": "DELETE /organizations/42" } })
    );
    assert_eq!(ask(&key.secret, "GET", "/iam/v1/whoami").await, refused("reserved"));
    assert_eq!(ask(&key.secret, "GET", "/organizations/../iam").await, refused("ambiguous_path"));
    assert_eq!(ask(&key.secret, "TRACE", "/organizations/42").await, refused("ambiguous_path"));
    assert_eq!(ask("x", "GET", "/organizations/42").await, refused("malformed"));
    assert_eq!(ask(&jwt(&harness), "GET", "/organizations/42").await, refused("malformed"));
    let narrow = exchange(&harness, KEY_TYPE, &key.secret, &[("scope", "ServiceAccountReader")]).await;
    let mut last = token(&narrow);
    for _ in 2..=4 {
        last = token(&exchange(&harness, TOKEN_TYPE, &last, &[]).await);
    }
    assert_eq!(ask(&last, "GET", "/organizations/42").await, refused("depth"));
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(ask(&key.secret, "GET", "/organizations/42").await, refused("unknown"));
}

#[tokio::test]
async fn no_http_request_is_a_direct_invocation() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let instance = another_instance(&harness, false);
    let event = json!({
        "keyward": "requestToken", "credential": key.secret, "source": null, "method": "GET",
        "path": "/organizations/42",
    });
    // API Gateway passes the body on as a text.
    let in_body = token_event(&event.to_string(), "192.0.2.1");
    let answer = serde_json::to_value(respond(&instance, &in_body.to_string()).await.unwrap()).unwrap();
    assert_eq!(answer["statusCode"], 400, "{answer}");
    let mut malformed = event.clone();
    malformed["keyward"] = "other".into();
    for event in [malformed.to_string(), "{}".to_owned(), "[".to_owned(), json!({ "keyward": 1 }).to_string()]
    {
        let error = respond(&instance, &event).await.err().expect("an error").to_string();
        assert!(!error.contains(&key.secret), "{error}");
    }
}
