//! Decisions of real authorizer processes while `DynamoDB` and the network fail in many
//! ways at random, and while the processes are frozen and thawed, as Lambda does.
//!
//! The variable `KEYWARD_TEST_CHAOS` contains the number of decisions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use shared::config::Variables;
use shared::domain::{Clock as _, SystemClock};
use tests::{Harness, Key, Shape};
use tokio::sync::watch;

use crate::support::activity::Counts;
use crate::support::dynamodb_proxy::{Behavior, Client, Proxy, Request};
use crate::support::lambda::{self, FunctionProcess, Log, RuntimeApi};
use crate::support::{changes, report};

/// The variable that contains the number of decisions.
const DECISIONS: &str = "KEYWARD_TEST_CHAOS";
const DEFAULT_DECISIONS: usize = 2_000;

/// The number of events that each process handles at once. `None` is a Lambda function
/// without `AWS_LAMBDA_MAX_CONCURRENCY`.
const PROCESSES: [Option<usize>; 3] = [None, Some(4), Some(8)];

/// The time limit of a decision.
const LIMIT: Duration = Duration::from_secs(3);
/// The time after which a decision is examined.
const SLOW: Duration = Duration::from_millis(500);
/// The maximum growth of a process's memory after the warm-up, in KB.
const MAX_GROWTH: u64 = 4 * 1024;
/// The maximum number of connections for fast reads.
const MAX_FAST: usize = 16;
/// The maximum number of writes at the same time after a decision.
const MAX_WRITES: usize = 16;
/// The seed of all random choices.
const SEED: u64 = 1;

/// The part of the decisions after which memory is first measured.
const WARM_UP: usize = 4;
/// The number of decisions after the last fault.
const AFTER_FAULTS: usize = 200;

/// The kinds of keys in the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Live,
    /// A live key with a custom role, which takes a second read.
    LiveWithCustomRole,
    Revoked,
    /// A key of a disabled account.
    Disabled,
}

impl Kind {
    fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::LiveWithCustomRole)
    }
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Allowed,
    Refused,
    Unavailable,
}

/// The events that the processes share. Each takes the next one.
struct Events {
    keys: [(Kind, Key); 4],
    next: AtomicUsize,
    /// The number of events to hand out.
    end: watch::Sender<usize>,
}

impl Events {
    /// Takes the number of the next event. `None` if all are taken.
    fn take(&self) -> Option<usize> {
        let end = *self.end.borrow();
        let next = |next| (next < end).then_some(next + 1);
        self.next.try_update(Ordering::SeqCst, Ordering::SeqCst, next).ok()
    }

    fn kind(&self, number: usize) -> &(Kind, Key) {
        &self.keys[number % self.keys.len()]
    }

    fn shape(number: usize) -> Shape {
        // Four of one shape, then four of the other.
        if (number / 4).is_multiple_of(2) { Shape::HttpV2 } else { Shape::RestRequest }
    }

    fn event(&self, number: usize) -> Value {
        let (_, key) = self.kind(number);
        Self::shape(number).request("GET", &format!("/organizations/{number}"), &key.secret)
    }
}

/// The time from an event to the response.
#[derive(Clone, Debug)]
struct Decision {
    number: usize,
    time: Range<Instant>,
}

/// The runtime API of one process.
struct Lambda {
    events: Arc<Events>,
    pending: Mutex<BTreeMap<usize, Instant>>,
    counts: Mutex<BTreeMap<(Kind, Outcome), usize>>,
    /// The decisions that took long enough to be checked.
    slow: Mutex<Vec<Decision>>,
    /// What must not happen.
    violations: Mutex<Vec<String>>,
    /// The number of requests for an event that wait for one.
    waiting: AtomicUsize,
}

