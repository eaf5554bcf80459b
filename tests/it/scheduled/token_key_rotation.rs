//! The rotation of the token key keeps the version that was current, drops the one before,
//! and records when it began. It never applies to the pepper, whose versions all stay.

use local::Secrets;
use rotate_secret::{Event, RotateSecret};
use serde_json::{Value, json};
use shared::config::{Setup, variable};
use shared::keyring::{Progress, RotationError, RotationStep};
use tests::{Action, Harness, Logs};
use tracing::level_filters::LevelFilter;

use crate::support::{ROTATION_STEPS, faults, rotate_token_key};

const TOKEN: &str = "rotation-1";
const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// The value of the version with this staging label, if there is one.
fn value(secret: &Secrets, label: &str) -> Option<Value> {
    let versions = secret.versions().into_iter();
    let mut labelled = versions.filter(|(_, labels, _)| labels.iter().any(|own| own == label));
    labelled.find_map(|(_, _, value)| value).map(|value| serde_json::from_str(&value).unwrap())
}

fn token_keys(harness: &Harness) -> Value {
    value(harness.system.token_key_secrets(), CURRENT).unwrap()
}

/// Runs the steps of a rotation of the token key until one fails.
async fn run_steps(harness: &Harness, token: &str) -> Result<Vec<Progress>, RotationError> {
    let mut progress = Vec::new();
    for step in ROTATION_STEPS {
        progress.push(harness.system.rotate_token_key(step, token).await?);
    }
    Ok(progress)
}

#[tokio::test]
async fn a_rotation_keeps_the_current_version_drops_the_one_before_and_records_its_time() {
    let harness = Harness::start().await;
    for round in 1..=12 {
        let before = token_keys(&harness);
        harness.clock.advance_days(30);
        let now = harness.system.setup_for("RotateSecret").unwrap().clock.now().as_second();
        let token = format!("rotation-{round}");
        harness.system.token_key_secrets().begin_rotation(&token);
        let made = [Progress::Made, Progress::Nothing, Progress::Tested, Progress::Finished];
        assert_eq!(run_steps(&harness, &token).await.unwrap(), made);
        let after = token_keys(&harness);
        let (old, new) = (format!("v{round}"), format!("v{}", round + 1));
        let key = after[&new].as_str().unwrap();
        assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(before.as_object().unwrap().values().all(|value| value != key));
        let expected = json!({ "current": new, &*old: before[&old], &*new: key, "since": now.to_string() });
        assert_eq!(after, expected, "round {round}");
        for step in ROTATION_STEPS {
            let again = harness.system.rotate_token_key(step, &token).await.unwrap();
            assert_eq!(again, Progress::AlreadyFinished);
        }
        assert_eq!(token_keys(&harness), after, "repeated steps change nothing");
    }
}

