//! Activity: the counted and recorded requests of keys. Counts never exceed the true
//! numbers, and are equal to them if every write was acknowledged and the instances stopped
//! cleanly. The number of writes is bounded, and no decision depends on one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authorizer::{Answer, Authorizer, FunctionError};
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use shared::config::Variables;
use shared::domain::Clock as _;
use shared::policy::Api;
use tests::{Account, Action, Call, Harness, Item, Key, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::activity::{Counts, is_activity, is_activity_write, shown};
use crate::support::faults::{is_on_item, outages, service_error};
use crate::support::keys::{environment, foreign, forged, generated_key, parsed, unknown, use_key};
use crate::support::{changes, report};

/// The variable that contains the number of checks of the hot path.
const CHECKS: &str = "KEYWARD_TEST_CHECKS";

/// The time limit of a write, and the additional time that a busy machine can need.
const WRITE_LIMIT: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_millis(600);

/// The writes in a full bucket, and the seconds until it has one more. Each key has a bucket
/// in each instance.
const BUCKET: i64 = 30;
const REFILL_SECONDS: i64 = 10;

/// The log line about a write that was not acknowledged.
const LOST: &str = "activity could not be written";

/// A request with a credential, and the reason of the decision about it.
#[derive(Clone)]
struct Case {
    api: Api,
    shape: Shape,
    method: &'static str,
    path: &'static str,
    source: &'static str,
    key: Key,
    /// Whether the secret is valid. If not, only the account is.
    is_verified: bool,
    reason: &'static str,
}

impl Case {
    /// `GET /organizations/42` with `key`.
    fn new(key: &Key, reason: &'static str) -> Self {
        Self {
            api: Api::Business,
            shape: Shape::HttpV2,
            method: "GET",
            path: "/organizations/42",
            source: "203.0.113.7",
            key: key.clone(),
            is_verified: true,
            reason,
        }
    }

    /// The same request with another secret for a key of the same account.
    fn unverified(key: &Key, secret: String, reason: &'static str) -> Self {
        Self { is_verified: false, ..Self::new(&Key { secret, ..key.clone() }, reason) }
    }

    /// The event with this request id.
    fn event(&self, request_id: &str) -> Value {
        let mut event = self.shape.request(self.method, self.path, &self.key.secret);
        if self.shape != Shape::RestToken {
            self.shape.set_source(&mut event, self.source);
            event["requestContext"]["requestId"] = request_id.into();
        }
        event
    }
}

/// The true counts, for comparison with those in the table.
struct Truth<'a> {
    harness: &'a Harness,
    logs: Logs,
    counts: Counts,
    requests: usize,
    /// The lines about writes that were not acknowledged, and those about writes that took
    /// too long.
    lost: usize,
    slow: usize,
}

impl<'a> Truth<'a> {
    fn new(harness: &'a Harness) -> Self {
        let logs = Logs::capture(LevelFilter::INFO);
        logs.take();
        Self { harness, logs, counts: Counts::default(), requests: 0, lost: 0, slow: 0 }
    }

    /// Sends all requests to `authorizer` at the same time, and checks the reason of each
    /// decision.
    async fn send(&mut self, authorizer: &Authorizer, cases: &[&Case]) -> Vec<Result<Answer, FunctionError>> {
        self.take_lines();
        let mut expected = BTreeMap::new();
        let events: Vec<_> = cases
            .iter()
            .map(|case| {
                self.requests += 1;
                let request_id = format!("request-{}", self.requests);
                expected.insert(request_id.clone(), case.reason.to_owned());
                let now = self.harness.clock.now();
                if case.is_verified {
                    self.counts.count(&case.key, now, case.reason);
                } else {
                    self.counts.count_unverified(&case.key.account, now, case.reason);
                }
                (case.event(&request_id).to_string(), request_id)
            })
            .collect();
        let answers =
            join_all(events.iter().map(|(event, request_id)| authorizer.answer(event, request_id))).await;
        let lines = self.take_lines();
        let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        let decided: BTreeMap<_, _> = lines
            .iter()
            .filter(|line| line["message"] == "decision")
            .map(|line| (text(line, "request_id"), text(line, "reason")))
            .collect();
        assert_eq!(decided, expected);
        answers
    }

    /// Stops instances cleanly.
    async fn stop(&mut self, instances: &[&Authorizer]) {
        for instance in instances {
            instance.flush_activity().await;
        }
        self.take_lines();
    }

    fn take_lines(&mut self) -> Vec<Value> {
        let lines = self.logs.take_lines();
        let is_slow = |line: &&Value| line.to_string().contains("took too long");
        let lost = lines.iter().filter(|line| line["message"] == LOST);
        self.slow += lost.clone().filter(is_slow).count();
        self.lost += lost.count();
        lines
    }

