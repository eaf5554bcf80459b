//! The usage of keys. The authorizer writes it at most once in five minutes per key and
//! instance, within a time limit, and without effect on the decision. The API shows it
//! with the keys.

use std::time::{Duration, Instant};

use authorizer::{Authorizer, FunctionError};
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use shared::config::Variables;
use shared::domain::{ApiKey, Environment};
use tests::{Account, Action, Call, Harness, Item, Key, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::faults::{is_usage_write, service_error};
use crate::support::keys::use_key;
use crate::support::{self, report};

/// The variable that contains the number of checks of the hot path.
const CHECKS: &str = "KEYWARD_TEST_CHECKS";

/// The time limit of a write, and the additional time that a busy machine can need.
const WRITE_LIMIT: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_millis(600);

async fn usage(harness: &Harness, key: &Key) -> Option<Item> {
    harness.table.get(&format!("USAGE#{}", key.account), &key.id).await
}

fn number(item: &Item, name: &str) -> i64 {
    item[name].as_n().unwrap_or_else(|_| panic!("{item:?}")).parse().unwrap()
}

/// The account of a key, as the API shows it.
async fn shown(harness: &Harness, key: &Key) -> Value {
    harness.get(&Account { id: key.account.clone() }.path()).await.json()
}

async fn rotate(harness: &Harness, key: &Key, grace: u32) -> Key {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    let rotated = request.json(&json!({ "graceSeconds": grace })).send().await.expect(201);
    Key::from_issued(&Account { id: key.account.clone() }, &rotated)
}

#[tokio::test]
async fn the_first_use_after_five_minutes_is_written_with_the_uses_before_it() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    assert_eq!(usage(&harness, &key).await, None);
    let unused = shown(&harness, &key).await["keys"][0].clone();
    assert_eq!((unused.get("lastUsedAt"), &unused["usesByDay"]), (None, &json!({})));

    harness.clock.advance_seconds(86_400 - 120);
    use_key(&harness, &key).await;
    let first = usage(&harness, &key).await.unwrap();
    assert_eq!(number(&first, "lastUsedAt"), 1_767_225_600 + 86_280);
    assert_eq!(number(&first, "2026-01-01"), 1);
    assert_eq!(number(&first, "ttl"), 1_767_225_600 + 86_280 + 400 * 86_400);
    for seconds in [0, 119, 1, 179] {
        harness.clock.advance_seconds(seconds);
        use_key(&harness, &key).await;
        assert_eq!(usage(&harness, &key).await.as_ref(), Some(&first), "written again within five minutes");
    }
    // A refused request is not a use.
    assert_eq!(harness.request("POST", "/teams").bearer(&key.secret).send().await.status, 403);
    harness.clock.advance_seconds(1);
    use_key(&harness, &key).await;
    let second = usage(&harness, &key).await.unwrap();
    assert_eq!(number(&second, "lastUsedAt"), 1_767_225_600 + 86_580);
    assert_eq!((number(&second, "2026-01-01"), number(&second, "2026-01-02")), (3, 3));
    let shown = shown(&harness, &key).await["keys"][0].clone();
    assert_eq!(shown["lastUsedAt"], "2026-01-02T00:03:00Z");
    assert_eq!(shown["usesByDay"], json!({ "2026-01-01": 3, "2026-01-02": 3 }));
}

#[tokio::test]
async fn a_token_of_an_admin_has_no_usage() {
    let harness = Harness::start().await;
    harness.wire.take_calls();
    let token = harness.system.facts().admin_api_token.clone();
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&token)).await, Verdict::Allow);
    harness.clock.advance_days(30);
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&token)).await.1, "expired");
    assert_eq!(harness.wire.take_calls().len(), 0);
}