#[tokio::test]
async fn a_rotation_that_is_repeated_after_a_fault_uses_the_pending_value() {
    for operation in ["PutSecretValue", "UpdateSecretVersionStage"] {
        for action in [Action::Refuse, Action::LoseResponse] {
            let harness = Harness::start().await;
            let before = token_keys(&harness);
            harness.system.token_key_secrets().begin_rotation(TOKEN);
            faults::inject(&harness, operation, action.clone());
            let _ = run_steps(&harness, TOKEN).await;
            harness.wire.pass_all();
            let between = token_keys(&harness);
            assert!(between == before || between["current"] == "v2", "{operation}, {action:?}");
            let pending = value(harness.system.token_key_secrets(), PENDING);
            harness.clock.advance_seconds(600);
            run_steps(&harness, TOKEN).await.unwrap();
            let after = token_keys(&harness);
            assert_eq!(after["v1"], before["v1"], "{operation}, {action:?}");
            if let Some(pending) = pending {
                assert_eq!(after, pending, "{operation}, {action:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_pending_value_that_is_not_a_successor_never_becomes_current() {
    let harness = Harness::start().await;
    let [one, two, three] = ["Canary7", "Canary8", "Canary9"].map(|text| text.repeat(10));
    let current = json!({ "current": "v2", "v1": one, "v2": two, "since": "1000" });
    harness.system.token_key_secrets().set(current.to_string());
    for pending in [
        // The version that was current is missing or different.
        json!({ "current": "v3", "v3": three, "since": "2000" }),
        json!({ "current": "v3", "v1": one, "v3": three, "since": "2000" }),
        json!({ "current": "v3", "v2": one, "v3": three, "since": "2000" }),
        // The version before is kept.
        json!({ "current": "v3", "v1": one, "v2": two, "v3": three, "since": "2000" }),
        // There is no new version, or the new version is not current.
        json!({ "current": "v2", "v2": two, "since": "2000" }),
        json!({ "current": "v2", "v1": one, "v2": two, "since": "2000" }),
        json!({ "current": "v2", "v2": two, "v3": three, "since": "2000" }),
        json!({ "current": "v1", "v1": three, "v2": two, "since": "2000" }),
        // The time is missing, too early or malformed.
        json!({ "current": "v3", "v2": two, "v3": three }),
        json!({ "current": "v3", "v2": two, "v3": three, "since": "999" }),
        json!({ "current": "v3", "v2": two, "v3": three, "since": "" }),
        json!({ "current": "v3", "v2": two, "v3": three, "since": "2026-01-01T00:00:00Z" }),
        json!({ "current": "v3", "v2": two, "v3": three, "since": 2000 }),
        json!({ "current": "v3", "v2": two, "v3": three, "since": "9".repeat(18) }),
    ] {
        harness.system.token_key_secrets().begin_rotation(TOKEN);
        harness.system.token_key_secrets().set_pending(TOKEN, pending.to_string());
        let logs = Logs::capture(LevelFilter::INFO);
        for step in [RotationStep::TestSecret, RotationStep::FinishSecret] {
            // The test accepts the current value, with which a rotation can begin.
            let is_same =
                pending["current"] == "v2" && pending["v1"] == one && step == RotationStep::TestSecret;
            let result = harness.system.rotate_token_key(step, TOKEN).await;
            assert!(is_same == result.is_ok(), "{step:?} {pending}: {result:?}");
        }
        assert_eq!(token_keys(&harness), current, "{pending}");
        assert!(!logs.take().contains("Canary"));
    }
}

#[tokio::test]
async fn a_malformed_current_value_is_not_changed() {
    let harness = Harness::start().await;
    let key = "Canary7".repeat(10);
    for current in [
        json!({ "current": "v3", "v1": key, "v2": key, "v3": key, "since": "1000" }),
        json!({ "current": "v2", "v1": key, "v2": key }),
        json!({ "current": "v1", "v1": key, "since": "soon" }),
        json!({ "current": "v2", "v1": key, "since": "1000" }),
    ] {
        harness.system.token_key_secrets().set(current.to_string());
        harness.system.token_key_secrets().begin_rotation(TOKEN);
        let error = run_steps(&harness, TOKEN).await.unwrap_err();
        assert!(matches!(error, RotationError::Current(_)), "{current}: {error:?}");
        assert!(!error.to_string().contains("Canary7"));
        assert_eq!(token_keys(&harness), current);
        assert_eq!(value(harness.system.token_key_secrets(), PENDING), None);
    }
}

/// The pepper's rotation must keep every version, so its value must not look like a token key.
#[tokio::test]
async fn a_pepper_is_never_rotated_like_a_token_key() {
    let harness = Harness::start().await;
    let pepper = "p".repeat(64);
    let current = json!({ "current": "v2", "v1": pepper, "v2": pepper, "since": "1000" });
    harness.system.secrets().set(current.to_string());
    harness.system.secrets().begin_rotation(TOKEN);
    let error = harness.system.rotate_pepper(RotationStep::CreateSecret, TOKEN).await.unwrap_err();
    assert!(matches!(error, RotationError::Current(_)), "{error:?}");
    assert_eq!(value(harness.system.secrets(), CURRENT), Some(current));
}

#[tokio::test]
async fn only_the_two_secrets_of_this_environment_are_rotated() {
    let harness = Harness::start().await;
    let setup = harness.system.setup_for("RotateSecret").unwrap();
    let name = |variable| setup.variables.get(variable).unwrap().to_owned();
    let (pepper, token_key) = (name(variable::PEPPER_SECRET), name(variable::TOKEN_KEY_SECRET));
    for secret in [harness.system.secrets(), harness.system.token_key_secrets()] {
        secret.begin_rotation(TOKEN);
    }
    harness.wire.take_calls();
    let refused = async |setup: &Setup, secret: &str| {
        for step in ROTATION_STEPS {
            let event = Event { step, secret_id: secret.to_owned(), client_request_token: TOKEN.to_owned() };
            let error = RotateSecret::new(setup).unwrap().answer(&event).await.unwrap_err();
            assert!(matches!(error, RotationError::UnknownSecret), "{secret}: {error:?}");
        }
    };
    for secret in ["", "keyward-console", &format!("{pepper} "), &pepper[1..], &format!("{token_key}-a1b2c3")]
    {
        refused(&setup, secret).await;
    }
    // If both variables name the same secret, the function cannot know which rules apply.
    for one in [&pepper, &token_key] {
        let both = [variable::PEPPER_SECRET, variable::TOKEN_KEY_SECRET].map(|name| (name, one.as_str()));
        let variables = setup.variables.iter().chain(both).collect();
        refused(&Setup { variables, ..setup.clone() }, one).await;
    }
    assert_eq!(harness.wire.take_calls().len(), 0, "no secret is read");
}

/// A leaked token key is worth nothing after two rotations.
#[tokio::test]
async fn two_rotations_drop_a_version() {
    let harness = Harness::start().await;
    let leaked = token_keys(&harness)["v1"].clone();
    for round in 1..=2 {
        rotate_token_key(&harness, &format!("rotation-{round}")).await;
    }
    let after = token_keys(&harness);
    assert!(after.as_object().unwrap().values().all(|value| *value != leaked));
    assert_eq!(after["current"], "v3");
}