    /// Fails if a count in the table exceeds the true one.
    async fn assert_not_exceeded(&self) {
        Counts::stored(&self.harness.table).await.assert_within(&self.counts);
    }

    /// Fails unless the table has exactly the true counts. On a busy machine, a write can
    /// exceed its time limit, and then its requests can be missing.
    async fn assert_exact(&self) {
        let stored = Counts::stored(&self.harness.table).await;
        stored.assert_within(&self.counts);
        if self.lost == 0 {
            assert_eq!(stored, self.counts);
        } else {
            report(&format!("{} writes took too long, so counts are not compared", self.lost));
            assert!(self.lost * 20 < self.requests, "{} of {} writes were lost", self.lost, self.requests);
        }
    }
}

/// Accounts and keys whose requests are decided for each of the reasons that are counted.
async fn all_cases(harness: &Harness) -> Vec<Case> {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [live, other] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let [revoked, rotated] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let issue = async |name: &str, body: Value| {
        let account = harness.create_account(name, "ServiceAccountReader").await;
        (harness.issue_key_with(&account, &body).await, account)
    };
    let (networked, _) =
        issue("networked", json!({ "name": "key", "allowedCidrs": ["203.0.113.0/24"] })).await;
    let (expired, _) = issue("expired", json!({ "name": "key", "expiresInDays": 1 })).await;
    let (disabled, disabled_account) = issue("disabled", json!({ "name": "key" })).await;
    let (deleted, deleted_account) = issue("deleted", json!({ "name": "key" })).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    changes::rotate(harness, &rotated, 0).await;
    changes::disable(harness, &disabled_account).await;
    changes::delete(harness, &deleted_account).await;
    harness.clock.advance_days(1);
    vec![
        Case::new(&live, "allowed"),
        Case { shape: Shape::RestRequest, path: "/teams", ..Case::new(&live, "allowed") },
        Case { shape: Shape::RestToken, ..Case::new(&live, "allowed") },
        Case { api: Api::Iam, path: "/iam/v1/whoami", ..Case::new(&live, "allowed") },
        Case { shape: Shape::HttpV1, ..Case::new(&other, "allowed") },
        Case::new(&networked, "allowed"),
        Case { method: "POST", ..Case::new(&live, "role") },
        Case { path: "/elsewhere", ..Case::new(&other, "role") },
        Case { path: "/iam/v1/whoami", ..Case::new(&live, "reserved") },
        Case { api: Api::Iam, path: "/iam/v1/events", ..Case::new(&other, "reserved") },
        Case { source: "198.51.100.1", ..Case::new(&networked, "network") },
        Case::new(&expired, "expired"),
        Case::new(&disabled, "disabled"),
        Case::new(&revoked, "revoked"),
        Case { shape: Shape::RestRequest, ..Case::new(&rotated, "retired") },
        Case::new(&deleted, "retired"),
        Case::unverified(&live, forged(&live, 1), "wrong_secret"),
        Case::unverified(&other, unknown(&other, 2), "unknown"),
    ]
}

/// Instances that know the records of the retired keys, because an instance reads at most
/// five in a second.
async fn instances(harness: &Harness, cases: &[Case], truth: &mut Truth<'_>) -> Vec<(Api, Authorizer)> {
    let instances: Vec<_> = [Api::Business, Api::Business, Api::Business, Api::Iam]
        .map(|api| (api, harness.another_authorizer_of(api)))
        .into();
    for (_, instance) in &instances {
        instance.warm().await;
        let retired = cases.iter().filter(|case| ["revoked", "retired"].contains(&case.reason));
        truth.send(instance, &retired.collect::<Vec<_>>()).await;
        harness.clock.advance_seconds(1);
    }
    instances
}

/// Some random requests to an API.
fn choose<'a>(random: &mut StdRng, cases: &'a [Case], api: Api) -> Vec<&'a Case> {
    let own: Vec<_> = cases.iter().filter(|case| case.api == api).collect();
    (0..random.random_range(0..20)).map(|_| *own.choose(random).unwrap()).collect()
}

