//! Keys and tokens that the token endpoint and the MCP server refuse: each is logged with the
//! true reason and counted as by the authorizer, after an answer that does not tell the reason.

use std::collections::BTreeSet;

use exchange_token::ExchangeToken;
use serde_json::{Value, json};
use shared::domain::Clock as _;
use shared::http::{Invocable as _, Operation as _, respond};
use tests::workload::{
    KEY_TYPE, TOKEN_EXCHANGE, TOKEN_TYPE, another_instance, exchange, form, token, token_event,
};
use tests::{API_ID, Action, Harness, Key, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::activity::Counts;
use crate::support::changes;
use crate::support::keys::{forged, generated_key, unknown};
use crate::support::lambda::{FunctionProcess, Recorder};

/// What a refused credential adds to the activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// A request with the key.
    ForKey,
    /// A request with an unverified credential of the account.
    Unverified,
    Nothing,
}

/// A credential that is refused.
struct Case {
    name: &'static str,
    credential: String,
    /// The key that the credential is, or names, or was made from.
    key: Key,
    reason: &'static str,
    counted: Counted,
}

impl Case {
    fn genuine(name: &'static str, key: &Key, reason: &'static str) -> Self {
        let (credential, key) = (key.secret.clone(), key.clone());
        Self { name, credential, key, reason, counted: Counted::ForKey }
    }

    fn unverified(name: &'static str, key: &Key, credential: String, reason: &'static str) -> Self {
        Self { name, credential, key: key.clone(), reason, counted: Counted::Unverified }
    }
}

/// A credential for each reason for which the authorizer refuses a key.
async fn cases(harness: &Harness) -> Vec<Case> {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let other = harness.create_account("other", "ServiceAccountReader").await;
    let short = json!({ "name": "key", "expiresInDays": 1 });
    let [moved, expired] =
        [harness.issue_key_with(&account, &short).await, harness.issue_key_with(&other, &short).await];
    harness.clock.advance_days(1);
    // Moves the expired key of this account to the retired keys.
    let live = harness.issue_key(&account).await;
    let [revoked, rotated] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let networks = json!({ "name": "key", "allowedCidrs": ["203.0.113.0/24"] });
    let networked = harness.issue_key_with(&account, &networks).await;
    let (disabled_account, disabled) = harness.account_with_key("disabled", "ServiceAccountReader").await;
    let (deleted_account, deleted) = harness.account_with_key("deleted", "ServiceAccountReader").await;
    let of_revoked = token(&exchange(harness, KEY_TYPE, &revoked.secret, &[]).await);
    let _ = harness.revoke(&revoked).await.expect(204);
    changes::rotate(harness, &rotated, 0).await;
    changes::disable(harness, &disabled_account).await;
    changes::delete(harness, &deleted_account).await;
    let stranger = Case {
        counted: Counted::Nothing,
        ..Case::unverified("a key of an unknown account", &live, generated_key("local", 4), "unknown")
    };
    vec![
        Case::genuine("a revoked key", &revoked, "revoked"),
        Case { credential: of_revoked, ..Case::genuine("a token of a revoked key", &revoked, "revoked") },
        Case::genuine("a rotated key", &rotated, "retired"),
        Case::genuine("a key of a deleted account", &deleted, "retired"),
        Case::genuine("an expired key", &expired, "expired"),
        Case::genuine("an expired key among the retired keys", &moved, "expired"),
        Case::genuine("a key of a disabled account", &disabled, "disabled"),
        Case::genuine("a key of another network", &networked, "network"),
        Case::unverified("a wrong secret", &live, forged(&live, 1), "wrong_secret"),
        Case::unverified("a wrong secret of a revoked key", &revoked, forged(&revoked, 2), "wrong_secret"),
        Case::unverified("an unknown key", &live, unknown(&live, 3), "unknown"),
        stranger,
    ]
}

/// The ways to present a credential.
#[derive(Clone, Copy, Debug)]
enum Way {
    TokenEndpoint,
    ClientCredentials,
    Permissions,
    RequestToken,
}

const WAYS: [Way; 4] = [Way::TokenEndpoint, Way::ClientCredentials, Way::Permissions, Way::RequestToken];

impl Way {
    /// The event with this case's credential.
    fn event(self, case: &Case) -> String {
        let (credential, account) = (case.credential.as_str(), case.key.account.as_str());
        let kind = if credential.starts_with("kwst_") { TOKEN_TYPE } else { KEY_TYPE };
        let event = match self {
            Self::TokenEndpoint => {
                let form = form(&[
                    ("grant_type", TOKEN_EXCHANGE),
                    ("subject_token", credential),
                    ("subject_token_type", kind),
                ]);
                token_event(&form, "192.0.2.1")
            }
            Self::ClientCredentials => {
                let form = form(&[
                    ("grant_type", "client_credentials"),
                    ("client_id", account),
                    ("client_secret", credential),
                ]);
                token_event(&form, "192.0.2.1")
            }
            Self::Permissions => {
                json!({ "keyward": "permissions", "credential": credential, "source": "192.0.2.1" })
            }
            Self::RequestToken => json!({
                "keyward": "requestToken", "credential": credential, "source": "192.0.2.1", "api": API_ID,
                "method": "GET", "path": "/organizations/42",
            }),
        };
        event.to_string()
    }

