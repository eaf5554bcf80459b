//! The end of an authorizer process. Counts that are not written yet are written when Lambda
//! ends the process cleanly.
//!
//! Lambda sends SIGTERM before it ends an idle process, and SIGKILL 500 ms later. It sends
//! SIGTERM only if the function has an extension, so the authorizer registers one that does
//! nothing else. Without an extension, and if a process times out or runs out of memory, Lambda
//! sends only SIGKILL.
//! (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use shared::domain::{Clock as _, SystemClock};
use tests::{Harness, Key, Shape};
use tokio::sync::Notify;

use crate::support::activity::Counts;
use crate::support::dynamodb_proxy::{Behavior, Proxy};
use crate::support::lambda::{self, AuthorizerProcess, RuntimeApi};
use crate::support::report;

/// More requests than an instance writes at once.
const REQUESTS: usize = 120;
/// The time between the signals, and the additional time that a busy machine can need.
const LIMIT: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(600);
/// How long a test waits for a process. This is only reached if the process hangs.
const PATIENCE: Duration = Duration::from_mins(3);

/// Hands out the events in order.
struct Feed {
    events: Vec<String>,
    next: AtomicUsize,
    allowed: AtomicUsize,
    /// The number of requests for an event after the last one.
    waiting: AtomicUsize,
    changed: Notify,
}

impl RuntimeApi for Feed {
    async fn next(&self) -> (usize, String) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let Some(event) = self.events.get(number) else {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.changed.notify_one();
            return std::future::pending().await;
        };
        (number, event.clone())
    }

    async fn take(&self, _: usize, outcome: &str, body: Bytes) {
        let is_allowed = outcome == "response" && String::from_utf8_lossy(&body).contains("Allow");
        self.allowed.fetch_add(usize::from(is_allowed), Ordering::SeqCst);
    }
}

/// A process that has handled its last request and waits for another one.
struct Idle {
    harness: Harness,
    key: Key,
    process: AuthorizerProcess,
    /// What the proxy does with every call.
    behavior: tokio::sync::watch::Sender<Behavior>,
}

impl Idle {
    /// Starts a process that handles `concurrency` events at once, and sends requests: three
    /// in four are allowed, and the others are refused.
    async fn start(concurrency: Option<usize>) -> Self {
        let harness = Harness::start().await;
        // The process uses the machine's clock.
        harness.clock.advance(SystemClock.now().duration_since(harness.clock.now()));
        let key = harness.reader_key().await;
        let event = |number: usize| {
            let method = if number % 4 == 3 { "POST" } else { "GET" };
            let mut event = Shape::HttpV2.request(method, "/organizations/42", &key.secret);
            event["requestContext"]["requestId"] = format!("request-{number}").into();
            event.to_string()
        };
        let feed = Arc::new(Feed {
            events: (0..REQUESTS).map(event).collect(),
            next: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let variables = harness.variables_to_share("Authorizer").await;
        let behavior = tokio::sync::watch::channel(Behavior::Pass).0;
        let current = behavior.subscribe();
        let dynamodb = variables.get("AWS_ENDPOINT_URL_DYNAMODB").unwrap();
        let proxy = Proxy::start(dynamodb, move |_| current.borrow().clone());
        let runtime_api = lambda::serve(Arc::clone(&feed)).await;
        let mut process = AuthorizerProcess::start(&variables, &proxy.url, &runtime_api, concurrency);
        let mut log = process.take_log();
        tokio::spawn(async move { while log.next_decision().await.is_some() {} });
        let is_idle = async {
            while feed.waiting.load(Ordering::SeqCst) < concurrency.unwrap_or(1) {
                feed.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, is_idle).await.expect("the process handles all events");
        assert_eq!(feed.allowed.load(Ordering::SeqCst), REQUESTS / 4 * 3);
        Self { harness, key, process, behavior }
    }

    /// The stored number of allowed requests, and of refused ones.
    async fn counts(&self) -> [u64; 2] {
        let stored = Counts::stored(&self.harness.table).await;
        ["allowed", "role"].map(|reason| stored.of(&self.key, reason))
    }

    /// Ends the process cleanly. Returns its exit code and how long it took.
    async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        self.process.signal("TERM").await;
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("the process ends");
        (status.code(), started.elapsed())
    }
}

const TRUTH: [u64; 2] = [REQUESTS as u64 / 4 * 3, REQUESTS as u64 / 4];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_after_sigterm() {
    for concurrency in [None, Some(8)] {
        let mut idle = Idle::start(concurrency).await;
        let before = idle.counts().await;
        assert!(before.iter().sum::<u64>() < TRUTH.iter().sum(), "{before:?}: some requests are pending");
        assert!(before[0] > 0 && before[0] <= TRUTH[0] && before[1] <= TRUTH[1], "{before:?}");
        let (code, elapsed) = idle.terminate().await;
        report(&format!("{concurrency:?} at once: {before:?} of {TRUTH:?} before, ended in {elapsed:?}"));
        assert_eq!(code, Some(0));
        assert!(elapsed < LIMIT + SLACK, "{elapsed:?}");
        assert_eq!(idle.counts().await, TRUTH);
        let activity = idle.harness.get(&format!("{}/activity", idle.key.path())).await.json();
        assert_eq!(activity["recentRefusals"].as_array().unwrap().len(), 20);
        // Only without other requests at the same time, the last one is known.
        if concurrency.is_none() {
            assert_eq!(activity["recentRefusals"][0]["requestId"], format!("request-{}", REQUESTS - 1));
            assert_eq!(activity["lastAllowed"]["requestId"], format!("request-{}", REQUESTS - 2));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_fall_short_after_sigkill_and_are_never_too_high() {
    for concurrency in [None, Some(8)] {
        let mut idle = Idle::start(concurrency).await;
        let before = idle.counts().await;
        idle.process.kill().await;
        let after = idle.counts().await;
        assert_eq!(before, after);
        assert!(after[0] > 0 && after[0] <= TRUTH[0] && after[1] <= TRUTH[1], "{after:?}");
        assert!(after.iter().sum::<u64>() < TRUTH.iter().sum(), "{after:?}: what was pending is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_ends_in_time_if_dynamodb_does_not_respond() {
    let mut idle = Idle::start(None).await;
    let before = idle.counts().await;
    idle.behavior.send_replace(Behavior::Hang);
    let (code, elapsed) = idle.terminate().await;
    assert_eq!(code, Some(0));
    assert!(elapsed < LIMIT + SLACK, "{elapsed:?}");
    assert_eq!(idle.counts().await, before);
}