#[tokio::test]
async fn counts_are_exact_after_a_clean_stop_and_never_too_high_before() {
    let harness = Harness::start().await;
    let cases = all_cases(&harness).await;
    // Ten minutes before midnight.
    harness.clock.advance(SignedDuration::from_mins(23 * 60 + 50));
    let mut truth = Truth::new(&harness);
    let instances = instances(&harness, &cases, &mut truth).await;
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..60 {
        for (api, instance) in &instances {
            truth.send(instance, &choose(&mut random, &cases, *api)).await;
        }
        truth.assert_not_exceeded().await;
        harness.clock.advance_seconds(random.random_range(0..30));
    }
    assert_eq!(harness.clock.now().strftime("%F").to_string(), "2026-01-03", "the test passes midnight");
    assert_ne!(Counts::stored(&harness.table).await, truth.counts, "some counts are pending");
    truth.stop(&instances.iter().map(|(_, instance)| instance).collect::<Vec<_>>()).await;
    truth.assert_exact().await;
    if truth.lost > 0 {
        return;
    }

    // The API shows the same numbers.
    let is_live = |case: &&Case| case.is_verified && case.path == "/organizations/42";
    let keys: BTreeMap<_, _> = cases.iter().filter(is_live).map(|case| (&case.key.id, &case.key)).collect();
    let reasons: BTreeSet<_> = cases.iter().filter(|case| case.is_verified).map(|case| case.reason).collect();
    let expected = |key: &Key| {
        let refused = reasons.iter().filter(|reason| **reason != "allowed");
        [truth.counts.of(key, "allowed"), refused.map(|reason| truth.counts.of(key, reason)).sum()]
    };
    let mut total = [0, 0];
    for key in keys.into_values() {
        let counts = expected(key);
        total = [total[0] + counts[0], total[1] + counts[1]];
        assert_eq!(shown(&harness.get(&format!("{}/activity", key.path())).await.json()), counts);
    }
    assert_eq!(shown(&harness.get("/iam/v1/activity").await.json()), total);
    report(&format!("{} requests: {total:?} allowed and refused", truth.requests));
}

#[tokio::test]
async fn requests_are_counted_in_their_own_hour_and_day() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    instance.warm().await;
    let (allowed, refused) =
        (Case::new(&key, "allowed"), Case { method: "DELETE", ..Case::new(&key, "role") });
    // More requests than writes, in the last second of an hour, and of a day.
    for seconds in [3599, 1, 22 * 3600 + 3598, 1, 1] {
        harness.clock.advance_seconds(seconds);
        for _ in 0..20 {
            truth.send(&instance, &[&allowed, &refused]).await;
        }
        truth.assert_not_exceeded().await;
    }
    truth.stop(&[&instance]).await;
    truth.assert_exact().await;
    let stored: BTreeMap<_, _> = harness
        .table
        .items(&format!("USAGE#{}", account.id))
        .await
        .into_iter()
        .filter(|item| item["sk"].as_s().unwrap().contains('#'))
        .map(|item| {
            let counts = item.iter().filter(|(name, _)| name.contains('_'));
            let counts: BTreeMap<_, _> = counts
                .map(|(name, value)| (name.clone(), value.as_n().unwrap().parse::<u64>().unwrap()))
                .collect();
            (item["sk"].as_s().unwrap()[..10].to_owned(), counts)
        })
        .collect();
    let expected = json!({
        "2026-01-01": {
            "00_allowed": 20, "00_role": 20, "01_allowed": 20, "01_role": 20, "23_allowed": 40, "23_role": 40,
        },
        "2026-01-02": { "00_allowed": 20, "00_role": 20 },
    });
    if truth.lost == 0 {
        assert_eq!(json!(stored), expected);
        assert_eq!(harness.keys(&account).await[0]["lastUsedAt"], "2026-01-02T00:00:00Z");
    }
}

#[tokio::test]
async fn pending_counts_are_written_with_a_later_request_of_another_key() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [busy, other] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    instance.warm().await;
    let stored = async || Counts::stored(&harness.table).await.of(&busy, "allowed");
    let busy_case = Case::new(&busy, "allowed");
    for _ in 0..50 {
        truth.send(&instance, &[&busy_case]).await;
    }
    let at_once = stored().await;
    assert!((20..=30).contains(&at_once), "{at_once} requests were written at once");
    harness.clock.advance_seconds(9);
    truth.send(&instance, &[&Case::new(&other, "allowed")]).await;
    assert_eq!(stored().await, at_once);
    // One write is due every ten seconds. The last use and the last request take turns with
    // the counts.
    for _ in 0..3 {
        harness.clock.advance_seconds(10);
        truth.send(&instance, &[&Case::new(&other, "allowed")]).await;
    }
    if truth.lost == 0 {
        assert_eq!(stored().await, 50);
    }
}