impl RuntimeApi for Lambda {
    async fn next(&self) -> (usize, String) {
        let mut end = self.events.end.subscribe();
        let number = loop {
            if let Some(number) = self.events.take() {
                break number;
            }
            self.waiting.fetch_add(1, Ordering::SeqCst);
            end.changed().await.unwrap();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        };
        let event = self.events.event(number).to_string();
        self.pending.lock().unwrap().insert(number, Instant::now());
        (number, event)
    }

    async fn take(&self, number: usize, outcome: &str, body: Bytes) {
        let now = Instant::now();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let Some(started) = self.pending.lock().unwrap().remove(&number) else {
            self.violate(number, &"a second response");
            return;
        };
        if now - started > SLOW {
            self.slow.lock().unwrap().push(Decision { number, time: started..now });
        }
        let (kind, key) = self.events.kind(number);
        let shape = Events::shape(number);
        let event = self.events.event(number);
        let statement = &body["policyDocument"]["Statement"][0];
        let is_own = statement["Resource"] == event[shape.arn_member()];
        let effect = statement["Effect"].as_str().filter(|_| is_own);
        let outcome = match (outcome, effect, body["errorMessage"].as_str()) {
            ("response", Some("Allow"), None) if body["principalId"] == key.account => Outcome::Allowed,
            ("response", Some("Deny"), None) if shape == Shape::HttpV2 => Outcome::Refused,
            ("error", None, Some("Unauthorized")) if shape != Shape::HttpV2 => Outcome::Refused,
            ("error", None, Some("Unavailable")) => Outcome::Unavailable,
            _ => return self.violate(number, &body),
        };
        let is_wrong = if kind.is_live() { Outcome::Refused } else { Outcome::Allowed };
        if outcome == is_wrong {
            self.violate(number, &outcome);
        }
        *self.counts.lock().unwrap().entry((*kind, outcome)).or_default() += 1;
    }
}

impl Lambda {
    fn violate(&self, number: usize, what: &dyn Debug) {
        let (kind, _) = self.events.kind(number);
        self.violations.lock().unwrap().push(format!("event {number} ({kind:?}): {what:?}"));
    }
}

/// A random behavior of `DynamoDB` or the network for one request, and its name.
fn behavior(random: &mut StdRng) -> (&'static str, Behavior) {
    let millis = |random: &mut StdRng, most| Duration::from_millis(random.random_range(1..most));
    match random.random_range(0..100) {
        0 => ("reset before a response", Behavior::ResetBefore),
        1 => ("reset during a response", Behavior::ResetDuring),
        2 => ("reset after a response", Behavior::ResetAfter),
        3 => ("close after a response", Behavior::CloseAfter(Duration::ZERO)),
        4 => ("close while idle", Behavior::CloseAfter(millis(random, 50))),
        5 => ("hang", Behavior::Hang),
        6 => ("delay", Behavior::Delay(millis(random, 1_200))),
        7 => ("pause during a response", Behavior::PauseDuring(millis(random, 600))),
        8 | 9 => ("throttle", Behavior::Respond(400, throttled())),
        10 => ("500", Behavior::Respond(500, json!({ "__type": "InternalServerError" }).to_string())),
        11 => ("503", Behavior::Respond(503, "<html>Service Unavailable</html>".to_owned())),
        12 => ("200 without JSON", Behavior::Respond(200, "{\"Item\":{\"pk\":".to_owned())),
        13 => ("garbage", Behavior::Garbage(garbage(random))),
        14 => ("garbage after a response", Behavior::GarbageAfter(millis(random, 20), garbage(random))),
        15 => ("chunks", Behavior::Chunked(random.random_range(1..200))),
        _ => ("pass", Behavior::Pass),
    }
}

fn throttled() -> String {
    json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "message": "The level of configured provisioned throughput for the table was exceeded.",
    })
    .to_string()
}

fn garbage(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..300)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// The times in which something was paused.
#[derive(Default)]
struct Pauses(Mutex<Vec<Range<Instant>>>);

impl Pauses {
    fn add(&self, pause: Range<Instant>) {
        self.0.lock().unwrap().push(pause);
    }