    /// Whether this can present a case's credential. Client credentials are keys.
    fn accepts(self, case: &Case) -> bool {
        !matches!(self, Self::ClientCredentials) || !case.credential.starts_with("kwst_")
    }
}

async fn answer(instance: &ExchangeToken, event: &str) -> Value {
    serde_json::to_value(respond(instance, event).await.unwrap()).unwrap()
}

/// The line of the only exchange since the last call, and the number of writes of activity that
/// were not acknowledged.
fn take_exchange(logs: &Logs) -> (Value, usize) {
    let lines = logs.take_lines();
    let lost = lines.iter().filter(|line| line["message"] == "activity could not be written").count();
    let exchanges: Vec<_> = lines.into_iter().filter(|line| line["message"] == "exchange").collect();
    let [line] = <[Value; 1]>::try_from(exchanges).expect("exactly one exchange is logged");
    (line, lost)
}

#[tokio::test]
async fn refused_credentials_are_logged_and_counted_as_by_the_authorizer() {
    let harness = Harness::start().await;
    let cases = cases(&harness).await;
    let instance = another_instance(&harness, false);
    let mut counts = Counts::default();
    let mut lost = 0;
    for way in WAYS {
        let mut answers = BTreeSet::new();
        for case in cases.iter().filter(|case| way.accepts(case)) {
            let name = format!("{way:?} {}", case.name);
            // An instance looks up only a few retired keys per second.
            harness.clock.advance_seconds(1);
            let logs = Logs::capture(LevelFilter::INFO);
            let answer = answer(&instance, &way.event(case)).await;
            instance.follow_up().await;
            let (line, failed) = take_exchange(&logs);
            lost += failed;
            assert_eq!(line["reason"], case.reason, "{name}: {line}");
            assert!(!line.to_string().contains(&case.credential), "{name}: {line}");
            if case.counted != Counted::Nothing {
                assert_eq!(line["principal"], case.key.account, "{name}");
            }
            match case.counted {
                Counted::ForKey => {
                    assert_eq!(line["key_id"], case.key.id, "{name}");
                    counts.count(&case.key, harness.clock.now(), case.reason);
                }
                Counted::Unverified => {
                    counts.count_unverified(&case.key.account, harness.clock.now(), case.reason);
                }
                Counted::Nothing => {}
            }
            if answer["refused"].is_null() {
                answers.insert(answer.to_string());
            } else if !["disabled", "network"].contains(&case.reason) {
                // Only the MCP server gets this answer, and no client.
                let reason = answer["refused"]["reason"].as_str().unwrap();
                assert!(["unknown", "expired", "wrong_secret"].contains(&reason), "{name}: {answer}");
            }
        }
        assert!(answers.len() <= 1, "{way:?}: all clients get the same response: {answers:#?}");
    }
    instance.flush().await;
    let stored = Counts::stored(&harness.table).await;
    stored.assert_within(&counts);
    if lost == 0 {
        assert_eq!(stored, counts);
    }
}

#[tokio::test]
async fn a_refused_key_takes_one_read_before_the_answer() {
    let harness = Harness::start().await;
    let cases = cases(&harness).await;
    let instance = another_instance(&harness, false);
    instance.warm().await;
    for way in WAYS {
        for case in cases.iter().filter(|case| way.accepts(case)) {
            harness.clock.advance_seconds(1);
            harness.wire.take_calls();
            answer(&instance, &way.event(case)).await;
            assert_eq!(harness.wire.take_operations(), ["GetItem"], "{way:?} {}", case.name);
            instance.follow_up().await;
            let after = harness.wire.take_operations();
            assert!(after.iter().filter(|call| *call == "GetItem").count() <= 1, "{way:?} {after:?}");
        }
    }
}

#[tokio::test]
async fn forged_keys_cause_at_most_five_more_reads_per_second() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let instance = another_instance(&harness, false);
    let logs = Logs::capture(LevelFilter::INFO);
    for second in 0..2 {
        let (mut reads, mut skipped) = (0, 0);
        for number in 0..20 {
            let forged = unknown(&key, 100 * second + number);
            let event = json!({ "keyward": "permissions", "credential": forged, "source": null });
            answer(&instance, &event.to_string()).await;
            harness.wire.take_calls();
            instance.follow_up().await;
            reads += harness.wire.take_operations().iter().filter(|call| *call == "GetItem").count();
            skipped += usize::from(take_exchange(&logs).0.get("cause").is_some());
        }
        assert_eq!((reads, skipped), (5, 15), "the log shows which keys were not looked up");
        harness.clock.advance_seconds(1);
    }
}

