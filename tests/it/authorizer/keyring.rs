//! The peppers: keys survive rotations, an unknown version causes one call, and a malformed
//! keyring allows nothing and is not quoted.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use shared::domain::SecretVersion;
use tests::{Account, Action, Harness, Key, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::faults::inject;
use crate::support::{Verdict, check, rotate_pepper};

/// The operation that fetches the secret.
const FETCH: &str = "GetSecretValue";
/// Seconds after which a function fetches the current version again.
const CURRENT_FOR: i64 = 300;
/// Seconds for which a version that was not found is treated as unknown.
const UNKNOWN_FOR: i64 = 10;
/// Seconds after a failed fetch before the secret is fetched again.
const FAILED_FOR: i64 = 1;
/// Seconds after which the keyring is renewed. Versions that were removed from the secret are
/// dropped then.
const KEPT_FOR: i64 = 900;
/// Seconds after a failed renewal before it is tried again.
const RENEWED_AGAIN_AFTER: i64 = 60;

/// A keyring with the versions `v1` to `current`.
fn keyring(current: u32) -> String {
    let mut keyring = json!({ "current": format!("v{current}") });
    for version in 1..=current {
        keyring[format!("v{version}")] = format!("pepper-{version}-").repeat(6).into();
    }
    keyring.to_string()
}

/// Makes `current` the current version, as a rotation does, and waits until functions use it.
fn rotate(harness: &Harness, current: u32) {
    harness.system.secrets().set(keyring(current));
    harness.clock.advance_seconds(CURRENT_FOR);
}

/// The version of the pepper in a key's verifier.
async fn version(harness: &Harness, key: &Key) -> String {
    let item = harness.table.account(&key.account).await;
    item["verifiers"].as_m().unwrap()[&key.id].as_m().unwrap()["pepper"].as_s().unwrap().clone()
}

/// The number of fetches of the secret since the last call. The retries of one call count
/// once, because a busy machine can cause some.
fn fetches(harness: &Harness) -> usize {
    let calls = harness.wire.take_calls().into_iter();
    let fetches = calls.filter(|call| call.operation == FETCH);
    fetches.map(|call| call.invocation).collect::<BTreeSet<_>>().len()
}

async fn account(harness: &Harness) -> Account {
    harness.create_account("reader", "ServiceAccountReader").await
}

async fn account_with_key(harness: &Harness) -> (Account, Key) {
    harness.account_with_key("reader", "ServiceAccountReader").await
}

#[tokio::test]
async fn keys_survive_three_rotations() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    let warm = harness.another_authorizer();
    let mut keys = Vec::new();
    for current in 1..=4 {
        if current > 1 {
            rotate_pepper(&harness, &format!("rotation-{current}")).await;
            harness.clock.advance_seconds(CURRENT_FOR);
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
    assert_eq!(fetches(&harness), 0, "a known version is not fetched again");
}

#[tokio::test]
async fn a_warm_function_uses_a_new_pepper_within_five_minutes() {
    let harness = Harness::start().await;
    harness.system.secrets().set(keyring(1));
    let account = account(&harness).await;
    harness.issue_key(&account).await;
    harness.system.secrets().set(keyring(2));
    harness.clock.advance_seconds(CURRENT_FOR - 1);
    assert_eq!(version(&harness, &harness.issue_key(&account).await).await, "v1");
    harness.clock.advance_seconds(1);
    assert_eq!(version(&harness, &harness.issue_key(&account).await).await, "v2");
}

#[tokio::test]
async fn a_key_with_an_unknown_pepper_version_is_refused_after_one_call() {
    let harness = Harness::start().await;
    harness.system.secrets().set(keyring(1));
    let (account, old) = account_with_key(&harness).await;
    rotate(&harness, 2);
    let new = harness.issue_key(&account).await;
    // An operator restores the previous secret.
    harness.system.secrets().set(keyring(1));
    let warm = harness.another_authorizer();
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);

    harness.wire.take_calls();
    let logs = Logs::capture(LevelFilter::INFO);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Refused);
    let [line] = <[_; 1]>::try_from(logs.take_decisions()).unwrap();
    assert_eq!(line["reason"], "wrong_secret");
    assert_eq!(line["cause"], "the pepper secret has no version `v2`");
    assert_eq!(fetches(&harness), 1);
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);
    harness.clock.advance_seconds(UNKNOWN_FOR - 1);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Refused);
    assert_eq!(fetches(&harness), 0);
    harness.clock.advance_seconds(1);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Refused);
    assert_eq!(fetches(&harness), 1);

    harness.system.secrets().set(keyring(2));
    harness.clock.advance_seconds(UNKNOWN_FOR);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Allowed);
}