#[tokio::test]
async fn five_thousand_calls_in_a_minute_are_exact_after_a_clean_stop_and_never_too_high_before() {
    const INSTANCES: usize = 3;
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let mut truth = Truth::new(&harness);
    let instances: Vec<_> = (0..INSTANCES).map(|_| harness.another_authorizer()).collect();
    for instance in &instances {
        instance.warm().await;
    }
    harness.wire.take_calls();
    let (allowed, refused) = (Case::new(&key, "allowed"), Case { method: "POST", ..Case::new(&key, "role") });
    let activity = format!("{}/activity", key.path());
    for number in 0..5_000 {
        let case = if number % 50 == 0 { &refused } else { &allowed };
        truth.send(&instances[number % INSTANCES], &[case]).await;
        harness.clock.advance(SignedDuration::from_millis(12));
        if number % 500 == 499 {
            let [allows, refusals] = shown(&harness.get(&activity).await.json());
            let is_true = ["allowed", "role"].map(|reason| truth.counts.of(&key, reason));
            assert!(allows <= is_true[0] && refusals <= is_true[1], "{allows}, {refusals} of {is_true:?}");
            // After the first thirty writes, counts are at most some ten seconds old.
            let is_current = number < 3_000 || allows * 2 > is_true[0];
            assert!(truth.lost > 0 || is_current, "{allows} of {is_true:?} after {number} calls");
        }
    }
    let writes = harness.wire.take_calls().iter().filter(|call| is_activity_write(call)).count();
    report(&format!("{} calls in a minute: {writes} writes", truth.requests));
    // The writes of the key and of the counts of all requests.
    assert!(writes <= 2 * INSTANCES * (30 + 60 / 10), "{writes}");
    truth.stop(&instances.iter().collect::<Vec<_>>()).await;
    truth.assert_exact().await;
    if truth.lost == 0 {
        assert_eq!(shown(&harness.get(&activity).await.json()), [4_900, 100]);
    }
}