#[tokio::test]
async fn each_check_makes_one_read_and_usage_writes_stay_within_the_limit() {
    let checks: i64 = Variables::from_process().get(CHECKS).map_or(10_000, |many| many.parse().unwrap());
    let harness = Harness::start().await;
    let account = harness.create_account("busy", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let instances: Vec<Authorizer> = vec![harness.another_authorizer(), harness.another_authorizer()];
    for instance in &instances {
        instance.warm().await;
    }
    let events = keys.each_ref().map(|key| Shape::HttpV2.bearer(&key.secret).to_string());
    let logs = Logs::capture(LevelFilter::WARN);
    harness.wire.take_calls();
    let (mut reads, mut writes, mut renewals, mut seconds) = (0, 0, 0, 0);
    let mut count = |calls: Vec<Call>| {
        for call in calls {
            match call.operation.as_str() {
                "GetItem" if support::faults::is_on_item(&call, "ACCOUNT#") => reads += 1,
                _ if is_usage_write(&call) => writes += 1,
                // An instance reads the keyring again every 15 minutes.
                "GetSecretValue" => renewals += 1,
                other => panic!("{other}"),
            }
        }
    };
    let check = async |number: i64| {
        let number = usize::try_from(number).unwrap();
        let (instance, event) = (&instances[number % 2], &events[number / 2 % 2]);
        assert!(instance.answer(event, "invocation-1").await.unwrap().is_allow());
    };
    for number in 0..checks {
        check(number).await;
        if number % 10 == 9 {
            harness.clock.advance_seconds(1);
            seconds += 1;
            count(harness.wire.take_calls());
        }
    }
    count(harness.wire.take_calls());
    // Two instances write the usage of two keys, each at most once in five minutes.
    let allowed = 4 * (seconds / 300 + 1);
    report(&format!("{checks} checks in {seconds} s: {reads} reads, {writes} writes of at most {allowed}"));
    assert_eq!(reads, checks);
    assert!(renewals <= 2 * (seconds / 900), "{renewals} reads of the keyring in {seconds} s");
    assert!(
        (4..=allowed).contains(&writes),
        "{writes} writes, but at least 4 and at most {allowed} are expected"
    );

    // The next writes include all earlier uses, and count each use once.
    harness.clock.advance_seconds(300);
    for number in 0..4 {
        check(number).await;
    }
    let mut counted = 0;
    for key in &keys {
        let item = usage(&harness, key).await.unwrap();
        counted +=
            item.keys().filter(|name| name.starts_with("20")).map(|day| number(&item, day)).sum::<i64>();
    }
    // On a busy machine, writes that exceed their time limit lose uses.
    if logs.take().contains("was not recorded") {
        assert!(counted <= checks + 4, "{counted}");
    } else {
        assert_eq!(counted, checks + 4);
    }
}

#[tokio::test]
async fn a_usage_write_that_fails_or_hangs_changes_no_decision_and_ends_within_its_limit() {
    let harness = Harness::start().await;
    let account = harness.create_account("busy", "ServiceAccountReader").await;
    let faults = [
        Action::Hang,
        Action::Refuse,
        Action::LoseResponse,
        Action::Delay(Duration::from_mins(1)),
        service_error(500, "InternalServerError"),
        service_error(400, "ThrottlingException"),
        service_error(400, "ValidationException"),
        service_error(400, "AccessDeniedException"),
        service_error(400, "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"),
        Action::Respond(200, "not JSON".to_owned()),
        Action::Respond(503, String::new()),
    ];
    for fault in faults {
        let what = format!("{fault:?}");
        let key = harness.issue_key(&account).await;
        let old = harness.issue_key(&account).await;
        let _ = harness.revoke(&old).await.expect(204);
        let healthy = harness.another_authorizer();
        let instance = harness.another_authorizer();
        healthy.warm().await;
        instance.warm().await;
        let answer = async |authorizer: &Authorizer, key: &Key| {
            let started = Instant::now();
            let event = Shape::HttpV1.bearer(&key.secret).to_string();
            let answer = authorizer.answer(&event, "invocation-1").await;
            (answer.map(|answer| serde_json::to_value(answer).unwrap()), started.elapsed())
        };
        let undisturbed = answer(&healthy, &key).await.0.unwrap();
        harness.wire.intercept(move |call| if is_usage_write(call) { fault.clone() } else { Action::Pass });
        harness.wire.take_calls();
        let logs = Logs::capture(LevelFilter::INFO);
        logs.take();
        let (allowed, time) = answer(&instance, &key).await;
        assert_eq!(allowed.unwrap(), undisturbed, "{what}");
        assert!(time < WRITE_LIMIT + SLACK, "{what}: {time:?}");
        let (refused, time) = answer(&instance, &old).await;
        assert_eq!(refused, Err(FunctionError::Unauthorized), "{what}");
        assert!(time < WRITE_LIMIT + SLACK, "{what}: {time:?}");
        let writes = |calls: Vec<Call>| calls.iter().filter(|call| is_usage_write(call)).count();
        assert_eq!(writes(harness.wire.take_calls()), 2, "{what}: expected one attempt per key");
        let reasons: Vec<_> = logs.take_decisions().iter().map(|line| line["reason"].clone()).collect();
        assert_eq!(reasons, ["allowed", "revoked"], "{what}");
        // There is no retry before the next write is due.
        for key in [&key, &old] {
            let _ = answer(&instance, key).await;
        }
        assert_eq!(writes(harness.wire.take_calls()), 0, "{what}");
        harness.wire.pass_all();
        let _ = harness.revoke(&key).await.expect(204);
    }
}

#[tokio::test]
async fn usage_write_ends_within_the_time_limit_of_the_whole_invocation() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let instance = harness.another_authorizer();
    instance.warm().await;
    // The read takes most of the time limit.
    harness.wire.intercept(|call| match call.operation.as_str() {
        "GetItem" => Action::Delay(Duration::from_millis(700)),
        "UpdateItem" => Action::Hang,
        _ => Action::Pass,
    });
    let started = Instant::now();
    let event = Shape::HttpV2.bearer(&key.secret).to_string();
    assert!(instance.answer(&event, "invocation-1").await.unwrap().is_allow());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn days_that_the_api_no_longer_shows_are_removed() {
    let harness = Harness::start().await;
    let account = harness.create_account("daily", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "long", "expiresInDays": 365 })).await;
    let days = |item: &Item| {
        let mut days: Vec<_> = item.keys().filter(|name| name.starts_with("20")).cloned().collect();
        days.sort();
        days
    };
    for day in 0..70 {
        use_key(&harness, &key).await;
        let item = usage(&harness, &key).await.unwrap();
        assert_eq!(days(&item).len(), (day + 1).min(31), "on day {day}");
        harness.clock.advance_days(1);
    }
    let shown = shown(&harness, &key).await["keys"][0]["usesByDay"].clone();
    assert_eq!(shown.as_object().unwrap().len(), 29, "there is no use today");
    // The next use removes the days of 31 to 61 days ago, even after a long break.
    harness.clock.advance_days(40);
    use_key(&harness, &key).await;
    assert_eq!(
        days(&usage(&harness, &key).await.unwrap()).len(),
        11,
        "today, and the 10 days with use that are at least 62 days ago"
    );
    assert_eq!(self::shown(&harness, &key).await["keys"][0]["usesByDay"], json!({ "2026-04-21": 1 }));
}

