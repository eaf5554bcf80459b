//! Many events at once in one authorizer process. Lambda Managed Instances set
//! `AWS_LAMBDA_MAX_CONCURRENCY`. On other Lambda functions it is unset.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authorizer::{Authorizer, Decision};
use axum::body::Bytes;
use jiff::SignedDuration;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use shared::domain::{Clock as _, SystemClock};
use tests::{Harness, Logs, Shape};
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;

use crate::support::dynamodb_proxy::{Behavior, Client, Proxy};
use crate::support::keys::{environment, forged, parsed};
use crate::support::lambda::{self, FunctionProcess, RuntimeApi, invocation};
use crate::support::{changes, report};

/// The maximum number of connections for fast reads.
const MAX_FAST: usize = 16;
/// The maximum number of writes at the same time after a decision.
const MAX_WRITES: usize = 16;
/// How long a test waits for a process. This is only reached if the process hangs.
const PATIENCE: Duration = Duration::from_mins(3);

/// An event, and what it must cause.
struct Case {
    event: String,
    request_id: String,
    /// The reason in the log. Only a few keys per second that are not live are looked up.
    /// For the others, the reason is `unknown`.
    reason: &'static str,
}

/// What the process posted about an event: `response` or `error`, and the body.
type Posted = (String, Value);

/// Hands out the cases in order, and records what the process does.
#[derive(Default)]
struct Recorder {
    cases: Vec<Case>,
    next: AtomicUsize,
    /// The requests for an event after the last one.
    waiting: AtomicUsize,
    /// The events without a response, and the most of them at once.
    pending: AtomicUsize,
    most_pending: AtomicUsize,
    posted: Mutex<BTreeMap<usize, Vec<Posted>>>,
    changed: Notify,
}

impl RuntimeApi for Recorder {
    async fn next(&self) -> (usize, String) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let Some(case) = self.cases.get(number) else {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.changed.notify_one();
            return std::future::pending().await;
        };
        let pending = self.pending.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_pending.fetch_max(pending, Ordering::SeqCst);
        (number, case.event.clone())
    }

    async fn take(&self, number: usize, outcome: &str, body: Bytes) {
        // A line that is logged before the post is complete arrives during this pause.
        tokio::time::sleep(Duration::from_millis(number as u64 % 5)).await;
        self.pending.fetch_sub(1, Ordering::SeqCst);
        let posted = (outcome.to_owned(), serde_json::from_slice(&body).unwrap());
        self.posted.lock().unwrap().entry(number).or_default().push(posted);
    }
}

/// A decision's line in the log of the process.
struct Line {
    line: Value,
    /// Whether the event that it names had its response when the line arrived.
    is_after_response: bool,
}

/// What a process did with all cases.
struct Run {
    recorder: Arc<Recorder>,
    lines: Vec<Line>,
    proxy: Arc<Proxy>,
}