#[tokio::test]
async fn each_check_makes_one_read_and_writes_stay_within_their_bound() {
    let checks: i64 = Variables::from_process().get(CHECKS).map_or(3_000, |many| many.parse().unwrap());
    let harness = Harness::start().await;
    let account = harness.create_account("busy", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let cases = keys.each_ref().map(|key| Case::new(key, "allowed"));
    let instances = [harness.another_authorizer(), harness.another_authorizer()];
    for instance in &instances {
        instance.warm().await;
    }
    let mut truth = Truth::new(&harness);
    harness.wire.take_calls();
    let (mut reads, mut renewals, mut seconds) = (0, 0, 0);
    let mut writes = BTreeMap::<String, i64>::new();
    let mut count = |calls: Vec<Call>| {
        for call in calls {
            match call.operation.as_str() {
                "GetItem" if is_on_item(&call, "ACCOUNT#") => reads += 1,
                // An instance reads the keyring again every 15 minutes.
                "GetSecretValue" => renewals += 1,
                _ if is_activity_write(&call) => {
                    let body = call.body.to_string();
                    let key = keys.iter().find(|key| body.contains(&key.id));
                    *writes.entry(key.map_or("total", |key| &key.id).to_owned()).or_default() += 1;
                }
                other => panic!("{other}"),
            }
        }
    };
    for number in 0..checks {
        let number = usize::try_from(number).unwrap();
        truth.send(&instances[number % 2], &[&cases[number / 2 % 2]]).await;
        if number % 10 == 9 {
            harness.clock.advance_seconds(1);
            seconds += 1;
            count(harness.wire.take_calls());
        }
    }
    count(harness.wire.take_calls());
    let allowed = 2 * (BUCKET + seconds / REFILL_SECONDS);
    report(&format!("{checks} checks in {seconds} s: {reads} reads, {writes:?} writes of {allowed} each"));
    assert_eq!(reads, checks);
    assert!(renewals <= 2 * (seconds / 900), "{renewals} reads of the keyring in {seconds} s");
    assert_eq!(writes.len(), 3, "{writes:?}");
    // A busy key uses all writes of its bucket, so that its counts are current.
    assert!(writes.values().all(|writes| (allowed / 2..=allowed).contains(writes)), "{writes:?}");
    truth.stop(&instances.each_ref()).await;
    truth.assert_exact().await;
}

/// Faults of a write, and whether the table contains the write in spite of the fault.
fn faults() -> Vec<(&'static str, Action, bool)> {
    let outages = outages().into_iter().map(|(name, action)| {
        let is_applied = matches!(action, Action::LoseResponse | Action::ReplaceBody(_));
        (name, action, is_applied)
    });
    let others = [
        ("hang", Action::Hang, false),
        ("a response that never arrives", Action::WithholdResponse, true),
        ("delay", Action::Delay(Duration::from_mins(1)), false),
        (
            "failed condition",
            service_error(400, "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"),
            false,
        ),
    ];
    outages.chain(others).collect()
}

#[tokio::test]
async fn a_write_that_fails_or_hangs_is_not_repeated_and_changes_no_decision() {
    let harness = Harness::start().await;
    for (name, fault, is_applied) in faults() {
        let account = harness.create_account(name, "ServiceAccountReader").await;
        let [key, old] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
        let _ = harness.revoke(&old).await.expect(204);
        let cases = [
            (Case::new(&key, "allowed"), None),
            (Case { shape: Shape::HttpV1, ..Case::new(&old, "revoked") }, Some(FunctionError::Unauthorized)),
        ];
        let mut truth = Truth::new(&harness);
        let instance = harness.another_authorizer();
        instance.warm().await;
        harness
            .wire
            .intercept(move |call| if is_activity_write(call) { fault.clone() } else { Action::Pass });
        harness.wire.take_calls();
        for _ in 0..2 {
            for (case, error) in &cases {
                let started = Instant::now();
                let answer = truth.send(&instance, &[case]).await.remove(0);
                let elapsed = started.elapsed();
                assert!(elapsed < WRITE_LIMIT + SLACK, "{name}: {elapsed:?}");
                match error {
                    None => assert!(answer.unwrap().is_allow(), "{name}"),
                    Some(error) => assert_eq!(answer.unwrap_err(), *error, "{name}"),
                }
            }
        }
        let writes: Vec<_> = harness.wire.take_calls().into_iter().filter(is_activity_write).collect();
        assert!(writes.len() >= 8, "{name}: each request is written at once");
        let calls: BTreeSet<_> = writes.iter().map(|call| &call.invocation).collect();
        assert_eq!(calls.len(), writes.len(), "{name}: a write was attempted twice");
        harness.wire.pass_all();
        harness.clock.advance_seconds(60);
        let lost = truth.lost;
        for (case, _) in &cases {
            truth.send(&instance, &[case]).await;
        }
        truth.stop(&[&instance]).await;
        // Two requests were written during the fault, and one after it.
        let arrived = if is_applied { 3 } else { 1 };
        let stored = Counts::stored(&harness.table).await;
        for (case, _) in &cases {
            let stored = stored.of(&case.key, case.reason);
            assert!(stored <= arrived, "{name}: {stored} requests of {arrived}");
            assert!(stored > 0 || truth.lost > lost, "{name}: the request after the fault is counted");
        }
    }
}

#[tokio::test]
async fn lost_and_refused_writes_never_raise_a_count_above_the_truth() {
    let harness = Harness::start().await;
    let cases = all_cases(&harness).await;
    let mut truth = Truth::new(&harness);
    let instances = instances(&harness, &cases, &mut truth).await;
    // The counts in the writes that did not arrive.
    let missing: Arc<Mutex<(Counts, usize)>> = Arc::default();
    let (random, lost) = (Mutex::new(StdRng::seed_from_u64(2)), Arc::clone(&missing));
    harness.wire.intercept(move |call| {
        let choice = random.lock().unwrap().random_range(0..10);
        if !is_activity_write(call) || choice > 4 {
            return Action::Pass;
        }
        let mut missing = lost.lock().unwrap();
        missing.1 += 1;
        if choice < 2 {
            return Action::LoseResponse;
        }
        missing.0.add_all(&Counts::of_write(call));
        match choice {
            2 => Action::Refuse,
            3 => service_error(400, "ProvisionedThroughputExceededException"),
            _ => service_error(500, "InternalServerError"),
        }
    });
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..40 {
        for (api, instance) in &instances {
            truth.send(instance, &choose(&mut random, &cases, *api)).await;
        }
        truth.assert_not_exceeded().await;
        harness.clock.advance_seconds(random.random_range(0..20));
    }
    truth.stop(&instances.iter().map(|(_, instance)| instance).collect::<Vec<_>>()).await;
    truth.assert_not_exceeded().await;
    let (missing, faults) = std::mem::take(&mut *missing.lock().unwrap());
    report(&format!("{} requests, {faults} faults", truth.requests));
    assert!(faults > 100, "{faults}");
    // Each request is in the table or in a write that did not arrive.
    if truth.slow == 0 {
        let mut counts = Counts::stored(&harness.table).await;
        counts.add_all(&missing);
        assert_eq!(counts, truth.counts);
    }
}

#[tokio::test]
async fn writes_end_within_the_time_limit_of_the_whole_invocation() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let instance = harness.another_authorizer();
    instance.warm().await;
    // The read takes most of the time limit.
    harness.wire.intercept(|call| match call.operation.as_str() {
        "GetItem" => Action::Delay(Duration::from_millis(700)),
        "UpdateItem" | "PutItem" => Action::Hang,
        _ => Action::Pass,
    });
    let started = Instant::now();
    let event = Shape::HttpV2.bearer(&key.secret).to_string();
    assert!(instance.answer(&event, "invocation-1").await.unwrap().is_allow());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// Lambda ends a process 500 ms after its signal.
#[tokio::test]
async fn a_clean_stop_takes_less_than_500_ms_even_if_writes_hang() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    instance.warm().await;
    // Each route is a write of its own, so many more are pending than can hang at a time.
    for number in 0..200 {
        let mut event = Case::new(&key, "allowed").event("request-1");
        event["routeKey"] = format!("GET /organizations/{{id}}/{number}").into();
        assert!(instance.answer(&event.to_string(), "invocation-1").await.unwrap().is_allow());
        truth.counts.count(&key, harness.clock.now(), "allowed");
    }
    harness.wire.intercept(|call| if is_activity_write(call) { Action::Hang } else { Action::Pass });
    let started = Instant::now();
    truth.stop(&[&instance]).await;
    assert!(started.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", started.elapsed());
    assert!(truth.lost > 0);
    harness.wire.pass_all();
    truth.stop(&[&instance]).await;
    truth.assert_not_exceeded().await;
}

#[tokio::test]
async fn an_unverified_credential_adds_at_most_to_the_counter_of_its_account() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let other = harness.reader_key_of("another account").await;
    // A wrong secret for a live key and for a revoked key, the id of a key of another account,
    // and an unknown id.
    let mut of_other_account = parsed(&key);
    of_other_account.id = parsed(&other).id;
    let credentials = [
        (forged(&key, 1), "wrong_secret"),
        (forged(&revoked, 2), "wrong_secret"),
        (of_other_account.display(&environment("local")).expose().to_owned(), "unknown"),
        (unknown(&key, 3), "unknown"),
    ];
    let case = |credential: &(String, &'static str)| Case {
        path: "/from-nowhere",
        method: "PATCH",
        source: "198.51.100.77",
        ..Case::unverified(&key, credential.0.clone(), credential.1)
    };
    let before = harness.table.dump().await;
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    for credential in &credentials {
        truth.send(&instance, &[&case(credential)]).await;
    }
    harness.clock.advance_seconds(60);
    for _ in 0..50 {
        truth.send(&instance, &[&case(&credentials[0])]).await;
    }
    truth.assert_not_exceeded().await;
    truth.stop(&[&instance]).await;
    truth.assert_exact().await;

    let mut added = harness.table.dump().await;
    added.retain(|item| !before.contains(item));
    let [counter] = &added[..] else { panic!("{added:?}") };
    let text = |name: &str| counter[name].as_s().unwrap().as_str();
    assert_eq!([text("pk"), text("sk")], [&format!("USAGE#{}", account.id), "2026-01-01#unverified"]);
    let allowed = ["00_unknown", "00_wrong_secret", "pk", "sk", "ttl"];
    assert!(counter.keys().all(|name| allowed.contains(&name.as_str())), "{counter:?}");

    // The API shows the number with the account, and not with a key.
    let shown = harness.get(&account.path()).await.json();
    if truth.lost == 0 {
        assert_eq!(shown["unverified"], json!({ "last24Hours": 54, "last30Days": 54 }));
    }
    for key in [&shown["keys"][0], &shown["retiredKeys"][0]] {
        assert_eq!(self::shown(key), [0, 0]);
        assert_eq!((key.get("lastUsedAt"), key.get("usedAfterEndAt")), (None, None));
    }
}