#[tokio::test]
async fn many_unknown_versions_cause_eight_calls_in_ten_seconds() {
    let harness = Harness::start().await;
    let peppers = harness.system.setup_for("Authorizer").unwrap().keyring().unwrap();
    let known = SecretVersion::parse("v1").unwrap();
    peppers.get(&known).await.unwrap();
    harness.wire.take_calls();
    for round in 1..=2 {
        for version in (2..50).chain(2..50) {
            let version = SecretVersion::parse(&format!("v{version}")).unwrap();
            let error = peppers.get(&version).await.unwrap_err().to_string();
            assert!(error.contains("has no version"), "{error}");
        }
        assert_eq!(fetches(&harness), 8, "round {round}");
        peppers.get(&known).await.unwrap();
        harness.clock.advance_seconds(UNKNOWN_FOR);
    }
}

#[tokio::test]
async fn a_key_with_a_new_pepper_works_at_once_on_a_warm_authorizer() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    let warm = harness.another_authorizer();
    let old = harness.issue_key(&account).await;
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);
    rotate_pepper(&harness, "rotation-1").await;
    harness.clock.advance_seconds(CURRENT_FOR);
    let new = harness.issue_key(&account).await;
    assert_eq!(version(&harness, &new).await, "v2");
    harness.wire.take_calls();
    assert_eq!(check(&warm, &new.secret).await, Verdict::Allowed);
    assert_eq!(fetches(&harness), 1);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Allowed);
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);
    assert_eq!(fetches(&harness), 0);
}

#[tokio::test]
async fn a_warm_authorizer_drops_a_removed_version() {
    let harness = Harness::start().await;
    harness.system.secrets().set(keyring(1));
    let (account, old) = account_with_key(&harness).await;
    rotate(&harness, 2);
    let new = harness.issue_key(&account).await;
    let warm = harness.another_authorizer();
    assert_eq!(check(&warm, &new.secret).await, Verdict::Allowed);
    // An operator removes v1, to end all keys that were issued with it.
    let only_new = json!({ "current": "v2", "v2": "pepper-2-".repeat(6) });
    harness.system.secrets().set(only_new.to_string());
    harness.clock.advance_seconds(KEPT_FOR - 1);
    harness.wire.take_calls();
    assert_eq!(check(&warm, &old.secret).await, Verdict::Allowed);
    assert_eq!(fetches(&harness), 0);
    harness.clock.advance_seconds(1);
    assert_eq!(check(&warm, &old.secret).await, Verdict::Refused);
    assert_eq!(check(&warm, &new.secret).await, Verdict::Allowed);
    assert_eq!(fetches(&harness), 2, "one to renew, and one to look for the missing version");
}