    /// How much of `time` was paused.
    fn within(&self, time: &Range<Instant>) -> Duration {
        let pauses = self.0.lock().unwrap();
        let parts = pauses
            .iter()
            .map(|pause| pause.end.min(time.end).saturating_duration_since(pause.start.max(time.start)));
        parts.sum()
    }
}

/// Records when the machine itself gave this process no time, while `is_watched`.
fn watch_machine(pauses: &Pauses, is_watched: &AtomicBool) {
    const STEP: Duration = Duration::from_millis(10);
    while is_watched.load(Ordering::Relaxed) {
        let started = Instant::now();
        std::thread::sleep(STEP);
        if started.elapsed() > 3 * STEP {
            pauses.add(started + STEP..Instant::now());
        }
    }
}

/// One process, its `DynamoDB`, and its Lambda.
struct Instance {
    lanes: usize,
    process: FunctionProcess,
    proxy: Arc<Proxy>,
    lambda: Arc<Lambda>,
    stops: Pauses,
    /// What happens to every request, if anything.
    outage: Arc<Mutex<Option<Behavior>>>,
    faults: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    log: tokio::task::JoinHandle<BTreeMap<String, usize>>,
}

impl Instance {
    async fn start(number: usize, variables: &Variables, events: &Arc<Events>) -> Self {
        let concurrency = PROCESSES[number];
        let faults: Arc<Mutex<BTreeMap<&'static str, usize>>> = Arc::default();
        let random = Mutex::new(StdRng::seed_from_u64(SEED + number as u64));
        let outage: Arc<Mutex<Option<Behavior>>> = Arc::default();
        let (counted, current) = (Arc::clone(&faults), Arc::clone(&outage));
        let behave = move |_: &Request| {
            if let Some(behavior) = current.lock().unwrap().clone() {
                return behavior;
            }
            let (name, behavior) = behavior(&mut random.lock().unwrap());
            *counted.lock().unwrap().entry(name).or_default() += 1;
            behavior
        };
        let proxy = Proxy::start(variables.get("AWS_ENDPOINT_URL_DYNAMODB").unwrap(), behave);
        let lambda = Arc::new(Lambda {
            events: Arc::clone(events),
            pending: Mutex::default(),
            counts: Mutex::default(),
            slow: Mutex::default(),
            violations: Mutex::default(),
            waiting: AtomicUsize::new(0),
        });
        let runtime_api = lambda::serve(Arc::clone(&lambda)).await;
        let mut process = FunctionProcess::start_authorizer(variables, &proxy.url, &runtime_api, concurrency);
        let log = tokio::spawn(reasons(process.take_log()));
        let lanes = concurrency.unwrap_or(1);
        Self { lanes, process, proxy, lambda, stops: Pauses::default(), outage, faults, log }
    }

    /// Stops and continues the process, and restarts and interrupts its `DynamoDB`, at
    /// random. Returns how often.
    async fn disturb(&self, number: usize, is_over: &AtomicBool) -> [usize; 3] {
        let mut random = StdRng::seed_from_u64(SEED + 100 + number as u64);
        let [mut stops, mut restarts, mut outages] = [0; 3];
        while !is_over.load(Ordering::Relaxed) {
            let mut time = |most| Duration::from_millis(random.random_range(1..most));
            tokio::time::sleep(time(800)).await;
            let (stop, refusal, outage) = (time(500), time(300), time(4_000));
            let choice = random.random_range(0..10);
            let restart = async {
                if matches!(choice, 0..2) {
                    self.proxy.restart(refusal).await;
                    restarts += 1;
                }
            };
            let freeze = async {
                if matches!(choice, 1..8) {
                    let started = Instant::now();
                    self.process.signal("STOP").await;
                    tokio::time::sleep(stop).await;
                    self.process.signal("CONT").await;
                    self.stops.add(started..Instant::now());
                    stops += 1;
                }
            };
            tokio::join!(restart, freeze);
            if choice == 9 {
                let behaviors = [Behavior::Hang, Behavior::ResetBefore, Behavior::Respond(400, throttled())];
                *self.outage.lock().unwrap() = Some(behaviors[random.random_range(0..3)].clone());
                tokio::time::sleep(outage).await;
                *self.outage.lock().unwrap() = None;
                outages += 1;
            }
        }
        *self.outage.lock().unwrap() = Some(Behavior::Pass);
        [stops, restarts, outages]
    }