#[tokio::test]
async fn a_flood_of_forged_keys_is_counted_in_few_writes() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    instance.warm().await;
    harness.wire.take_calls();
    for seed in 0..500 {
        let case = Case::unverified(&key, unknown(&key, 1_000 + seed), "unknown");
        truth.send(&instance, &[&case]).await;
        harness.clock.advance(SignedDuration::from_millis(20));
    }
    let writes = harness.wire.take_calls().iter().filter(|call| is_activity_write(call)).count();
    assert!(writes <= 31, "{writes} writes in 10 s");
    truth.stop(&[&instance]).await;
    truth.assert_exact().await;
}

#[tokio::test]
async fn credentials_that_name_no_account_and_requests_without_a_decision_write_nothing() {
    let harness = Harness::start().await;
    harness.put_role("Custom", &["GET /organizations/{id}"]).await;
    let (_, key) = harness.account_with_key("batch", "Custom").await;
    let mistyped = format!("{}x", &key.secret[..key.secret.len() - 1]);
    let instance = harness.another_authorizer();
    instance.warm().await;
    let logs = Logs::capture(LevelFilter::INFO);
    logs.take();
    let before = harness.table.dump().await;
    harness.wire.take_calls();
    let requests = [
        (Shape::HttpV2.bearer("garbage"), "malformed"),
        (Shape::HttpV2.bearer(&mistyped), "malformed"),
        (Shape::HttpV2.bearer(&foreign(&key, "prod")), "foreign_environment"),
        (Shape::HttpV2.without_authorization(), "missing"),
        (Shape::HttpV2.bearer(&generated_key("local", 7)), "unknown"),
        (Shape::HttpV2.request("GET", "/organizations/%2e%2e", &key.secret), "ambiguous_path"),
        (json!("not an event"), "outage"),
    ];
    for (event, reason) in requests {
        let _ = instance.answer(&event.to_string(), "invocation-1").await;
        assert_eq!(logs.take_decisions()[0]["reason"], reason);
    }
    // Without the account or its role, there is no decision.
    for partition in ["ACCOUNT#", "ROLE#"] {
        harness.wire.intercept(
            move |call| {
                if is_on_item(call, partition) { Action::Refuse } else { Action::Pass }
            },
        );
        let _ = instance.answer(&Shape::HttpV2.bearer(&key.secret).to_string(), "invocation-1").await;
        assert_eq!(logs.take_decisions()[0]["reason"], "outage");
    }
    harness.wire.pass_all();
    instance.flush_activity().await;
    assert!(!harness.wire.take_calls().iter().any(is_activity_write));
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn a_token_of_an_admin_has_no_activity() {
    let harness = Harness::start().await;
    harness.wire.take_calls();
    let token = harness.system.facts().admin_api_token.clone();
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&token)).await, Verdict::Allow);
    harness.clock.advance_days(30);
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&token)).await.1, "expired");
    harness.authorizer().flush_activity().await;
    assert_eq!(harness.wire.take_calls().len(), 0);
}

