//! The rotation of the pepper: it adds one version, whatever breaks it off and
//! whoever runs it twice, and never makes a keyring current that lacks anything.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use rotate_pepper::Event;
use serde_json::{Value, json};
use shared::domain::PepperText;
use shared::keyring::{Progress, RotationError, RotationStep};
use tests::{Action, Call, FailingEntropy, Harness, Logs, SeededEntropy};
use tracing::level_filters::LevelFilter;

use crate::support::{STEPS, faults, report, rotate_pepper};

const TOKEN: &str = "rotation-1";
const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// The value that has this label, if any.
fn value(harness: &Harness, label: &str) -> Option<String> {
    let versions = harness.system.secrets().versions().into_iter();
    versions.filter(|(_, labels, _)| labels.iter().any(|own| own == label)).find_map(|(_, _, value)| value)
}

fn keyring(harness: &Harness) -> Value {
    serde_json::from_str(&value(harness, CURRENT).unwrap()).unwrap()
}

/// Does the steps until one fails.
async fn steps(harness: &Harness, token: &str) -> Result<Vec<Progress>, RotationError> {
    let mut done = Vec::new();
    for step in STEPS {
        done.push(harness.system.rotate_pepper(step, token).await?);
    }
    Ok(done)
}

/// Fails unless the keyring is `before` and one version more.
fn has_one_more(before: &Value, after: &Value) {
    let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
    let number = before.len();
    assert_eq!(after.len(), number + 1);
    let new = format!("v{number}");
    assert_eq!(after["current"], new);
    for (name, value) in before.iter().filter(|(name, _)| *name != "current") {
        assert_eq!(&after[name], value, "{name} is unchanged");
    }
    let pepper = after[&new].as_str().unwrap();
    assert!(pepper.len() == 64 && pepper.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert!(before.values().all(|value| value != pepper));
}

#[tokio::test]
async fn it_adds_one_version_and_keeps_every_other() {
    let harness = Harness::start().await;
    for round in 1..=12 {
        let before = keyring(&harness);
        let token = format!("rotation-{round}");
        harness.system.secrets().begin_rotation(&token);
        let made = [Progress::Made, Progress::Nothing, Progress::Tested, Progress::Finished];
        assert_eq!(steps(&harness, &token).await.unwrap(), made);
        let after = keyring(&harness);
        has_one_more(&before, &after);
        let labels = harness.system.secrets().versions();
        let (_, labels, _) = labels.into_iter().find(|(id, _, _)| *id == token).unwrap();
        assert_eq!(labels, [CURRENT, PENDING], "as Secrets Manager wants a rotation to end");
        // Once more, in any order: nothing changes.
        for step in STEPS {
            let again = harness.system.rotate_pepper(step, &token).await.unwrap();
            assert_eq!(again, Progress::AlreadyFinished);
        }
        assert_eq!(keyring(&harness), after);
    }
}

#[tokio::test]
async fn a_step_that_is_run_again_makes_no_second_pepper() {
    let harness = Harness::start().await;
    let before = keyring(&harness);
    harness.system.secrets().begin_rotation(TOKEN);
    for (times, step) in STEPS.into_iter().enumerate() {
        for _ in 0..=times + 1 {
            harness.system.rotate_pepper(step, TOKEN).await.unwrap();
        }
    }
    has_one_more(&before, &keyring(&harness));
}

/// Breaks the `number`th call off by `action`.
fn disturb(harness: &Harness, number: usize, action: Action) {
    let seen = Mutex::new(Vec::<String>::new());
    harness.wire.disturb(move |call: &Call| {
        let mut seen = seen.lock().unwrap();
        if !seen.contains(&call.invocation) {
            seen.push(call.invocation.clone());
        }
        if seen.get(number) == Some(&call.invocation) { action.clone() } else { Action::Pass }
    });
}

/// The calls of a whole rotation.
async fn calls() -> usize {
    let harness = Harness::start().await;
    harness.wire.take_calls();
    rotate_pepper(&harness, TOKEN).await;
    let calls = harness.wire.take_calls().into_iter();
    calls.map(|call| call.invocation).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn broken_off_at_any_call_it_ends_well_when_it_is_run_again() {
    let calls = calls().await;
    assert!(calls >= 10, "{calls}");
    let mut ended = 0;
    for number in 0..calls {
        // Killed before a call arrives, killed after it was done, and answered
        // by a failure, before and after.
        for action in [Action::Hang, Action::Swallow, Action::Refuse, Action::LoseResponse] {
            let harness = Harness::start().await;
            let before = keyring(&harness);
            harness.system.secrets().begin_rotation(TOKEN);
            disturb(&harness, number, action.clone());
            let is_kill = matches!(action, Action::Hang | Action::Swallow);
            let limit = Duration::from_millis(if is_kill { 250 } else { 20_000 });
            let _ = tokio::time::timeout(limit, steps(&harness, TOKEN)).await;
            harness.wire.calm();
            let between = keyring(&harness);
            assert!(between == before || between["current"] == "v2", "call {number}, {action:?}");
            let pending = value(&harness, PENDING);

            steps(&harness, TOKEN).await.unwrap_or_else(|error| panic!("call {number}, {action:?}: {error}"));
            let after = keyring(&harness);
            has_one_more(&before, &after);
            if let Some(pending) = pending {
                assert_eq!(after, serde_json::from_str::<Value>(&pending).unwrap(), "what was made counts");
            }
            ended += 1;
        }
    }
    report(&format!(
        "{ended} rotations broken off at one of {calls} calls, and all ended with one new version"
    ));
}

#[tokio::test]
async fn a_keyring_that_another_makes_current_at_any_call_is_never_lost() {
    for number in 0..calls().await {
        let harness = Harness::start().await;
        let mut other = keyring(&harness);
        other["v7"] = "of-another-".repeat(6).into();
        other["current"] = "v7".into();
        harness.system.secrets().begin_rotation(TOKEN);
        // Between the call before it and this one, another has come to its end.
        let (secrets, value) = (harness.system.secrets().clone(), other.to_string());
        let seen = Mutex::new(BTreeSet::new());
        harness.wire.disturb(move |call: &Call| {
            let mut seen = seen.lock().unwrap();
            if seen.insert(call.invocation.clone()) && seen.len() == number + 1 {
                secrets.set(value.clone());
            }
            Action::Pass
        });
        let done = steps(&harness, TOKEN).await;
        harness.wire.calm();
        let after = keyring(&harness);
        for version in ["v1", "v7"] {
            assert_eq!(after[version], other[version], "{version} is lost: call {number}, {done:?}");
        }
        if done.is_err() {
            assert_eq!(after, other, "call {number}");
        }
        // The next one goes on from there.
        rotate_pepper(&harness, "rotation-2").await;
        assert_eq!(keyring(&harness)["v7"], other["v7"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_at_once_make_one_version() {
    for delay in [0, 30] {
        let harness = Harness::start().await;
        let before = keyring(&harness);
        harness.system.secrets().begin_rotation(TOKEN);
        // All have read that nothing is pending before the first one writes.
        harness.wire.disturb(move |call| {
            let is_write = call.operation == "PutSecretValue";
            if is_write { Action::Delay(Duration::from_millis(delay)) } else { Action::Pass }
        });
        for step in STEPS {
            let all = join_all((0..8).map(|_| harness.system.rotate_pepper(step, TOKEN))).await;
            assert!(all.iter().all(Result::is_ok), "{step:?}: {all:?}");
        }
        has_one_more(&before, &keyring(&harness));
    }
}

#[tokio::test]
async fn no_answer_of_secrets_manager_makes_a_bad_keyring_current() {
    for (fault, action) in faults::outages() {
        for operation in ["DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"] {
            let harness = Harness::start().await;
            let before = keyring(&harness);
            harness.system.secrets().begin_rotation(TOKEN);
            let action = action.clone();
            harness.wire.disturb(
                move |call| {
                    if call.operation == operation { action.clone() } else { Action::Pass }
                },
            );
            let done = steps(&harness, TOKEN).await;
            harness.wire.calm();
            let after = keyring(&harness);
            if after == before {
                assert!(done.is_err(), "{fault} of {operation}: it says that it is done");
            } else {
                has_one_more(&before, &after);
            }
            steps(&harness, TOKEN).await.unwrap_or_else(|error| panic!("{fault} of {operation}: {error}"));
            has_one_more(&before, &keyring(&harness));
        }
    }
}

#[tokio::test]
async fn a_pending_keyring_that_is_no_successor_is_never_made_current() {
    let harness = Harness::start().await;
    let canary = "Canary7".repeat(10);
    let other = "another".repeat(10);
    let current = json!({ "current": "v2", "v1": canary, "v2": canary });
    harness.system.set_secret(current.to_string());
    for pending in [
        // Lacks a version, or has it otherwise.
        json!({ "current": "v3", "v2": canary, "v3": other }),
        json!({ "current": "v3", "v3": other }),
        json!({ "current": "v3", "v1": other, "v2": canary, "v3": other }),
        json!({ "current": "v3", "v1": canary, "v2": format!("{canary} "), "v3": other }),
        json!({ "current": "v1", "v1": other }),
        // Has no new version, more than one, or another current one.
        json!({ "current": "v1", "v1": canary, "v2": canary }),
        json!({ "current": "v2", "v1": canary, "v2": canary, "v3": other }),
        json!({ "current": "v1", "v1": canary, "v2": canary, "v3": other }),
        json!({ "current": "v4", "v1": canary, "v2": canary, "v3": other, "v4": other }),
        // Is no keyring.
        json!({ "current": "v3", "v1": canary, "v2": canary, "v3": "Canary7" }),
        json!({ "current": "v9", "v1": canary, "v2": canary, "v3": canary }),
        json!({ "v1": canary, "v2": canary, "v3": canary }),
        json!({ "current": "v3", "v1": canary, "v2": canary, "v3": [canary] }),
        json!({ "current": "v3", "v1": canary, "v2": canary, "v03": canary }),
        json!({}),
        json!(null),
        json!([canary]),
    ]
    .map(|pending| pending.to_string())
    .into_iter()
    .chain([String::new(), canary.clone(), format!("{{\"current\": \"v3\", \"v1\": \"{canary}")])
    {
        harness.system.secrets().begin_rotation(TOKEN);
        harness.system.secrets().set_pending(TOKEN, pending.clone());
        let logs = Logs::capture(LevelFilter::INFO);
        for step in [RotationStep::TestSecret, RotationStep::FinishSecret] {
            let error = harness.system.rotate_pepper(step, TOKEN).await.unwrap_err();
            assert!(matches!(error, RotationError::Pending(_)), "{step:?} {pending}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("Canary7"));
        }
        // A whole rotation ends no better, and keeps what it did not make.
        steps(&harness, TOKEN).await.unwrap_err();
        assert_eq!(keyring(&harness), current, "{pending}");
        assert_eq!(value(&harness, PENDING), Some(pending));
        assert!(!logs.take().contains("Canary7"));
    }
}

#[tokio::test]
async fn a_trial_of_the_set_up_passes_and_changes_nothing() {
    let harness = Harness::start().await;
    let before = value(&harness, CURRENT).unwrap();
    harness.system.secrets().begin_rotation(TOKEN);
    harness.system.secrets().set_pending(TOKEN, before.clone());
    let tested = harness.system.rotate_pepper(RotationStep::TestSecret, TOKEN).await.unwrap();
    assert_eq!(tested, Progress::Tested);
    harness.system.rotate_pepper(RotationStep::FinishSecret, TOKEN).await.unwrap_err();
    assert_eq!(value(&harness, CURRENT), Some(before));
}

#[tokio::test]
async fn a_change_by_hand_in_the_middle_is_not_lost() {
    let harness = Harness::start().await;
    let mut by_hand = keyring(&harness);
    by_hand["v7"] = "by-hand-".repeat(8).into();
    by_hand["current"] = "v7".into();
    // Between the steps.
    harness.system.secrets().begin_rotation(TOKEN);
    for step in [RotationStep::CreateSecret, RotationStep::SetSecret, RotationStep::TestSecret] {
        harness.system.rotate_pepper(step, TOKEN).await.unwrap();
    }
    harness.system.set_secret(by_hand.to_string());
    for step in [RotationStep::TestSecret, RotationStep::FinishSecret] {
        harness.system.rotate_pepper(step, TOKEN).await.unwrap_err();
    }
    assert_eq!(keyring(&harness), by_hand);

    // Between the check of the last step and its move.
    let mut later = by_hand.clone();
    later["v8"] = "by-hand-again-".repeat(8).into();
    harness.system.secrets().begin_rotation("rotation-2");
    for step in [RotationStep::CreateSecret, RotationStep::SetSecret, RotationStep::TestSecret] {
        harness.system.rotate_pepper(step, "rotation-2").await.unwrap();
    }
    let (secrets, value) = (harness.system.secrets().clone(), later.to_string());
    harness.wire.disturb(move |call| {
        if call.operation == "UpdateSecretVersionStage" {
            secrets.set(value.clone());
        }
        Action::Pass
    });
    harness.system.rotate_pepper(RotationStep::FinishSecret, "rotation-2").await.unwrap_err();
    harness.wire.calm();
    assert_eq!(keyring(&harness), later);

    // The next rotation goes on from there.
    rotate_pepper(&harness, "rotation-3").await;
    let after = keyring(&harness);
    assert_eq!((&after["current"], &after["v7"], &after["v8"]), (&json!("v9"), &later["v7"], &later["v8"]));
}

#[tokio::test]
async fn without_a_rotation_under_way_nothing_happens() {
    let harness = Harness::start().await;
    let before = harness.system.secrets().versions();
    let refused = async |token: &str| {
        for step in STEPS {
            let error = harness.system.rotate_pepper(step, token).await.unwrap_err();
            assert!(matches!(error, RotationError::NotUnderWay(_)), "{step:?}: {error:?}");
        }
    };
    refused(TOKEN).await;
    assert_eq!(harness.system.secrets().versions(), before);
    harness.system.secrets().begin_rotation(TOKEN);
    refused("another").await;
    harness.system.secrets().cancel_rotation();
    refused(TOKEN).await;
    assert_eq!(value(&harness, PENDING), None);
}

#[tokio::test]
async fn a_current_keyring_that_is_malformed_or_full_is_left_alone() {
    let harness = Harness::start().await;
    let mut full = json!({ "current": "v1" });
    for version in 1..=886 {
        full[format!("v{version}")] = "p".repeat(64).into();
    }
    let last = json!({ "current": "v999999999", "v999999999": "p".repeat(64) });
    for current in [full, last, json!({ "v1": "Canary7".repeat(10) }), json!("Canary7")] {
        harness.system.set_secret(current.to_string());
        harness.system.secrets().begin_rotation(TOKEN);
        let error = steps(&harness, TOKEN).await.unwrap_err();
        assert!(matches!(error, RotationError::Current(_)), "{error:?}");
        assert!(!error.to_string().contains("Canary7"));
        assert_eq!(keyring(&harness), current);
        assert_eq!(value(&harness, PENDING), None);
    }
}

#[tokio::test]
async fn a_random_source_that_fails_makes_no_pepper() {
    let harness = Harness::builder().entropy(FailingEntropy).start().await;
    let before = keyring(&harness);
    harness.system.secrets().begin_rotation(TOKEN);
    let error = steps(&harness, TOKEN).await.unwrap_err();
    assert!(matches!(error, RotationError::Entropy(_)), "{error:?}");
    assert_eq!((keyring(&harness), value(&harness, PENDING)), (before, None));
}

#[tokio::test]
async fn each_character_of_a_pepper_has_the_same_chance() {
    let harness = Harness::builder().entropy(SeededEntropy::new(7)).start().await;
    let mut counts = [0_u32; 128];
    let mut total = 0;
    for round in 0..200 {
        rotate_pepper(&harness, &format!("rotation-{round}")).await;
        let keyring = keyring(&harness);
        let pepper = keyring[keyring["current"].as_str().unwrap()].as_str().unwrap();
        for byte in pepper.bytes() {
            counts[usize::from(byte)] += 1;
            total += 1;
        }
    }
    let expected = f64::from(total) / 62.0;
    let letters = (0..128).filter(|byte: &u8| byte.is_ascii_alphanumeric());
    let chi: f64 =
        letters.map(|byte| (f64::from(counts[usize::from(byte)]) - expected).powi(2) / expected).sum();
    // 61 degrees of freedom: 120 is beyond one in 100,000.
    assert!(chi < 120.0, "{chi}");
}

#[test]
fn an_event_of_secrets_manager_is_read() {
    for (name, step) in ["createSecret", "setSecret", "testSecret", "finishSecret"].into_iter().zip(STEPS) {
        let event = json!({
            "Step": name, "SecretId": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:Pepper-a1b2c3",
            "ClientRequestToken": TOKEN, "RotationToken": "opaque",
        });
        let event: Event = serde_json::from_value(event).unwrap();
        assert_eq!((event.step, event.client_request_token.as_str()), (step, TOKEN));
    }
    let unknown = json!({ "Step": "create_secret", "SecretId": "x", "ClientRequestToken": "y" });
    assert!(serde_json::from_value::<Event>(unknown).is_err());
}

#[test]
fn a_pepper_shows_nothing_of_itself() {
    let pepper = PepperText::generate(&SeededEntropy::new(1)).unwrap();
    assert_eq!(format!("{pepper:?}"), "PepperText(SecretBox<str>([REDACTED]))");
    let shared = Arc::new(pepper);
    assert!(shared.matches(&shared));
    assert!(!shared.matches(&PepperText::generate(&SeededEntropy::new(2)).unwrap()));
}