/// Lets a process handle all cases.
async fn run(harness: &Harness, cases: Vec<Case>, concurrency: Option<usize>, behavior: Behavior) -> Run {
    let variables = harness.variables_to_share("Authorizer").await;
    let dynamodb = variables.get("AWS_ENDPOINT_URL_DYNAMODB").unwrap();
    let proxy = Proxy::start(dynamodb, move |_| behavior.clone());
    let recorder = Arc::new(Recorder { cases, ..Recorder::default() });
    let runtime_api = lambda::serve(Arc::clone(&recorder)).await;
    let mut process = FunctionProcess::start_authorizer(&variables, &proxy.url, &runtime_api, concurrency);
    let mut log = process.take_log();
    let reader = Arc::clone(&recorder);
    let lines = tokio::spawn(async move {
        let numbers: BTreeMap<_, _> =
            reader.cases.iter().enumerate().map(|(number, case)| (&*case.request_id, number)).collect();
        let mut lines = Vec::new();
        while let Some(line) = log.next_decision().await {
            let number = line["request_id"].as_str().and_then(|id| numbers.get(id));
            let posted = reader.posted.lock().unwrap();
            let is_after_response = number.is_some_and(|number| posted.contains_key(number));
            lines.push(Line { line, is_after_response });
        }
        lines
    });
    let done = async {
        while recorder.waiting.load(Ordering::SeqCst) < concurrency.unwrap_or(1) {
            recorder.changed.notified().await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("the process handles all events");
    process.kill().await;
    Run { lines: lines.await.unwrap(), recorder, proxy }
}

/// A harness with the time of the machine, because the process uses the machine's clock,
/// and `count` cases in random order. No two cases have the same path and request id.
async fn cases(count: usize) -> (Harness, Vec<Case>) {
    let harness = Harness::start().await;
    let now = SystemClock.now().duration_since(harness.clock.now());
    harness.clock.advance(now - SignedDuration::from_hours(25));
    harness.put_role("OrganizationReader", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let expired = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    let live = harness.issue_key(&account).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let custom = harness.account_with_key("custom", "OrganizationReader").await.1;
    let (disabled_account, disabled) = harness.account_with_key("disabled", "ServiceAccountReader").await;
    changes::disable(&harness, &disabled_account).await;
    harness.clock.advance(SignedDuration::from_hours(25));
    let mut unknown = parsed(&live);
    unknown.id = "key_0000000000000000".parse().unwrap();
    let unknown = unknown.display(&environment("local")).expose().to_owned();
    let credentials = [
        ("allowed", "organizations", live.secret.clone()),
        ("allowed", "organizations", custom.secret),
        ("revoked", "organizations", revoked.secret),
        ("expired", "organizations", expired.secret),
        ("disabled", "organizations", disabled.secret),
        ("role", "orders", live.secret.clone()),
        ("wrong_secret", "organizations", forged(&live, 1)),
        ("unknown", "organizations", unknown),
        ("malformed", "organizations", live.secret[..90].to_owned()),
    ];
    let mut cases: Vec<_> = (0..count)
        .map(|number| {
            let request_id = format!("request-{number}");
            let (choice, shape) = (number / 4 % (credentials.len() + 1), Shape::ALL[number % 4]);
            let Some((reason, path, credential)) = credentials.get(choice) else {
                let event = json!({ "type": "REQUEST", "headers": "Bearer", "path": request_id });
                return Case { event: event.to_string(), request_id: String::new(), reason: "outage" };
            };
            let mut event = shape.request("GET", &format!("/{path}/{number}"), credential);
            if shape == Shape::RestToken {
                return Case { event: event.to_string(), request_id: String::new(), reason };
            }
            event["requestContext"]["requestId"] = request_id.clone().into();
            Case { event: event.to_string(), request_id, reason }
        })
        .collect();
    cases.shuffle(&mut StdRng::seed_from_u64(1));
    for (number, case) in cases.iter_mut().enumerate() {
        // An event without a request id is named after its invocation.
        if case.request_id.is_empty() {
            case.request_id = invocation(number);
        }
    }
    (harness, cases)
}

/// What this process decides about an event, and the line that it logs.
async fn expected(authorizer: &Authorizer, logs: &Logs, case: &Case, number: usize) -> (Posted, Value) {
    let Decision { answer, follow_up } = authorizer.decide(&case.event, &invocation(number)).await;
    authorizer.follow_up(follow_up).await;
    let posted = match answer {
        Ok(answer) => ("response".to_owned(), serde_json::to_value(answer).unwrap()),
        Err(error) => {
            let message = error.to_string();
            ("error".to_owned(), json!({ "errorType": message, "errorMessage": message }))
        }
    };
    (posted, logs.take_decisions().remove(0))
}

/// A decision's line without its time, and without what depends on how many keys were
/// looked up in the same second.
fn comparable(mut line: Value) -> Value {
    for name in ["timestamp", "reason", "cause"] {
        line.as_object_mut().unwrap().remove(name);
    }
    line
}

/// Checks that each event has its own response, and then one line that describes it.
async fn check(harness: &Harness, run: &Run) {
    let posted = run.recorder.posted.lock().unwrap().clone();
    let mut lines: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in &run.lines {
        lines.entry(line.line["request_id"].as_str().unwrap()).or_default().push(line);
    }
    let authorizer = harness.another_authorizer();
    authorizer.warm().await;
    let logs = Logs::capture(LevelFilter::INFO);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (number, case) in run.recorder.cases.iter().enumerate() {
        let (response, expected) = expected(&authorizer, &logs, case, number).await;
        assert_eq!(posted[&number], [response], "event {number} ({})", case.reason);
        let own = lines.get(&*case.request_id).map(Vec::as_slice);
        let Some([line]) = own else {
            let count = own.map_or(0, <[_]>::len);
            panic!("{count} lines for event {number} ({})", case.reason);
        };
        assert!(line.is_after_response, "logged before the response: {}", line.line);
        assert_eq!(comparable(line.line.clone()), comparable(expected), "event {number} ({})", case.reason);
        let reason = line.line["reason"].as_str().unwrap();
        let is_skipped = line.line["cause"].as_str().is_some_and(|cause| cause.starts_with("too many"));
        assert!(
            reason == case.reason || (is_skipped && reason == "unknown" && case.reason == "revoked"),
            "{}: {}",
            case.reason,
            line.line
        );
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    assert_eq!(run.lines.len(), run.recorder.cases.len());
    assert!(reasons.contains_key("revoked"), "{reasons:?}");
    report(&format!("{} decisions: {reasons:?}", run.lines.len()));
}

#[tokio::test]
async fn each_of_many_events_at_once_gets_its_own_response_and_log_line() {
    let (harness, cases) = cases(2_400).await;
    let run = run(&harness, cases, Some(8), Behavior::Pass).await;
    check(&harness, &run).await;
    let [fast, sdk] = [Client::FastRead, Client::Sdk].map(|client| run.proxy.peak(client));
    let most = run.recorder.most_pending.load(Ordering::SeqCst);
    report(&format!("{most} events, {fast} connections for fast reads and {sdk} of the SDK at once"));
    assert_eq!(most, 8);
    // One event uses at most one connection for fast reads at a time, and one connection of
    // the SDK for each write.
    assert!(fast <= 8 && sdk <= MAX_WRITES * 8, "{fast} connections for fast reads, {sdk} of the SDK");
}

#[tokio::test]
async fn without_the_variable_events_are_handled_one_at_a_time() {
    let (harness, cases) = cases(200).await;
    let run = run(&harness, cases, None, Behavior::Pass).await;
    check(&harness, &run).await;
    assert_eq!(run.recorder.most_pending.load(Ordering::SeqCst), 1);
    assert!(run.proxy.peak(Client::FastRead) <= 1 && run.proxy.peak(Client::Sdk) <= MAX_WRITES);
    // Each line is logged before the next event is requested.
    let logged = run.lines.iter().map(|line| line.line["request_id"].as_str().unwrap());
    let order: Vec<_> = run.recorder.cases.iter().map(|case| &*case.request_id).collect();
    assert_eq!(logged.collect::<Vec<_>>(), order);
}

#[tokio::test]
async fn at_most_16_connections_are_open_for_fast_reads() {
    const LANES: usize = 32;
    let (harness, mut cases) = cases(1_600).await;
    cases.retain(|case| case.reason == "allowed");
    let run = run(&harness, cases, Some(LANES), Behavior::Delay(Duration::from_millis(80))).await;
    let posted = run.recorder.posted.lock().unwrap().clone();
    let mut allows = 0;
    for posted in posted.values() {
        let [(_, body)] = &posted[..] else { panic!("{posted:?}") };
        let is_allow = body["policyDocument"]["Statement"][0]["Effect"] == "Allow";
        // On a busy machine, a read that waits for a connection can exceed its limit.
        assert!(is_allow || body["errorMessage"] == "Unavailable", "{body}");
        allows += usize::from(is_allow);
    }
    let [fast, sdk] = [Client::FastRead, Client::Sdk].map(|client| run.proxy.peak(client));
    let events = run.recorder.cases.len();
    report(&format!(
        "{allows} of {events} events allowed; {fast} connections for fast reads and {sdk} of the SDK at once"
    ));
    assert!(posted.len() == events && allows > events / 2, "{allows} of {events} events were allowed");
    assert_eq!(fast, MAX_FAST);
    assert!(sdk <= MAX_WRITES * LANES, "{sdk}");
}