/// After months without an invocation, an instance has unwritten uses of days that are no
/// longer kept.
#[tokio::test]
async fn an_instance_writes_usage_after_months_without_an_invocation() {
    let harness = Harness::start().await;
    let account = harness.create_account("sleepy", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "long", "expiresInDays": 365 })).await;
    use_key(&harness, &key).await;
    use_key(&harness, &key).await;
    for days in [31, 40, 100] {
        harness.clock.advance_days(days);
        use_key(&harness, &key).await;
        use_key(&harness, &key).await;
        let item = usage(&harness, &key).await.unwrap();
        assert_eq!(number(&item, "lastUsedAt"), harness_seconds(&harness));
    }
}

fn harness_seconds(harness: &Harness) -> i64 {
    use shared::domain::Clock as _;
    harness.clock.now().as_second()
}

#[tokio::test]
async fn use_of_a_retired_key_is_counted_once_a_minute() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let issue = async |days: u32| {
        harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": days })).await
    };
    // The revoked key, and the key that was rotated without a grace period, are retired at
    // once. The expired key and the other rotated key are retired when the next key is
    // issued.
    let revoked = issue(90).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let (expired, rotated) = (issue(1).await, issue(90).await);
    rotate(&harness, &rotated, 86_400).await;
    let at_once = issue(90).await;
    rotate(&harness, &at_once, 0).await;
    harness.clock.advance_days(1);
    let instances = [harness.another_authorizer(), harness.another_authorizer()];
    for moved in [false, true] {
        if moved {
            issue(90).await;
        }
        let cases =
            [(&revoked, "revoked"), (&expired, "expired"), (&rotated, "retired"), (&at_once, "retired")];
        for (key, reason) in cases {
            let before = usage(&harness, key).await.map_or(0, |item| number(&item, "minutesUsedAfterEnd"));
            let record = harness.table.get(&format!("RETIRED#{}", key.account), &key.id).await;
            let event = Shape::HttpV2.bearer(&key.secret);
            for minute in 1..=3 {
                harness.wire.take_calls();
                for _ in 0..5 {
                    assert_eq!(harness.decide(&event).await, (Verdict::Deny, reason.to_owned()));
                    for instance in &instances {
                        let _ = instance.answer(&event.to_string(), "invocation-1").await;
                    }
                    harness.clock.advance_seconds(10);
                }
                let calls = harness.wire.take_calls();
                let writes = calls.iter().filter(|call| is_usage_write(call)).count();
                assert_eq!(writes, 3, "{reason}: expected one write per minute and instance");
                let item = usage(&harness, key).await.unwrap();
                assert_eq!(
                    number(&item, "minutesUsedAfterEnd"),
                    before + minute,
                    "{reason}: expected one count per minute"
                );
                assert_eq!(number(&item, "usedAfterEndAt"), harness_seconds(&harness) - 50);
                harness.clock.advance_seconds(10);
            }
            let after = harness.table.get(&format!("RETIRED#{}", key.account), &key.id).await;
            assert_eq!(record, after, "the authorizer changed the retired key");
        }
    }
    let shown = shown(&harness, &revoked).await;
    let retired = shown["retiredKeys"].as_array().unwrap();
    assert_eq!(retired.len(), 4, "{retired:?}");
    for key in retired {
        assert_eq!(key["minutesUsedAfterEnd"], 6, "{key}");
        assert!(key["usedAfterEndAt"].as_str().unwrap().starts_with("2026-01-02T00:"), "{key}");
    }
}