/// DynamoDB deletes items after their `ttl`. The API does not show expired items before
/// that: see the tests of the operations.
#[tokio::test]
async fn each_kind_of_item_is_deleted_after_its_time() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    harness.clock.advance(SignedDuration::from_hours(12));
    let noon = harness.clock.now().as_second();
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    for case in [Case::new(&key, "allowed"), Case { method: "POST", ..Case::new(&key, "role") }] {
        truth.send(&instance, &[&case]).await;
    }
    truth.stop(&[&instance]).await;
    let days = |seconds: i64| seconds * 86_400;
    let (today, requests) = (noon - 12 * 3600 + days(90), noon + days(30));
    let mut ttls: Vec<_> = harness
        .table
        .dump()
        .await
        .iter()
        .filter(|item| is_activity(item))
        .map(|item| {
            let prefix = item["pk"].as_s().unwrap().split('#').next().unwrap().to_owned();
            let is_last_use = prefix == "USAGE" && !item["sk"].as_s().unwrap().contains('#');
            let kind = if is_last_use { "LAST USE".to_owned() } else { prefix };
            (kind, item["ttl"].as_n().unwrap().parse::<i64>().unwrap())
        })
        .collect();
    ttls.sort();
    let expected = [
        ("LAST USE", noon + days(400)),
        ("REQUESTS", requests),
        ("REQUESTS", requests),
        ("ROUTES", today),
        ("TOTALS", today),
        ("USAGE", today),
    ];
    // On a busy machine, a write can take too long, and then its item is missing.
    if truth.lost > 0 {
        return assert!(truth.lost < ttls.len(), "{ttls:?}");
    }
    assert_eq!(ttls, expected.map(|(kind, ttl)| (kind.to_owned(), ttl)));
}

#[tokio::test]
async fn source_addresses_are_recorded_unless_a_parameter_turns_them_off() {
    for (value, is_recorded) in [("true", true), ("false", false)] {
        let harness = Harness::builder().variable("KEYWARD_RECORD_SOURCE_ADDRESSES", value).start().await;
        let body = json!({ "name": "key", "allowedCidrs": ["198.51.100.0/24"] });
        let account = harness.create_account("batch", "ServiceAccountReader").await;
        let key = harness.issue_key_with(&account, &body).await;
        let logs = Logs::capture(LevelFilter::TRACE);
        logs.take();
        let instances = [Api::Business, Api::Iam].map(|api| harness.another_authorizer_of(api));
        let mut log = String::new();
        for shape in Shape::REQUESTS {
            for (path, source) in [
                ("/organizations", "198.51.100.77"),
                ("/elsewhere", "198.51.100.77"),
                ("/teams", "192.0.2.99"),
            ] {
                for (api, credential) in [(0, &key.secret), (1, &key.secret), (0, &forged(&key, 1))] {
                    let mut event = shape.request("GET", path, credential);
                    shape.set_source(&mut event, source);
                    let _ = instances[api].answer(&event.to_string(), "invocation-1").await;
                }
            }
        }
        for instance in &instances {
            instance.flush_activity().await;
        }
        log.push_str(&logs.take());
        let items: Vec<_> = harness.table.dump().await.into_iter().filter(is_activity).collect();
        let table = format!("{items:?}");
        for address in ["198.51.100.77", "192.0.2.99"] {
            assert_eq!(table.contains(address), is_recorded, "{address} in the table");
            assert_eq!(log.contains(address), is_recorded, "{address} in the log");
        }
        // The networks of the key are checked either way.
        assert!(log.contains(r#""reason":"network""#));
        assert!(table.contains("/teams"), "the requests are recorded either way");
    }
}

#[tokio::test]
async fn a_path_that_contains_a_credential_is_recorded_without_it() {
    let harness = Harness::start().await;
    harness.put_role("Any", &["GET /{proxy+}"]).await;
    let (_, key) = harness.account_with_key("batch", "Any").await;
    let pasted = harness.reader_key_of("another").await;
    let token = harness.system.facts().admin_api_token.clone();
    let instance = harness.another_authorizer();
    let paths = [&pasted.secret, &key.secret, &token].map(|secret| format!("/files/{secret}/a"));
    for (method, verdict) in [("GET", Verdict::Allow), ("POST", Verdict::Deny)] {
        for path in &paths {
            for shape in Shape::ALL {
                let event = shape.request(method, path, &key.secret);
                let answer = instance.answer(&event.to_string(), "invocation-1").await;
                assert_eq!(Verdict::from(answer), verdict, "{method} {path}");
            }
        }
    }
    instance.flush_activity().await;
    let table = format!("{:?}", harness.table.dump().await);
    for secret in [&pasted.secret, &key.secret, &token] {
        assert!(!table.contains(secret.as_str()), "{secret}");
    }
    let shown = harness.get(&format!("{}/activity", key.path())).await.json();
    assert_eq!(shown["lastAllowed"]["path"], "/files/[redacted]/a");
    let refusals = shown["recentRefusals"].as_array().unwrap();
    assert!(!refusals.is_empty());
    for refusal in refusals {
        assert_eq!(refusal["path"], "/files/[redacted]/a");
        assert_eq!(refusal["missingPermission"], "POST /files/{name}/a");
    }
}

/// An instance can be frozen for a long time between two requests.
#[tokio::test]
async fn an_instance_counts_after_months_without_an_invocation() {
    let harness = Harness::start().await;
    let account = harness.create_account("sleepy", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "long", "expiresInDays": 365 })).await;
    let mut truth = Truth::new(&harness);
    let instance = harness.another_authorizer();
    let case = Case::new(&key, "allowed");
    for days in [0, 31, 40, 100] {
        harness.clock.advance_days(days);
        for _ in 0..40 {
            truth.send(&instance, &[&case]).await;
        }
        truth.assert_not_exceeded().await;
    }
    truth.stop(&[&instance]).await;
    truth.assert_exact().await;
}