    /// Waits until the process has handled its last event and asks for another one.
    async fn finish(&self) {
        let events = &self.lambda.events;
        let is_busy = || self.lambda.waiting.load(Ordering::SeqCst) < self.lanes;
        while events.next.load(Ordering::SeqCst) < *events.end.borrow() || is_busy() {
            assert_eq!(*self.lambda.violations.lock().unwrap(), [""; 0]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The number of decisions that were not made.
fn unavailable(instances: &[Instance]) -> usize {
    let counts = instances.iter().map(|instance| {
        let counts = instance.lambda.counts.lock().unwrap();
        counts
            .iter()
            .filter(|((_, outcome), _)| *outcome == Outcome::Unavailable)
            .map(|(_, count)| count)
            .sum::<usize>()
    });
    counts.sum()
}

/// The number of decisions in the log with each reason.
async fn reasons(mut log: Log) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    while let Some(line) = log.next_decision().await {
        *reasons.entry(line["reason"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    reasons
}

/// Adds counts to `sum`.
fn add<K: Ord>(sum: &mut BTreeMap<K, usize>, counts: impl IntoIterator<Item = (K, usize)>) {
    for (key, count) in counts {
        *sum.entry(key).or_default() += count;
    }
}

/// A harness with the time of the machine, because the processes use the machine's clock.
async fn harness() -> (Harness, [(Kind, Key); 4]) {
    let harness = Harness::start().await;
    harness.clock.advance(SystemClock.now().duration_since(harness.clock.now()));
    harness.put_role("OrganizationReader", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [live, revoked] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = harness.revoke(&revoked).await.expect(204);
    let custom = harness.account_with_key("custom", "OrganizationReader").await.1;
    let (disabled_account, disabled) = harness.account_with_key("disabled", "ServiceAccountReader").await;
    changes::disable(&harness, &disabled_account).await;
    let keys = [
        (Kind::Live, live),
        (Kind::Revoked, revoked),
        (Kind::LiveWithCustomRole, custom),
        (Kind::Disabled, disabled),
    ];
    (harness, keys)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_and_freezes_cause_no_wrong_decision() {
    let decisions =
        Variables::from_process().get(DECISIONS).map_or(DEFAULT_DECISIONS, |many| many.parse().unwrap());
    let (harness, keys) = harness().await;
    let variables = harness.variables_to_share("Authorizer").await;
    let events = Arc::new(Events { keys, next: AtomicUsize::new(0), end: watch::channel(decisions).0 });
    let mut instances = Vec::new();
    for number in 0..PROCESSES.len() {
        instances.push(Instance::start(number, &variables, &events).await);
    }
    let (machine, is_watched) = (Arc::new(Pauses::default()), Arc::new(AtomicBool::new(true)));
    let watcher = std::thread::spawn({
        let (machine, is_watched) = (Arc::clone(&machine), Arc::clone(&is_watched));
        move || watch_machine(&machine, &is_watched)
    });
    let is_over = AtomicBool::new(false);
    let started = Instant::now();
    let work = async {
        while events.next.load(Ordering::SeqCst) < decisions / WARM_UP {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let warm: Vec<_> = instances.iter().map(|instance| instance.process.anonymous_memory()).collect();
        futures::future::join_all(instances.iter().map(Instance::finish)).await;
        is_over.store(true, Ordering::Relaxed);
        warm
    };
    let disturbances =
        instances.iter().enumerate().map(|(number, instance)| instance.disturb(number, &is_over));
    let (warm, disturbances) = tokio::join!(work, futures::future::join_all(disturbances));
    let disturbed = unavailable(&instances);
    events.end.send(decisions + AFTER_FAULTS).unwrap();
    futures::future::join_all(instances.iter().map(Instance::finish)).await;
    assert_eq!(unavailable(&instances), disturbed, "after the last fault, every decision is made");
    is_watched.store(false, Ordering::Relaxed);
    watcher.join().unwrap();
    let decisions = decisions + AFTER_FAULTS;
    let seconds = started.elapsed().as_secs();

    let (mut counts, mut faults, mut reasons) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut slowest = Duration::ZERO;
    for (instance, warm) in instances.iter_mut().zip(warm) {
        let lambda = &instance.lambda;
        assert_eq!(*lambda.violations.lock().unwrap(), [""; 0]);
        assert!(lambda.pending.lock().unwrap().is_empty(), "events without a response");
        add(&mut counts, lambda.counts.lock().unwrap().clone());
        add(&mut faults, instance.faults.lock().unwrap().clone());
        for decision in lambda.slow.lock().unwrap().iter() {
            let paused = instance.stops.within(&decision.time) + machine.within(&decision.time);
            let took = (decision.time.end - decision.time.start).saturating_sub(paused);
            assert!(took < LIMIT, "event {} took {took:?}", decision.number);
            slowest = slowest.max(took);
        }
        let memory = instance.process.anonymous_memory();
        let [fast, sdk] = [Client::FastRead, Client::Sdk].map(|client| instance.proxy.peak(client));
        report(&format!(
            "{} at once: {warm} KB after the warm-up, {memory} KB at the end; {fast} connections for fast reads and {sdk} of the SDK at once, {} opened",
            instance.lanes,
            instance.proxy.opened(),
        ));
        assert!(memory < warm + MAX_GROWTH, "the memory grew from {warm} KB to {memory} KB");
        assert!(fast <= MAX_FAST.min(instance.lanes), "{fast} connections for fast reads");
        assert!(sdk <= MAX_WRITES * instance.lanes, "{sdk} connections of the SDK");
        instance.process.kill().await;
        add(&mut reasons, (&mut instance.log).await.unwrap());
    }
    let [stops, restarts, outages] =
        [0, 1, 2].map(|kind| disturbances.iter().map(|all| all[kind]).sum::<usize>());
    report(&format!(
        "{decisions} decisions in {seconds} s, {stops} stops, {restarts} restarts, {outages} outages, slowest {slowest:?}"
    ));
    report(&format!("{counts:?}\n{reasons:?}\n{faults:?}"));
    assert_eq!(counts.values().sum::<usize>(), decisions);
    assert_eq!(reasons.values().sum::<usize>(), decisions, "each decision is one line in the log");
    // Counts of lost writes are missing, and no request is counted twice.
    let stored = Counts::stored(&harness.table).await;
    for reason in ["allowed", "revoked", "disabled"] {
        let (counted, decided) =
            (stored.of_all_keys(reason), reasons.get(reason).copied().unwrap_or_default());
        report(&format!("{reason}: {counted} of {decided} counted"));
        assert!((1..=decided as u64).contains(&counted), "{reason}: {counted} of {decided} counted");
    }
    for (outcome, reason) in [(Outcome::Allowed, "allowed"), (Outcome::Unavailable, "outage")] {
        let posted = counts.iter().filter(|((_, other), _)| *other == outcome).map(|(_, count)| count);
        assert_eq!(posted.sum::<usize>(), reasons.get(reason).copied().unwrap_or_default(), "{reason}");
    }
    for kind in [Kind::Live, Kind::LiveWithCustomRole] {
        let [allowed, unavailable] = [Outcome::Allowed, Outcome::Unavailable]
            .map(|outcome| counts.get(&(kind, outcome)).copied().unwrap_or_default());
        assert!(allowed > unavailable, "{kind:?}: most decisions are made in spite of the faults");
    }
}
