//! The rotation of the pepper adds exactly one version, even if it is interrupted, repeated
//! or run concurrently. A keyring that lacks a version never becomes current.

use std::collections::BTreeSet;
use std::sync::{Mutex, Once};
use std::time::Duration;

use futures::future::join_all;
use rotate_secret::Event;
use serde_json::{Value, json};
use shared::domain::PepperText;
use shared::keyring::{Progress, RotationError, RotationStep};
use tests::{Action, Call, FailingEntropy, Harness, Logs, SeededEntropy};
use tracing::level_filters::LevelFilter;

use crate::support::{ROTATION_STEPS, faults, report, rotate_pepper};

const TOKEN: &str = "rotation-1";
const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// The value of the secret version with this staging label, if there is one.
fn secret_value(harness: &Harness, label: &str) -> Option<String> {
    let versions = harness.system.secrets().versions().into_iter();
    versions.filter(|(_, labels, _)| labels.iter().any(|own| own == label)).find_map(|(_, _, value)| value)
}

/// The current keyring.
fn keyring(harness: &Harness) -> Value {
    serde_json::from_str(&secret_value(harness, CURRENT).unwrap()).unwrap()
}

/// Runs the steps of a rotation until one fails.
async fn run_steps(harness: &Harness, token: &str) -> Result<Vec<Progress>, RotationError> {
    let mut progress = Vec::new();
    for step in ROTATION_STEPS {
        progress.push(harness.system.rotate_pepper(step, token).await?);
    }
    Ok(progress)
}

/// Starts a rotation and runs all steps but the last one.
async fn prepare_rotation(harness: &Harness, token: &str) {
    harness.system.secrets().begin_rotation(token);
    for step in &ROTATION_STEPS[..3] {
        harness.system.rotate_pepper(*step, token).await.unwrap();
    }
}

