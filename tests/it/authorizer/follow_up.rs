//! What the authorizer does after its response: look up why a key is not live, log the
//! decision, and write activity. No client waits for this.

use std::time::Duration;

use authorizer::{Authorizer, Decision};
use serde_json::{Value, json};
use shared::domain::{ApiKey, Environment};
use shared::policy::Api;
use tests::{Action, Harness, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::lambda::{FunctionProcess, Recorder};

/// The verdict, the calls to AWS before the response, and the calls after it.
async fn calls(
    harness: &Harness,
    authorizer: &Authorizer,
    credential: &str,
) -> (Verdict, Vec<String>, Vec<String>) {
    harness.wire.take_calls();
    let event = Shape::HttpV2.bearer(credential).to_string();
    let Decision { answer, follow_up } = authorizer.decide(&event, "invocation-1").await;
    let before = harness.wire.take_operations();
    authorizer.follow_up(follow_up).await;
    (answer.into(), before, harness.wire.take_operations())
}

/// A well-formed key of the same account that was never issued.
fn forged(secret: &str, number: usize) -> String {
    let local = Environment::parse("local").unwrap();
    let mut key = ApiKey::parse(secret, &local).unwrap();
    key.id = format!("key_{number:016}").parse().unwrap();
    key.display(&local).expose().to_owned()
}

#[tokio::test]
async fn every_key_takes_one_read_before_the_response() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [live, revoked] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = harness.revoke(&revoked).await.expect(204);
    let authorizer = harness.another_authorizer();
    authorizer.warm().await;
    let logs = Logs::capture(LevelFilter::INFO);
    for (credential, verdict, reason, after) in [
        (
            live.secret.clone(),
            Verdict::Allow,
            "allowed",
            &["PutItem", "PutItem", "UpdateItem", "UpdateItem"][..],
        ),
        (live.secret.clone(), Verdict::Allow, "allowed", &["UpdateItem", "UpdateItem"]),
        (revoked.secret, Verdict::Deny, "revoked", &["GetItem", "PutItem", "UpdateItem", "UpdateItem"]),
        (forged(&live.secret, 0), Verdict::Deny, "unknown", &["GetItem", "UpdateItem"]),
    ] {
        let (decided, before, mut later) = calls(&harness, &authorizer, &credential).await;
        // Writes are made at the same time.
        later.sort();
        assert_eq!((decided, before), (verdict, vec!["GetItem".to_owned()]), "{reason}");
        assert_eq!(later, after, "{reason}");
        assert_eq!(logs.take_decisions()[0]["reason"], reason);
    }
}

