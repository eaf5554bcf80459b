//! The peppers: a rotation breaks no key, a version that nobody knows costs one
//! call, and a broken keyring opens nothing and tells nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use shared::domain::PepperVersion;
use tests::{Account, Action, Harness, Key};

use crate::support::{Verdict, check};

/// A function asks again for the current version after so long.
const CURRENT_FOR: i64 = 300;
/// A version that was not found counts as unknown for so long.
const UNKNOWN_FOR: i64 = 10;

/// A keyring of the versions up to `current`.
fn keyring(current: u32) -> String {
    let mut keyring = json!({ "current": format!("v{current}") });
    for version in 1..=current {
        keyring[format!("v{version}")] = format!("pepper-{version}-").repeat(6).into();
    }
    keyring.to_string()
}

/// Puts `current` in place, as a rotation does, and waits until it counts.
fn rotate(harness: &Harness, current: u32) {
    harness.system.set_secret(keyring(current));
    harness.clock.advance_seconds(CURRENT_FOR);
}

/// Which pepper made a key's verifier.
async fn version(harness: &Harness, key: &Key) -> String {
    let item = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    item["verifiers"].as_m().unwrap()[&key.id].as_m().unwrap()["pepper"].as_s().unwrap().clone()
}

/// How many times the secret was asked for since the last time. A call counts
/// once, however many attempts a busy machine makes it take.
fn fetches(harness: &Harness) -> usize {
    let calls = harness.wire.take_calls().into_iter();
    let fetches = calls.filter(|call| call.operation == "GetSecretValue");
    fetches.map(|call| call.invocation).collect::<BTreeSet<_>>().len()
}

async fn account(harness: &Harness) -> Account {
    harness.create_account("reader", "ServiceAccountReader").await
}

#[tokio::test]
async fn three_rotations_break_no_key() {
    let harness = Harness::start().await;
    harness.system.set_secret(keyring(1));
    let account = account(&harness).await;
    let warm = harness.another_authorizer();
    let mut keys = Vec::new();
    for current in 1..=4 {
        if current > 1 {
            rotate(&harness, current);
        }
        let key = harness.issue_key(&account).await;
        assert_eq!(version(&harness, &key).await, format!("v{current}"));
        keys.push(key);
        let fresh = harness.another_authorizer();
        for key in &keys {
            assert_eq!(check(&warm, &key.secret).await, Verdict::Allowed);
            assert_eq!(check(&fresh, &key.secret).await, Verdict::Allowed);
        }
    }
    harness.wire.take_calls();
    for key in &keys {
        assert_eq!(check(&warm, &key.secret).await, Verdict::Allowed);
    }
    assert_eq!(fetches(&harness), 0, "a version once known is not asked for again");
}

#[tokio::test]
async fn a_warm_function_learns_of_a_rotation_within_five_minutes() {
    let harness = Harness::start().await;
    harness.system.set_secret(keyring(1));
    let account = account(&harness).await;
    harness.issue_key(&account).await;
    harness.system.set_secret(keyring(2));
    harness.clock.advance_seconds(CURRENT_FOR - 1);
    assert_eq!(version(&harness, &harness.issue_key(&account).await).await, "v1");
    harness.clock.advance_seconds(1);
    assert_eq!(version(&harness, &harness.issue_key(&account).await).await, "v2");
}