#[tokio::test]
async fn use_of_a_retired_key_is_counted_like_that_of_a_live_key() {
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
    changes::rotate(&harness, &rotated, 86_400).await;
    let at_once = issue(90).await;
    changes::rotate(&harness, &at_once, 0).await;
    harness.clock.advance_days(1);
    let mut truth = Truth::new(&harness);
    let instances = [harness.another_authorizer(), harness.another_authorizer()];
    let cases = [(&revoked, "revoked"), (&expired, "expired"), (&rotated, "retired"), (&at_once, "retired")]
        .map(|(key, reason)| Case::new(key, reason));
    for moved in [false, true] {
        if moved {
            issue(90).await;
        }
        let record = async |case: &Case| harness.table.retired_key(&case.key).await;
        for case in &cases {
            let before = record(case).await;
            assert!(!moved || before.is_some(), "{}", case.reason);
            for instance in &instances {
                for _ in 0..5 {
                    truth.send(instance, &[case]).await;
                    harness.clock.advance_seconds(10);
                }
            }
            assert_eq!(before, record(case).await, "the authorizer changed the record of the key");
        }
    }
    truth.stop(&instances.each_ref()).await;
    truth.assert_exact().await;
    let shown = harness.get(&account.path()).await.json();
    let retired = shown["retiredKeys"].as_array().unwrap();
    assert_eq!(retired.len(), 4, "{retired:?}");
    for key in retired {
        assert!(truth.lost > 0 || self::shown(key) == [0, 20], "{key}");
        assert!(key["usedAfterEndAt"].as_str().unwrap().starts_with("2026-01-02T00:"), "{key}");
        assert_eq!(key.get("lastUsedAt"), None, "{key}");
    }
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
    let last = Key::from_issued(&account, &changes::rotate(&harness, &first, 0).await);
    assert_eq!(harness.verdict(&event).await, Verdict::Deny);
    harness.clock.advance_seconds(60);
    let _ = harness.revoke(&last).await.expect(204);
    harness.authorizer().flush_activity().await;
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
async fn malformed_activity_is_500_in_the_api_and_does_not_affect_the_key() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    use_key(&harness, &key).await;
    harness.authorizer().flush_activity().await;
    let items = harness.table.items("USAGE#").await;
    assert_eq!(items.len(), 2, "the counts of the day, and the last use");
    for whole in items {
        for name in whole.keys().filter(|name| !["pk", "sk", "ttl"].contains(&name.as_str())) {
            let mut item = whole.clone();
            item.insert(name.clone(), AttributeValue::S("many".to_owned()));
            harness.table.put(item).await;
            let path = Account { id: key.account.clone() }.path();
            let refused = harness.request("GET", &path).admin().send().await;
            let _ = refused.expect_problem(500, "internal_error");
            let instance = harness.another_authorizer();
            let event = Shape::HttpV2.bearer(&key.secret).to_string();
            assert!(instance.answer(&event, "invocation-1").await.unwrap().is_allow(), "{name}");
        }
        harness.table.put(whole).await;
    }
}