#[tokio::test]
async fn forged_keys_cause_at_most_five_more_reads_per_second() {
    let harness = Harness::start().await;
    let live = harness.reader_key().await.secret;
    let authorizer = harness.another_authorizer();
    let logs = Logs::capture(LevelFilter::INFO);
    for second in 0..3 {
        let mut reads = 0;
        for number in 0..40 {
            let (verdict, before, after) =
                calls(&harness, &authorizer, &forged(&live, 40 * second + number)).await;
            assert_eq!(verdict, Verdict::Deny);
            assert_eq!(before.iter().filter(|call| *call == "GetItem").count(), 1, "{before:?}");
            reads += after.iter().filter(|call| *call == "GetItem").count();
        }
        assert_eq!(reads, 5, "in second {second}");
        let decisions = logs.take_decisions();
        assert!(decisions.iter().all(|line| line["reason"] == "unknown"));
        let skipped = decisions.iter().filter(|line| line.get("cause").is_some()).count();
        assert_eq!(skipped, 35, "the log shows which keys were not looked up");
        harness.clock.advance_seconds(1);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_logged_and_changes_no_decision() {
    let harness = Harness::start().await;
    let live = harness.reader_key().await.secret;
    let authorizer = harness.another_authorizer();
    authorizer.warm().await;
    for fault in [Action::Refuse, Action::Hang, Action::Respond(400, "{}".to_owned())] {
        let logs = Logs::capture(LevelFilter::INFO);
        let what = format!("{fault:?}");
        harness.wire.intercept(move |call| {
            let is_record = call.body["Key"]["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("RETIRED#"));
            if is_record { fault.clone() } else { Action::Pass }
        });
        let started = std::time::Instant::now();
        let (verdict, _, _) = calls(&harness, &authorizer, &forged(&live, 1)).await;
        assert_eq!(verdict, Verdict::Deny, "{what}");
        assert!(started.elapsed() < Duration::from_secs(2), "{what}");
        let decision = logs.take_decisions().remove(0);
        assert_eq!(decision["reason"], "unknown", "{what}");
        assert!(
            decision["cause"].as_str().unwrap().starts_with("its record could not be read"),
            "{decision}"
        );
        harness.clock.advance_seconds(1);
    }
}

#[tokio::test]
async fn a_role_shared_by_account_and_key_is_read_once() {
    let harness = Harness::start().await;
    harness.put_role("Shared", &["GET /organizations/{id}"]).await;
    harness.put_role("Other", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("batch", "Shared").await;
    let authorizer = harness.another_authorizer();
    authorizer.warm().await;
    for (role, reads) in [("Shared", 2), ("Other", 3)] {
        let key = harness.issue_key_with(&account, &json!({ "name": "key", "role": role })).await;
        let (verdict, before, _) = calls(&harness, &authorizer, &key.secret).await;
        assert_eq!((verdict, before.len()), (Verdict::Allow, reads), "{role}: {before:?}");
    }
}

#[tokio::test]
async fn a_logged_decision_describes_its_request() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let bearer = format!("Bearer {key}");
    let line = async |api: Api, event: &Value| {
        let logs = Logs::capture(LevelFilter::INFO);
        harness.verdict_at(api, event).await;
        logs.take_decisions().remove(0)
    };
    let event = Shape::HttpV2.event("GET", "/organizations/42", &bearer);
    let decision = line(Api::Business, &event).await;
    let fields = ["api", "source", "method", "path"].map(|name| decision[name].as_str().unwrap());
    assert_eq!(fields, ["business", "203.0.113.7", "GET", "/organizations/42"]);
    assert_eq!((decision.get("sent_path"), decision.get("sent_method")), (None, None));

    let mut event = Shape::HttpV2.event("GET", "/organizations/42", &bearer);
    event["rawPath"] = "/v9/organizations/42".into();
    event["requestContext"]["http"]["method"] = "POST".into();
    let decision = line(Api::Business, &event).await;
    let fields =
        ["reason", "method", "path", "sent_method", "sent_path"].map(|name| decision[name].as_str().unwrap());
    assert_eq!(fields, ["path_mismatch", "GET", "/organizations/42", "POST", "/v9/organizations/42"]);

    // A TOKEN event has no source address.
    let decision = line(Api::Iam, &Shape::RestToken.event("GET", "/iam/v1/whoami", &bearer)).await;
    assert_eq!((&decision["api"], decision.get("source")), (&json!("iam"), None));

    // A path cannot forge another log line, fill the log, or leak a key.
    let hostile =
        "/x\n{\"message\":\"decision\"}\u{1b}[31m\u{202e}\u{feff}\u{7f}\u{85}\u{61c}\u{ad}\u{200d}\u{e0041}";
    let decision = line(Api::Business, &Shape::HttpV2.event("GET", hostile, &bearer)).await;
    let path = decision["path"].as_str().unwrap();
    assert_eq!(
        path,
        "/x\\u{a}{\"message\":\"decision\"}\\u{1b}[31m\\u{202e}\\u{feff}\\u{7f}\\u{85}\\u{61c}\\u{ad}\\u{200d}\\u{e0041}"
    );
    let long = format!("/{}", "é".repeat(5_000));
    let decision = line(Api::Business, &Shape::HttpV2.event("GET", &long, &bearer)).await;
    assert_eq!(decision["path"].as_str().unwrap(), format!("/{}…", "é".repeat(255)));
    let decision = line(Api::Business, &Shape::HttpV2.event(&"M".repeat(99), "/x", &bearer)).await;
    assert_eq!(decision["method"].as_str().unwrap(), format!("{}…", "M".repeat(32)));
    let leaked = format!("/x/{key}");
    let decision = line(Api::Business, &Shape::HttpV2.event("GET", &leaked, &bearer)).await;
    assert!(!decision.to_string().contains(&key), "{decision}");
}

/// Uses Lambda's runtime, because the other tests call the authorizer's functions in order
/// themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_response_is_posted_before_anything_is_looked_up_or_counted() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let variables = harness.variables_to_share("Authorizer").await;
    let event = Shape::HttpV2.bearer(&revoked.secret).to_string();
    let recorder = Recorder::new(&harness, &variables, event);
    let (runtime, dynamodb) = recorder.serve().await;
    let mut process = FunctionProcess::start_authorizer(&variables, &dynamodb, &runtime, None);
    let mut log = process.take_log();
    let steps = recorder.steps_until_the_second_event().await;
    process.kill().await;
    // The first read, at the start, opens the connection.
    let (ordered, mut writes) = steps.split_at(5);
    assert_eq!(ordered, ["GetItem ACCOUNT", "next", "GetItem ACCOUNT", "response", "GetItem RETIRED"]);
    // Writes are made at the same time, and before the next event.
    let next = writes.split_off_last().unwrap();
    let mut writes = writes.to_vec();
    writes.sort();
    assert_eq!(writes, ["PutItem REQUESTS", "UpdateItem TOTALS", "UpdateItem USAGE"]);
    assert_eq!(next, "next");
    let decision = log.next_decision().await.expect("a decision");
    assert_eq!((&decision["reason"], &decision["request_id"]), (&json!("revoked"), &json!("request-1")));
}