#[tokio::test]
async fn credentials_that_prove_no_retired_key_are_not_counted() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let (key, revoked) = (harness.issue_key(&account).await, harness.issue_key(&account).await);
    let _ = harness.revoke(&revoked).await.expect(204);
    let local = Environment::parse("local").unwrap();
    let parse = |key: &Key| ApiKey::parse(&key.secret, &local).unwrap();
    // Wrong secrets for a live and a revoked key, and an unknown key id.
    let mut forged = [parse(&key), parse(&revoked), parse(&key)];
    forged[0].secret = parse(&revoked).secret;
    forged[1].secret = parse(&key).secret;
    forged[2].id = "key_0000000000000000".parse().unwrap();
    let disable = harness.request("PATCH", &account.path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
    let before = harness.table.dump().await;
    for (credential, reason) in [
        (forged[0].display(&local).expose(), "wrong_secret"),
        (forged[1].display(&local).expose(), "wrong_secret"),
        (forged[2].display(&local).expose(), "unknown"),
        (key.secret.as_str(), "disabled"),
    ] {
        assert_eq!(harness.decide(&Shape::HttpV2.bearer(credential)).await.1, reason);
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn retired_keys_are_shown_newest_first_without_their_verifiers() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let narrow =
        json!({ "name": "narrow", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24"] });
    let first = harness.issue_key_with(&account, &narrow).await;
    let event = Shape::HttpV2.bearer(&first.secret);
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    harness.clock.advance_seconds(60);
    let last = rotate(&harness, &first, 0).await;
    assert_eq!(harness.verdict(&event).await, Verdict::Deny);
    harness.clock.advance_seconds(60);
    let _ = harness.revoke(&last).await.expect(204);
    let retired = harness.get(&account.path()).await;
    assert!(!retired.text.contains("verifier") && !retired.text.contains("pepper"), "{}", retired.text);
    insta::assert_json_snapshot!(retired.json()["retiredKeys"]);

    // The commands in the operating guide write only these attributes.
    let item = |key: &str, reason: &str, at: i64| -> Item {
        let text = |text: String| AttributeValue::S(text);
        [
            ("pk", text(format!("RETIRED#{}", account.id))),
            ("sk", text(key.to_owned())),
            ("reason", text(reason.to_owned())),
            ("retiredAt", AttributeValue::N(at.to_string())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    };
    harness.table.put(item("key_0000000000000000", "revoked", 1_767_225_900)).await;
    // A backup can restore a deleted account.
    harness.table.put(item("key_0000000000000001", "accountDeleted", 1_767_225_900)).await;
    harness.table.put(item("ACCOUNT", "accountDeleted", 1_767_225_900)).await;
    let shown = harness.get(&account.path()).await.json()["retiredKeys"].clone();
    let ids: Vec<_> = shown.as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["key_0000000000000000", &last.id, &first.id]);

    for number in 0..150 {
        harness.table.put(item(&format!("key_1{number:015}"), "revoked", 1_767_300_000 + number)).await;
    }
    let shown = harness.get(&account.path()).await.json()["retiredKeys"].clone();
    let ids: Vec<_> =
        shown.as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (50..150).rev().map(|number| format!("key_1{number:015}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn malformed_usage_is_500_in_the_api_and_does_not_affect_the_key() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    use_key(&harness, &key).await;
    let whole = usage(&harness, &key).await.unwrap();
    for name in ["lastUsedAt", "2026-01-01", "minutesUsedAfterEnd", "usedAfterEndAt"] {
        let mut item = whole.clone();
        item.insert(name.to_owned(), AttributeValue::S("many".to_owned()));
        harness.table.put(item).await;
        let path = Account { id: key.account.clone() }.path();
        let refused = harness.request("GET", &path).admin().send().await;
        let _ = refused.expect_problem(500, "internal_error");
        let instance = harness.another_authorizer();
        let answer = instance.answer(&Shape::HttpV2.bearer(&key.secret).to_string(), "invocation-1").await;
        assert!(answer.unwrap().is_allow(), "{name}");
    }
}
