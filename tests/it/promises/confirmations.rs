//! Confirmations of requests. They guard against mistakes of an agent. The holder of a key can
//! always send a request without the MCP server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::{Value, json};
use shared::http::respond;
use tests::workload::{
    KEY_TYPE, another_instance, exchange, exchange_jwt, invoke_directly, jwt, start, token,
};
use tests::{API_ID, Action, Harness, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::rotate_token_key;

/// A digest of what is confirmed.
fn digest(of: u8) -> String {
    URL_SAFE_NO_PAD.encode([of; 32])
}

/// The event that asks for a request token for `GET /organizations/42` with a confirmation.
fn event(credential: &str, digest: &str, state: Option<&str>) -> Value {
    let mut event = json!({
        "keyward": "requestToken",
        "credential": credential,
        "source": null,
        "api": API_ID,
        "method": "GET",
        "path": "/organizations/42",
        "confirmation": { "digest": digest },
    });
    if let Some(state) = state {
        event["confirmation"]["state"] = state.into();
    }
    event
}

async fn ask(harness: &Harness, credential: &str, digest: &str, state: Option<&str>) -> Value {
    invoke_directly(harness, &event(credential, digest, state)).await
}

/// The state for an unconfirmed request.
async fn state(harness: &Harness, credential: &str, digest: &str) -> String {
    let answer = ask(harness, credential, digest, None).await;
    answer["unconfirmed"]["state"].as_str().unwrap_or_else(|| panic!("unconfirmed: {answer}")).to_owned()
}

fn is_issued(answer: &Value) -> bool {
    answer["issued"]["expiresIn"] == 60
}

fn invalid() -> Value {
    json!({ "confirmationRefused": { "reason": "confirmation_invalid" } })
}

fn used() -> Value {
    json!({ "confirmationRefused": { "reason": "confirmation_used" } })
}

#[tokio::test]
async fn a_confirmed_request_gets_one_token() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let of_key = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let of_identity = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    let logs = Logs::capture(LevelFilter::INFO);
    for credential in [&key.secret, &of_key, &of_identity] {
        let state = state(&harness, credential, &digest(1)).await;
        let answer = ask(&harness, credential, &digest(1), Some(&state)).await;
        assert!(is_issued(&answer), "{answer}");
        assert_eq!(ask(&harness, credential, &digest(1), Some(&state)).await, used());
        let reasons: Vec<_> = logs.take_lines().iter().map(|line| line["reason"].clone()).collect();
        assert_eq!(reasons, ["unconfirmed", "issued", "confirmation_used"]);
    }
    // A client can renew its token while the person decides.
    let state = state(&harness, &of_key, &digest(1)).await;
    let renewed = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    assert!(is_issued(&ask(&harness, &renewed, &digest(1), Some(&state)).await));
}

#[tokio::test]
async fn the_roles_are_checked_before_anyone_is_asked() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    for state in [None, Some("x")] {
        let mut event = event(&key.secret, &digest(1), state);
        event["method"] = "DELETE".into();
        let missing = json!({ "notPermitted": { "missingPermission": "DELETE /organizations/42" } });
        assert_eq!(invoke_directly(&harness, &event).await, missing);
    }
    let answer = ask(&harness, "x", &digest(1), None).await;
    assert_eq!(answer, json!({ "refused": { "reason": "malformed" } }));
}

#[tokio::test]
async fn a_confirmation_is_bound_to_its_grant_and_digest_and_expires() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let other_key = harness.issue_key_with(&identity.account, &json!({ "name": "other" })).await;
    let (_, foreign) = harness.account_with_key("other", "ServiceAccountReader").await;
    let of_identity = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    let state = state(&harness, &key.secret, &digest(1)).await;
    for credential in [&other_key.secret, &foreign.secret, &of_identity] {
        assert_eq!(ask(&harness, credential, &digest(1), Some(&state)).await, invalid());
    }
    assert_eq!(ask(&harness, &key.secret, &digest(2), Some(&state)).await, invalid());
    harness.clock.advance_seconds(299);
    assert!(is_issued(&ask(&harness, &key.secret, &digest(1), Some(&state)).await));
    let state = self::state(&harness, &key.secret, &digest(1)).await;
    harness.clock.advance_seconds(300);
    assert_eq!(ask(&harness, &key.secret, &digest(1), Some(&state)).await, invalid());
}

#[tokio::test]
async fn an_altered_state_is_refused() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let state = state(&harness, &key.secret, &digest(1)).await;
    let instance = another_instance(&harness, false);
    let ask = async |state: &str| {
        let event = event(&key.secret, &digest(1), Some(state)).to_string();
        serde_json::to_value(respond(&instance, &event).await.unwrap()).unwrap()
    };
    for position in 0..state.len() {
        for other in ["A", "z", "_", "="] {
            let mut altered = state.clone();
            altered.replace_range(position..=position, other);
            if altered != state {
                assert_eq!(ask(&altered).await, invalid(), "{position} {other}");
            }
        }
    }
    for altered in
        ["", "A", &state[1..], &state[..state.len() - 1], &format!("{state}A"), &format!("{state}=")]
    {
        assert_eq!(ask(altered).await, invalid(), "{altered}");
    }
    assert!(is_issued(&ask(&state).await), "control");
}

#[tokio::test]
async fn a_confirmation_survives_one_rotation_of_the_token_key() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let state = state(&harness, &key.secret, &digest(1)).await;
    rotate_token_key(&harness, "first").await;
    assert!(is_issued(&ask(&harness, &key.secret, &digest(1), Some(&state)).await));
    rotate_token_key(&harness, "second").await;
    assert_eq!(ask(&harness, &key.secret, &digest(1), Some(&state)).await, invalid());
}

#[tokio::test]
async fn one_of_many_concurrent_uses_of_a_confirmation_wins() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let state = state(&harness, &key.secret, &digest(1)).await;
    let digest = digest(1);
    let answers = join_all((0..64).map(|_| ask(&harness, &key.secret, &digest, Some(&state)))).await;
    let issued = answers.iter().filter(|answer| is_issued(answer)).count();
    let refused = answers.iter().filter(|answer| **answer == used()).count();
    assert_eq!((issued, refused), (1, 63));
}

/// DynamoDB may have recorded the use although its response was lost.
#[tokio::test]
async fn a_use_that_cannot_be_recorded_issues_no_token() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let state = state(&harness, &key.secret, &digest(1)).await;
    let is_put = |operation: &str| operation == "PutItem";
    harness.wire.intercept(move |call| if is_put(&call.operation) { Action::Refuse } else { Action::Pass });
    let answer = ask(&harness, &key.secret, &digest(1), Some(&state)).await;
    assert_eq!(answer, json!({ "unavailable": {} }));
    harness.wire.intercept(
        move |call| {
            if is_put(&call.operation) { Action::LoseResponse } else { Action::Pass }
        },
    );
    let answer = ask(&harness, &key.secret, &digest(1), Some(&state)).await;
    assert_eq!(answer, json!({ "unavailable": {} }));
    harness.wire.pass_all();
    assert_eq!(ask(&harness, &key.secret, &digest(1), Some(&state)).await, used());
}

#[tokio::test]
async fn a_digest_that_is_no_sha_256_is_refused_without_an_answer() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let instance = another_instance(&harness, false);
    for text in ["", "x", &URL_SAFE_NO_PAD.encode([1; 31]), &URL_SAFE_NO_PAD.encode([1; 33])] {
        let event = event(&key.secret, text, None).to_string();
        let error = respond(&instance, &event).await.expect_err("an error").to_string();
        assert!(!error.contains(&key.secret), "{error}");
    }
}