#[tokio::test]
async fn the_activity_of_a_revoked_key_shows_where_the_key_was_used() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let _ = harness.revoke(&key).await.expect(204);
    let instance = another_instance(&harness, false);
    let case = Case::genuine("a revoked key", &key, "revoked");
    for way in [Way::TokenEndpoint, Way::Permissions, Way::RequestToken] {
        answer(&instance, &way.event(&case)).await;
        instance.follow_up().await;
        harness.clock.advance_seconds(1);
    }
    instance.flush().await;
    let mut activity = harness.get(&format!("{}/activity", key.path())).await.json();
    let refusals = activity["recentRefusals"].as_array_mut().unwrap();
    for refusal in refusals.iter_mut() {
        assert!(!refusal["requestId"].as_str().unwrap().is_empty(), "{refusal}");
        refusal["requestId"] = "[request id]".into();
    }
    insta::assert_json_snapshot!(refusals);
}

#[tokio::test]
async fn credentials_without_a_decision_are_not_counted() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let of_key = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let (start, last) = of_key.split_at(of_key.len() - 1);
    let mistyped = format!("{start}{}", if last == "x" { "y" } else { "x" });
    let instance = another_instance(&harness, false);
    let case = |name, credential: String| Case { credential, ..Case::genuine(name, &key, "") };
    let all = [
        case("a malformed key", "kwsa_x".to_owned()),
        case("a key of another environment", generated_key("other", 1)),
        case("a mistyped token", mistyped),
        case("a token with another account", of_key.replace(&key.account["sa_".len()..], "AAAAAAAAAAAAAAAA")),
    ];
    harness.wire.take_calls();
    for way in WAYS {
        for case in all.iter().filter(|case| way.accepts(case)) {
            answer(&instance, &way.event(case)).await;
        }
    }
    instance.flush().await;
    harness.wire.intercept(|call| if call.operation == "GetItem" { Action::Refuse } else { Action::Pass });
    for way in WAYS {
        answer(&instance, &way.event(&case("a key during an outage", key.secret.clone()))).await;
    }
    instance.flush().await;
    harness.wire.pass_all();
    // A valid credential is counted when it is used for a request.
    for way in WAYS {
        answer(&instance, &way.event(&case("a valid key", key.secret.clone()))).await;
    }
    instance.flush().await;
    assert_eq!(Counts::stored(&harness.table).await, Counts::default());
}

#[tokio::test]
async fn source_addresses_are_recorded_unless_a_parameter_turns_them_off() {
    for (value, is_recorded) in [("true", true), ("false", false)] {
        let harness = Harness::builder().variable("KEYWARD_RECORD_SOURCE_ADDRESSES", value).start().await;
        let key = harness.reader_key().await;
        let _ = harness.revoke(&key).await.expect(204);
        let instance = another_instance(&harness, false);
        let case = Case::genuine("a revoked key", &key, "revoked");
        let logs = Logs::capture(LevelFilter::INFO);
        for way in WAYS {
            answer(&instance, &way.event(&case)).await;
        }
        instance.flush().await;
        assert_eq!(logs.take().contains("192.0.2.1"), is_recorded, "in the log");
        let activity = harness.get(&format!("{}/activity", key.path())).await.json();
        let refusals = activity["recentRefusals"].as_array().unwrap();
        assert!(!refusals.is_empty());
        for refusal in refusals {
            assert_eq!(refusal["sourceAddress"] == "192.0.2.1", is_recorded, "{refusal}");
        }
    }
}

/// Uses Lambda's runtime, because the other tests follow up on answers themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_response_is_posted_before_anything_is_looked_up_or_counted() {
    let harness = Harness::start().await;
    let revoked = harness.reader_key().await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let variables = harness.variables_to_share("ExchangeToken").await;
    let event = Way::TokenEndpoint.event(&Case::genuine("a revoked key", &revoked, "revoked"));
    let recorder = Recorder::new(&harness, &variables, event);
    let (runtime, dynamodb) = recorder.serve().await;
    let mut process = FunctionProcess::start_exchange_token(&variables, &dynamodb, &runtime);
    let mut log = process.take_log();
    let steps = recorder.steps_until_the_second_event().await;
    process.kill().await;
    // The first read, at the start, opens the connection.
    let (ordered, rest) = steps.split_at(5);
    assert_eq!(ordered, ["GetItem ACCOUNT", "next", "GetItem ACCOUNT", "response", "GetItem RETIRED"]);
    // Writes are made at the same time, and before the next event.
    let (next, writes) = rest.split_last().unwrap();
    let writes: BTreeSet<&str> = writes.iter().map(String::as_str).collect();
    assert_eq!(writes, BTreeSet::from(["PutItem REQUESTS", "UpdateItem TOTALS", "UpdateItem USAGE"]));
    assert_eq!(next, "next");
    let line = log.next_with_message("exchange").await.expect("an exchange");
    assert_eq!((&line["reason"], &line["request_id"]), (&json!("revoked"), &json!("request-1")));
}