#[tokio::test]
async fn an_unknown_version_costs_one_call_and_is_an_outage() {
    let harness = Harness::start().await;
    harness.system.set_secret(keyring(1));
    let account = account(&harness).await;
    let old = harness.issue_key(&account).await;
    rotate(&harness, 2);
    let new = harness.issue_key(&account).await;
    // Somebody has put the secret of before back.
    harness.system.set_secret(keyring(1));
    let warm = harness.another_authorizer();
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);

    harness.wire.take_calls();
    assert_eq!(check(&warm, &new.secret).await, Verdict::Outage);
    assert_eq!(fetches(&harness), 1);
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);
    harness.clock.advance_seconds(UNKNOWN_FOR - 1);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Outage);
    assert_eq!(fetches(&harness), 0);
    harness.clock.advance_seconds(1);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Outage);
    assert_eq!(fetches(&harness), 1);

    harness.system.set_secret(keyring(2));
    harness.clock.advance_seconds(UNKNOWN_FOR);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Allowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_misses_at_once_make_one_call() {
    let harness = Harness::start().await;
    harness.system.set_secret(keyring(1));
    harness.wire.disturb(|_| Action::Delay(Duration::from_millis(50)));
    let peppers = harness.system.setup_of("Authorizer").unwrap().keyring().unwrap();
    let found = async |version: &str| {
        let version = PepperVersion::parse(version).unwrap();
        harness.wire.take_calls();
        let found = join_all((0..100).map(|_| peppers.get(&version))).await;
        (found.iter().filter(|pepper| pepper.is_ok()).count(), fetches(&harness))
    };
    // Cold, then warm with an older keyring, then with nothing to miss.
    assert_eq!(found("v1").await, (100, 1));
    assert_eq!(found("v2").await, (0, 1));
    harness.system.set_secret(keyring(2));
    harness.clock.advance_seconds(UNKNOWN_FOR);
    assert_eq!(found("v2").await, (100, 1));
    assert_eq!(found("v1").await, (100, 0));
}

#[tokio::test]
async fn an_outage_at_the_cold_start_is_retried_with_the_next_event() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    let refuse =
        || {
            harness.wire.disturb(|call| {
                if call.operation == "GetSecretValue" { Action::Refuse } else { Action::Pass }
            });
        };
    refuse();
    let body = json!({ "name": "batch" });
    let issue = || harness.request("POST", &format!("{}/keys", account.path())).admin().json(&body).send();
    let reply = issue().await.expect_problem(503, "dependency_unavailable");
    assert_eq!(reply.headers["retry-after"], "1");
    harness.wire.calm();
    let key = harness.issue_key(&account).await;

    refuse();
    let cold = harness.another_authorizer();
    cold.warm().await;
    assert_eq!(check(&cold, &key.secret).await, Verdict::Outage);
    harness.wire.calm();
    assert_eq!(check(&cold, &key.secret).await, Verdict::Allowed);
}

#[tokio::test]
async fn a_malformed_keyring_opens_nothing_and_is_quoted_nowhere() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    let key = harness.issue_key(&account).await;
    let canary = "Canary7".repeat(10);
    for malformed in [
        json!({ "v1": canary }),
        json!({ "current": "v2", "v1": canary }),
        json!({ "current": canary, "v1": canary }),
        json!({ "current": "v1", "v1": &canary[..42] }),
        json!({ "current": "v1", "v1": canary, "v2": "Canary7" }),
        json!({ "current": "v1", "v1": canary, "Canary7": canary }),
        json!({ "current": "v1", "v1": canary, "v01": canary }),
        json!({ "current": "v1", "v1": [canary] }),
        json!({ "current": "v1", "v1": null }),
        json!([canary]),
        json!(canary),
    ]
    .map(|value| value.to_string())
    .into_iter()
    .chain([canary.clone(), format!("{{\"current\": \"v1\", \"v1\": \"{canary}"), String::new()])
    {
        harness.system.set_secret(malformed.clone());
        assert_eq!(check(&harness.another_authorizer(), &key.secret).await, Verdict::Outage, "{malformed}");
        let setup = harness.system.setup_of("IssueKey").unwrap();
        let error = setup.keyring().unwrap().current().await.unwrap_err();
        let said = format!("{error} {error:?} {}", shared::telemetry::cause(&error));
        assert!(!said.contains("Canary7"), "{said}");
        harness.clock.advance_seconds(CURRENT_FOR);
        let body = json!({ "name": "batch" });
        let request = harness.request("POST", &format!("{}/keys", account.path())).admin().json(&body);
        let reply = request.send().await;
        assert!(reply.status >= 500 && !reply.text.contains("Canary7"), "{malformed}: {reply:?}");
    }
}