/// Checks that `after` is `before` with one more version, which is current.
fn expect_one_new_version(before: &Value, after: &Value) {
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
async fn a_rotation_adds_one_version_and_keeps_all_others() {
    let harness = Harness::start().await;
    for round in 1..=12 {
        let before = keyring(&harness);
        let token = format!("rotation-{round}");
        harness.system.secrets().begin_rotation(&token);
        let made = [Progress::Made, Progress::Nothing, Progress::Tested, Progress::Finished];
        assert_eq!(run_steps(&harness, &token).await.unwrap(), made);
        let after = keyring(&harness);
        expect_one_new_version(&before, &after);
        let labels = harness.system.secrets().versions();
        let (_, labels, _) = labels.into_iter().find(|(id, _, _)| *id == token).unwrap();
        assert_eq!(labels, [CURRENT, PENDING], "the labels that Secrets Manager requires after a rotation");
        // Repeated steps change nothing.
        for step in ROTATION_STEPS {
            let again = harness.system.rotate_pepper(step, &token).await.unwrap();
            assert_eq!(again, Progress::AlreadyFinished);
        }
        assert_eq!(keyring(&harness), after);
    }
}

#[tokio::test]
async fn repeated_steps_create_no_second_pepper() {
    let harness = Harness::start().await;
    let before = keyring(&harness);
    harness.system.secrets().begin_rotation(TOKEN);
    for (times, step) in ROTATION_STEPS.into_iter().enumerate() {
        for _ in 0..=times + 1 {
            harness.system.rotate_pepper(step, TOKEN).await.unwrap();
        }
    }
    expect_one_new_version(&before, &keyring(&harness));
}

/// Uses `action` for each attempt of the call with this number, counted from 0.
fn intercept_call(harness: &Harness, number: usize, action: impl Fn() -> Action + Send + Sync + 'static) {
    let seen = Mutex::new(Vec::<String>::new());
    harness.wire.intercept(move |call: &Call| {
        let mut seen = seen.lock().unwrap();
        if !seen.contains(&call.invocation) {
            seen.push(call.invocation.clone());
        }
        if seen.get(number) == Some(&call.invocation) { action() } else { Action::Pass }
    });
}

/// The number of calls of a rotation.
async fn count_calls() -> usize {
    let harness = Harness::start().await;
    harness.wire.take_calls();
    rotate_pepper(&harness, TOKEN).await;
    let calls = harness.wire.take_calls().into_iter();
    calls.map(|call| call.invocation).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn a_rotation_interrupted_at_any_call_succeeds_when_it_is_repeated() {
    let calls = count_calls().await;
    assert!(calls >= 10, "{calls}");
    let mut completed = 0;
    for number in 0..calls {
        // The function is killed, or the call fails, before or after the call takes effect.
        for action in [Action::Hang, Action::WithholdResponse, Action::Refuse, Action::LoseResponse] {
            let harness = Harness::start().await;
            let before = keyring(&harness);
            harness.system.secrets().begin_rotation(TOKEN);
            let fault = action.clone();
            intercept_call(&harness, number, move || fault.clone());
            let is_kill = matches!(action, Action::Hang | Action::WithholdResponse);
            let limit = Duration::from_millis(if is_kill { 250 } else { 20_000 });
            let _ = tokio::time::timeout(limit, run_steps(&harness, TOKEN)).await;
            harness.wire.pass_all();
            let between = keyring(&harness);
            assert!(between == before || between["current"] == "v2", "call {number}, {action:?}");
            let pending = secret_value(&harness, PENDING);

            run_steps(&harness, TOKEN)
                .await
                .unwrap_or_else(|error| panic!("call {number}, {action:?}: {error}"));
            let after = keyring(&harness);
            expect_one_new_version(&before, &after);
            if let Some(pending) = pending {
                assert_eq!(
                    after,
                    serde_json::from_str::<Value>(&pending).unwrap(),
                    "the repetition uses the pending keyring"
                );
            }
            completed += 1;
        }
    }
    report(&format!(
        "{completed} rotations were interrupted at one of {calls} calls, and all added one version"
    ));
}

#[tokio::test]
async fn a_keyring_that_becomes_current_during_any_call_is_not_lost() {
    for number in 0..count_calls().await {
        let harness = Harness::start().await;
        let mut other = keyring(&harness);
        other["v7"] = "of-another-".repeat(6).into();
        other["current"] = "v7".into();
        harness.system.secrets().begin_rotation(TOKEN);
        // Another rotation finishes just before this call.
        let (secrets, value) = (harness.system.secrets().clone(), other.to_string());
        let finish = Once::new();
        intercept_call(&harness, number, move || {
            finish.call_once(|| secrets.set(value.clone()));
            Action::Pass
        });
        let result = run_steps(&harness, TOKEN).await;
        harness.wire.pass_all();
        let after = keyring(&harness);
        for version in ["v1", "v7"] {
            assert_eq!(after[version], other[version], "{version} is lost: call {number}, {result:?}");
        }
        if result.is_err() {
            assert_eq!(after, other, "call {number}");
        }
        // The next rotation continues from this keyring.
        rotate_pepper(&harness, "rotation-2").await;
        assert_eq!(keyring(&harness)["v7"], other["v7"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_steps_add_one_version() {
    for delay in [0, 30] {
        let harness = Harness::start().await;
        let before = keyring(&harness);
        harness.system.secrets().begin_rotation(TOKEN);
        // Delays the first write until all runs have read that no version is pending.
        faults::inject(&harness, "PutSecretValue", Action::Delay(Duration::from_millis(delay)));
        for step in ROTATION_STEPS {
            let all = join_all((0..8).map(|_| harness.system.rotate_pepper(step, TOKEN))).await;
            assert!(all.iter().all(Result::is_ok), "{step:?}: {all:?}");
        }
        expect_one_new_version(&before, &keyring(&harness));
    }
}

#[tokio::test]
async fn no_fault_of_secrets_manager_makes_a_wrong_keyring_current() {
    for (fault, action) in faults::outages() {
        for operation in ["DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"] {
            let harness = Harness::start().await;
            let before = keyring(&harness);
            harness.system.secrets().begin_rotation(TOKEN);
            faults::inject(&harness, operation, action.clone());
            let result = run_steps(&harness, TOKEN).await;
            harness.wire.pass_all();
            let after = keyring(&harness);
            if after == before {
                assert!(result.is_err(), "{fault} of {operation}: the rotation reports success");
            } else {
                expect_one_new_version(&before, &after);
            }
            run_steps(&harness, TOKEN)
                .await
                .unwrap_or_else(|error| panic!("{fault} of {operation}: {error}"));
            expect_one_new_version(&before, &keyring(&harness));
        }
    }
}

#[tokio::test]
async fn a_pending_keyring_that_is_not_a_successor_never_becomes_current() {
    let harness = Harness::start().await;
    let canary = "Canary7".repeat(10);
    let other = "another".repeat(10);
    let current = json!({ "current": "v2", "v1": canary, "v2": canary });
    harness.system.secrets().set(current.to_string());
    for pending in [
        // A version is missing or different.
        json!({ "current": "v3", "v2": canary, "v3": other }),
        json!({ "current": "v3", "v3": other }),
        json!({ "current": "v3", "v1": other, "v2": canary, "v3": other }),
        json!({ "current": "v3", "v1": canary, "v2": format!("{canary} "), "v3": other }),
        json!({ "current": "v1", "v1": other }),
        // There is no new version, there are two, or the new version is not current.
        json!({ "current": "v1", "v1": canary, "v2": canary }),
        json!({ "current": "v2", "v1": canary, "v2": canary, "v3": other }),
        json!({ "current": "v1", "v1": canary, "v2": canary, "v3": other }),
        json!({ "current": "v4", "v1": canary, "v2": canary, "v3": other, "v4": other }),
        // The value is not a keyring.
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
        // A whole rotation fails too, and does not replace the pending value.
        run_steps(&harness, TOKEN).await.unwrap_err();
        assert_eq!(keyring(&harness), current, "{pending}");
        assert_eq!(secret_value(&harness, PENDING), Some(pending));
        assert!(!logs.take().contains("Canary7"));
    }
}

#[tokio::test]
async fn testing_the_current_keyring_as_pending_succeeds_and_changes_nothing() {
    let harness = Harness::start().await;
    let before = secret_value(&harness, CURRENT).unwrap();
    harness.system.secrets().begin_rotation(TOKEN);
    harness.system.secrets().set_pending(TOKEN, before.clone());
    let tested = harness.system.rotate_pepper(RotationStep::TestSecret, TOKEN).await.unwrap();
    assert_eq!(tested, Progress::Tested);
    harness.system.rotate_pepper(RotationStep::FinishSecret, TOKEN).await.unwrap_err();
    assert_eq!(secret_value(&harness, CURRENT), Some(before));
}

#[tokio::test]
async fn a_manual_change_during_a_rotation_is_not_lost() {
    let harness = Harness::start().await;
    let mut manual = keyring(&harness);
    manual["v7"] = "by-hand-".repeat(8).into();
    manual["current"] = "v7".into();
    // Between two steps.
    prepare_rotation(&harness, TOKEN).await;
    harness.system.secrets().set(manual.to_string());
    for step in [RotationStep::TestSecret, RotationStep::FinishSecret] {
        harness.system.rotate_pepper(step, TOKEN).await.unwrap_err();
    }
    assert_eq!(keyring(&harness), manual);

    // Between the check and the write of the last step.
    let mut later = manual.clone();
    later["v8"] = "by-hand-again-".repeat(8).into();
    prepare_rotation(&harness, "rotation-2").await;
    let (secrets, value) = (harness.system.secrets().clone(), later.to_string());
    harness.wire.intercept(move |call| {
        if call.operation == "UpdateSecretVersionStage" {
            secrets.set(value.clone());
        }
        Action::Pass
    });
    harness.system.rotate_pepper(RotationStep::FinishSecret, "rotation-2").await.unwrap_err();
    harness.wire.pass_all();
    assert_eq!(keyring(&harness), later);

    // The next rotation continues from this keyring.
    rotate_pepper(&harness, "rotation-3").await;
    let after = keyring(&harness);
    assert_eq!((&after["current"], &after["v7"], &after["v8"]), (&json!("v9"), &later["v7"], &later["v8"]));
}

#[tokio::test]
async fn without_a_rotation_in_progress_every_step_fails() {
    let harness = Harness::start().await;
    let before = harness.system.secrets().versions();
    let refused = async |token: &str| {
        for step in ROTATION_STEPS {
            let error = harness.system.rotate_pepper(step, token).await.unwrap_err();
            assert!(matches!(error, RotationError::NotInProgress(_)), "{step:?}: {error:?}");
        }
    };
    refused(TOKEN).await;
    assert_eq!(harness.system.secrets().versions(), before);
    harness.system.secrets().begin_rotation(TOKEN);
    refused("another").await;
    harness.system.secrets().cancel_rotation();
    refused(TOKEN).await;
    assert_eq!(secret_value(&harness, PENDING), None);
}

#[tokio::test]
async fn a_malformed_or_full_current_keyring_is_not_changed() {
    let harness = Harness::start().await;
    let mut full = json!({ "current": "v1" });
    for version in 1..=886 {
        full[format!("v{version}")] = "p".repeat(64).into();
    }
    let last = json!({ "current": "v999999999", "v999999999": "p".repeat(64) });
    for current in [full, last, json!({ "v1": "Canary7".repeat(10) }), json!("Canary7")] {
        harness.system.secrets().set(current.to_string());
        harness.system.secrets().begin_rotation(TOKEN);
        let error = run_steps(&harness, TOKEN).await.unwrap_err();
        assert!(matches!(error, RotationError::Current(_)), "{error:?}");
        assert!(!error.to_string().contains("Canary7"));
        assert_eq!(keyring(&harness), current);
        assert_eq!(secret_value(&harness, PENDING), None);
    }
}

#[tokio::test]
async fn a_failing_random_source_creates_no_pepper() {
    let harness = Harness::builder().entropy(FailingEntropy).start().await;
    let before = keyring(&harness);
    harness.system.secrets().begin_rotation(TOKEN);
    let error = run_steps(&harness, TOKEN).await.unwrap_err();
    assert!(matches!(error, RotationError::Entropy(_)), "{error:?}");
    assert_eq!((keyring(&harness), secret_value(&harness, PENDING)), (before, None));
}

#[tokio::test]
async fn each_character_of_a_pepper_is_equally_likely() {
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
    let characters = (0..128).filter(|byte: &u8| byte.is_ascii_alphanumeric());
    let chi_squared: f64 =
        characters.map(|byte| (f64::from(counts[usize::from(byte)]) - expected).powi(2) / expected).sum();
    // With 61 degrees of freedom, the probability of 120 or more is below 1 in 100,000.
    assert!(chi_squared < 120.0, "{chi_squared}");
}

#[test]
fn parses_the_events_of_secrets_manager() {
    for (name, step) in
        ["createSecret", "setSecret", "testSecret", "finishSecret"].into_iter().zip(ROTATION_STEPS)
    {
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
fn debug_output_of_a_pepper_is_redacted() {
    let pepper = PepperText::generate(&SeededEntropy::new(1)).unwrap();
    assert_eq!(format!("{pepper:?}"), "PepperText(SecretBox<str>([REDACTED]))");
    assert!(pepper.matches(&pepper));
    assert!(!pepper.matches(&PepperText::generate(&SeededEntropy::new(2)).unwrap()));
}