#[tokio::test]
async fn a_renewal_that_fails_or_hangs_changes_no_decision_and_is_retried_rarely() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let warm = harness.another_authorizer();
    assert_eq!(check(&warm, &key.secret).await, Verdict::Allowed);
    harness.clock.advance_seconds(KEPT_FOR);
    for action in [Action::Refuse, Action::Hang, Action::Respond(200, "{}".to_owned())] {
        inject(&harness, FETCH, action.clone());
        harness.wire.take_calls();
        for _ in 0..20 {
            assert_eq!(check(&warm, &key.secret).await, Verdict::Allowed, "{action:?}");
        }
        assert_eq!(fetches(&harness), 1, "{action:?}");
        harness.clock.advance_seconds(RENEWED_AGAIN_AFTER);
    }
    harness.wire.pass_all();
    // Junk causes no renewal, and one successful renewal is enough.
    assert_eq!(check(&warm, &key.secret[..90]).await, Verdict::Refused);
    assert_eq!(fetches(&harness), 0);
    for expected in [1, 0] {
        assert_eq!(check(&warm, &key.secret).await, Verdict::Allowed);
        assert_eq!(fetches(&harness), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_concurrent_misses_share_one_call() {
    let harness = Harness::start().await;
    harness.system.secrets().set(keyring(1));
    harness.wire.intercept(|_| Action::Delay(Duration::from_millis(50)));
    let peppers = harness.system.setup_for("Authorizer").unwrap().keyring().unwrap();
    let found = async |version: &str| {
        let version = SecretVersion::parse(version).unwrap();
        harness.wire.take_calls();
        let found = join_all((0..100).map(|_| peppers.get(&version))).await;
        (found.iter().filter(|pepper| pepper.is_ok()).count(), fetches(&harness))
    };
    // Cold, then warm with an older keyring, then with a version that is known.
    assert_eq!(found("v1").await, (100, 1));
    assert_eq!(found("v2").await, (0, 1));
    harness.system.secrets().set(keyring(2));
    harness.clock.advance_seconds(UNKNOWN_FOR);
    assert_eq!(found("v2").await, (100, 1));
    assert_eq!(found("v1").await, (100, 0));
}

#[tokio::test]
async fn a_fetch_that_failed_at_the_cold_start_is_retried_with_the_next_event() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    inject(&harness, FETCH, Action::Refuse);
    let body = json!({ "name": "batch" });
    let issue = || harness.request("POST", &format!("{}/keys", account.path())).admin().json(&body).send();
    let reply = issue().await.expect_problem(503, "dependency_unavailable");
    assert_eq!(reply.headers["retry-after"], "1");
    harness.wire.pass_all();
    harness.clock.advance_seconds(FAILED_FOR);
    let key = harness.issue_key(&account).await;

    inject(&harness, FETCH, Action::Refuse);
    let cold = harness.another_authorizer();
    cold.warm().await;
    harness.wire.pass_all();
    assert_eq!(
        check(&cold, &key.secret).await,
        Verdict::Allowed,
        "the failure at the start has no further effect"
    );
}

#[tokio::test]
async fn requests_during_an_outage_cause_one_fetch_per_second() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    inject(&harness, FETCH, Action::Refuse);
    let cold = harness.another_authorizer();
    for _ in 0..3 {
        harness.wire.take_calls();
        for _ in 0..50 {
            assert_eq!(check(&cold, &key.secret).await, Verdict::Outage);
        }
        assert_eq!(fetches(&harness), 1);
        harness.clock.advance_seconds(FAILED_FOR);
    }
    harness.wire.pass_all();
    assert_eq!(check(&cold, &key.secret).await, Verdict::Allowed);
}

#[tokio::test]
async fn a_malformed_keyring_allows_nothing_and_is_quoted_nowhere() {
    let harness = Harness::start().await;
    let (account, key) = account_with_key(&harness).await;
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
        harness.system.secrets().set(malformed.clone());
        assert_eq!(check(&harness.another_authorizer(), &key.secret).await, Verdict::Outage, "{malformed}");
        let setup = harness.system.setup_for("IssueKey").unwrap();
        let error = setup.keyring().unwrap().current().await.unwrap_err();
        let texts = format!("{error} {error:?} {}", shared::telemetry::cause(&error));
        assert!(!texts.contains("Canary7"), "{texts}");
        harness.clock.advance_seconds(CURRENT_FOR);
        let body = json!({ "name": "batch" });
        let request = harness.request("POST", &format!("{}/keys", account.path())).admin().json(&body);
        let reply = request.send().await;
        assert!(reply.status >= 500 && !reply.text.contains("Canary7"), "{malformed}: {reply:?}");
    }
}
