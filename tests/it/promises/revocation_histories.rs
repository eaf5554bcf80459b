//! Revocation is linearizable: a check that begins after an admin was told that
//! a key is no longer good is refused, whichever instance of the authorizer is
//! asked. Many instances and several admins at once, over a wire of random
//! delays; every history is held against a model.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authorizer::Authorizer;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use shared::config::{Setup, Variables, default_http_client};
use shared::domain::OsEntropy;
use tests::{Account, Harness, Key, TestClock};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::support::faults::delay;
use crate::support::model::{Check, Ending, History, Order, Span, SwitchHistory, histories};
use crate::support::{Verdict, check, report, this_binary};

/// Says to this binary, started again, that it is an authorizer of a test.
const CHILD: &str = "KEYWARD_TEST_AUTHORIZER";
/// Begins the answers of such a child: the test runner writes to the same pipe.
const ANSWER: &str = "verdict ";
/// A custom role that does not permit what the checks ask for.
const OTHER_ROLE: &str = "SomethingElse";

/// What ends keys for good.
#[derive(Clone, Copy, Debug)]
enum End {
    Revoke(usize),
    RevokeAll,
    Disable,
    Role,
    Delete,
    Expire,
}

impl End {
    /// Does it, as an admin (or as time) does. Whether it was done.
    async fn happen(self, harness: &Harness, account: &Account, keys: &[Key]) -> bool {
        let path = account.path();
        let send = |method: &'static str, path: String, body: Option<Value>| async move {
            let request = harness.request(method, &path).admin();
            let request = if let Some(body) = body { request.json(&body) } else { request };
            let reply = request.send().await;
            // Somebody may have deleted it, all may have changed it at once, the
            // token may have expired with the day, or it may have timed out.
            assert!([200, 204, 403, 404, 409, 500, 503].contains(&reply.status), "{reply:?}");
            reply.status < 300
        };
        match self {
            Self::Revoke(key) => send("DELETE", keys[key].path(), None).await,
            Self::RevokeAll => send("DELETE", format!("{path}/keys"), None).await,
            Self::Disable => send("PATCH", path, Some(json!({ "enabled": false }))).await,
            Self::Role => send("PATCH", path, Some(json!({ "role": OTHER_ROLE }))).await,
            Self::Delete => send("DELETE", path, None).await,
            Self::Expire => {
                harness.clock.advance_days(1);
                true
            }
        }
    }

    fn key(self) -> Option<usize> {
        if let Self::Revoke(key) = self { Some(key) } else { None }
    }
}

/// One schedule: an account with keys, admins that end them, instances that
/// check them.
async fn history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let account = harness.create_account(&format!("history-{seed}"), "ServiceAccountReader").await;
    let mut keys = Vec::new();
    for name in 0..3 {
        let body = json!({ "name": format!("key {name}"), "expiresInDays": 1 });
        keys.push(harness.issue_key_with(&account, &body).await);
    }
    let all = [End::RevokeAll, End::Disable, End::Role, End::Delete, End::Expire];
    let mut ends = vec![End::Revoke(0), End::Revoke(1), *all.choose(&mut random).unwrap()];
    if random.random_bool(0.3) {
        ends.push(*all.choose(&mut random).unwrap());
    }
    ends.shuffle(&mut random);
    let pause = |random: &mut StdRng| Duration::from_micros(random.random_range(0..12_000));

    let order = Order::default();
    let (first, second) = ends.split_at(ends.len() / 2);
    let admins = [first, second].map(|ends| {
        let plan: Vec<_> = ends.iter().map(|end| (*end, pause(&mut random))).collect();
        let (order, account, keys) = (&order, &account, &keys);
        async move {
            let mut endings = Vec::new();
            for (end, pause) in plan {
                tokio::time::sleep(pause).await;
                let (succeeded, span) = order.record(end.happen(harness, account, keys)).await;
                endings.push(Ending { what: format!("{end:?}"), key: end.key(), span, succeeded });
            }
            endings
        }
    });
    let checkers = authorizers.iter().map(|authorizer| {
        let plan: Vec<_> =
            (0..12).map(|_| (random.random_range(0..keys.len()), pause(&mut random) / 4)).collect();
        let (order, keys) = (&order, &keys);
        async move {
            let mut checks = Vec::new();
            for (key, pause) in plan {
                tokio::time::sleep(pause).await;
                let (verdict, span) = order.record(check(authorizer, &keys[key].secret)).await;
                checks.push(Check { key, span, verdict });
            }
            checks
        }
    });
    let (endings, mut checks) = tokio::join!(join_all(admins), join_all(checkers));
    // Whatever came of the races: in the end each instance refuses.
    let mut last = Vec::new();
    for authorizer in authorizers {
        for (key, issued) in keys.iter().enumerate() {
            let (verdict, span) = order.record(check(authorizer, &issued.secret)).await;
            last.push(Check { key, span, verdict });
        }
    }
    checks.push(last);
    History { checks: checks.concat(), endings: endings.concat() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_check_after_an_end_is_allowed() {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    let authorizers: Vec<_> = (0..4).map(|_| harness.another_authorizer()).collect();
    delay(&harness, 1);
    let (mut violations, mut checks, mut overlapping, mut outages) = (Vec::new(), 0, 0, 0);
    for seed in 0..histories() {
        let history = history(&harness, &authorizers, seed).await;
        checks += history.checks.len();
        outages += history.checks.iter().filter(|check| check.verdict == Verdict::Outage).count();
        let overlaps = |check: &Check| {
            let overlaps = |end: Span| !check.span.is_before(end) && !end.is_before(check.span);
            history.endings.iter().any(|ending| overlaps(ending.span))
        };
        overlapping += history.checks.iter().filter(|check| overlaps(check)).count();
        violations.extend(history.violations().into_iter().map(|text| format!("history {seed}: {text}")));
    }
    report(&format!(
        "{} histories, {checks} checks ({overlapping} of them beside a change): {} violations",
        histories(),
        violations.len()
    ));
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
    assert!(overlapping > 0, "nothing was concurrent");
    assert!(outages < checks / 2, "{outages} of {checks} checks timed out: this machine is too busy to tell");
}

/// Seconds of grace of the rotations that have one. Time goes on by as much.
const GRACE: i64 = 30;

/// Rotates a key, and lets its grace go by if it has one: that ends it. The
/// successor, if it was told.
async fn rotate(harness: &Harness, key: &Key, grace: i64) -> Option<Key> {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    let reply = request.json(&json!({ "graceSeconds": grace })).send().await;
    assert!([201, 403, 404, 409, 500, 503].contains(&reply.status), "{reply:?}");
    let account = Account { id: key.account.clone() };
    (reply.status == 201).then(|| Key::from_issued(&account, &reply))
}

/// One schedule of rotations, with and without a grace, beside a change of the
/// whole account. A successor is checked from when it is known, so it must be
/// allowed until something ends it. Of the keys with a narrower scope, some
/// reach what is checked, and some never do: those are over from the start.
async fn rotation_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let account = harness.create_account(&format!("rotation-{seed}"), "ServiceAccountReader").await;
    let scopes = [
        json!({ "name": "plain" }),
        json!({ "name": "near", "role": "ServiceAccountAdmin", "allowedCidrs": ["192.0.2.0/24"] }),
        json!({ "name": "far", "allowedCidrs": ["198.51.100.0/24", "2001:db8::/32"] }),
        json!({ "name": "other", "role": OTHER_ROLE }),
    ];
    let mut issued = Vec::new();
    for body in &scopes {
        issued.push(harness.issue_key_with(&account, body).await);
    }
    // All keys that anybody knows, and of each whether its scope reaches so far.
    let known = Mutex::new(issued.into_iter().zip([true, true, false, false]).collect::<Vec<_>>());
    let order = Order::default();
    let pause = |random: &mut StdRng| Duration::from_micros(random.random_range(0..12_000));
    let plan = |random: &mut StdRng| -> Vec<_> {
        (0..3).map(|_| (random.random_range(0..usize::MAX), random.random_bool(0.5), pause(random))).collect()
    };
    let rotations = [plan(&mut random), plan(&mut random)].map(|plan| async {
        let mut endings = Vec::new();
        for (which, has_grace, pause) in plan {
            tokio::time::sleep(pause).await;
            let (number, (key, reaches)) = {
                let known = known.lock().unwrap();
                (which % known.len(), known[which % known.len()].clone())
            };
            let what = format!("rotate {number} with grace: {has_grace}");
            // A grace ends with the clock, whoever moves it: at any time from the
            // rotation on, and at the latest when it was moved from here.
            let rotating = async {
                let successor = rotate(harness, &key, if has_grace { GRACE } else { 0 }).await;
                known.lock().unwrap().extend(successor.clone().map(|successor| (successor, reaches)));
                if has_grace {
                    tokio::time::sleep(pause / 4).await;
                    harness.clock.advance_seconds(GRACE);
                }
                successor.is_some()
            };
            // One whose answer was lost may have been done all the same.
            let (succeeded, span) = order.record(rotating).await;
            endings.push(Ending { what, key: Some(number), span, succeeded });
        }
        endings
    });
    let end = *[End::RevokeAll, End::Disable, End::Role, End::Delete].choose(&mut random).unwrap();
    let late = Duration::from_millis(40) + pause(&mut random);
    let admin = async {
        tokio::time::sleep(late).await;
        let (succeeded, span) = order.record(end.happen(harness, &account, &[])).await;
        vec![Ending { what: format!("{end:?}"), key: None, span, succeeded }]
    };
    let checkers = authorizers.iter().map(|authorizer| {
        let plan: Vec<_> =
            (0..14).map(|_| (random.random_range(0..usize::MAX), pause(&mut random) / 3)).collect();
        let (order, known) = (&order, &known);
        async move {
            let mut checks = Vec::new();
            for (which, pause) in plan {
                tokio::time::sleep(pause).await;
                let (key, secret) = {
                    let known = known.lock().unwrap();
                    (which % known.len(), known[which % known.len()].0.secret.clone())
                };
                let (verdict, span) = order.record(check(authorizer, &secret)).await;
                checks.push(Check { key, span, verdict });
            }
            checks
        }
    });
    let (endings, ended, checks) = tokio::join!(join_all(rotations), admin, join_all(checkers));
    let mut endings = [endings.concat(), ended].concat();
    let known = known.into_inner().unwrap();
    for (key, _) in known.iter().enumerate().filter(|(_, (_, reaches))| !reaches) {
        let span = Span { invoked: 0, answered: 0 };
        endings.push(Ending { what: "out of scope".to_owned(), key: Some(key), span, succeeded: true });
    }
    let mut checks = checks.concat();
    for authorizer in authorizers {
        for (key, (known, _)) in known.iter().enumerate() {
            let (verdict, span) = order.record(check(authorizer, &known.secret)).await;
            checks.push(Check { key, span, verdict });
        }
    }
    History { checks, endings }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_check_after_a_grace_or_out_of_scope_is_allowed_and_none_before_is_refused() {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    let authorizers: Vec<_> = (0..4).map(|_| harness.another_authorizer()).collect();
    delay(&harness, 3);
    let (mut violations, mut checks, mut allowed, mut rotated) = (Vec::new(), 0, 0, 0);
    for seed in 0..histories() {
        let history = rotation_history(&harness, &authorizers, seed).await;
        checks += history.checks.len();
        allowed += history.checks.iter().filter(|check| check.verdict == Verdict::Allowed).count();
        let done = |ending: &&Ending| ending.succeeded && ending.what.starts_with("rotate");
        rotated += history.endings.iter().filter(done).count();
        violations.extend(history.violations().into_iter().map(|text| format!("history {seed}: {text}")));
    }
    report(&format!(
        "{} histories of {rotated} rotations, {checks} checks ({allowed} allowed): {} violations",
        histories(),
        violations.len()
    ));
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
    assert!(allowed > 0 && rotated > 0, "nothing happened");
}

/// Disable and enable, or another role and back, again and again.
async fn switch_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> SwitchHistory {
    let mut random = StdRng::seed_from_u64(seed);
    let account = harness.create_account(&format!("switch-{seed}"), "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let bodies = if random.random_bool(0.5) {
        [json!({ "enabled": false }), json!({ "enabled": true })]
    } else {
        [json!({ "role": OTHER_ROLE }), json!({ "role": "ServiceAccountReader" })]
    };
    let order = Order::default();
    let admin = async {
        let mut turns = Vec::new();
        for body in bodies.iter().cycle().take(6) {
            let turn = async {
                // Again, if a busy machine let it time out.
                let patch = || harness.request("PATCH", &account.path()).admin().json(body).send();
                while patch().await.status != 200 {}
            };
            let ((), span) = order.record(turn).await;
            turns.push(span);
        }
        turns
    };
    let checkers = authorizers.iter().map(|authorizer| async {
        let mut checks = Vec::new();
        for _ in 0..14 {
            let (verdict, span) = order.record(check(authorizer, &key.secret)).await;
            checks.push(Check { key: 0, span, verdict });
        }
        checks
    });
    let (turns, checks) = tokio::join!(admin, join_all(checkers));
    SwitchHistory { checks: checks.concat(), turns }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_instance_sees_an_older_state_than_another_did() {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    let authorizers: Vec<_> = (0..4).map(|_| harness.another_authorizer()).collect();
    delay(&harness, 2);
    let (mut violations, mut checks) = (Vec::new(), 0);
    for seed in 0..histories() {
        let history = switch_history(&harness, &authorizers, seed).await;
        checks += history.checks.len();
        violations.extend(history.violations().into_iter().map(|text| format!("history {seed}: {text}")));
    }
    report(&format!(
        "{} histories of a switch, {checks} checks: {} violations",
        histories(),
        violations.len()
    ));
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
}

/// An authorizer in a process of its own: this binary, started again to run
/// [`child`] alone.
struct Process {
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(variables: &str) -> Self {
        let mut child = this_binary(concat!(module_path!(), "::child"))
            .env(CHILD, variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { questions: child.stdin.take().unwrap(), answers, _child: child }
    }

    async fn check(&mut self, credential: &str) -> Verdict {
        self.questions.write_all(format!("{credential}\n").as_bytes()).await.unwrap();
        loop {
            let line = self.answers.next_line().await.unwrap().expect("the child answers");
            match line.split_once(ANSWER).map(|(_, verdict)| verdict) {
                Some("Allowed") => return Verdict::Allowed,
                Some("Refused") => return Verdict::Refused,
                Some(_) => return Verdict::Outage,
                None => {}
            }
        }
    }
}

#[tokio::test]
#[ignore = "a test below starts it in a process of its own"]
async fn child() {
    use std::io::Write as _;
    let variables = Variables::from_process();
    let Some(variables) = variables.get(CHILD) else { return };
    let variables: Vec<(String, String)> = serde_json::from_str(variables).unwrap();
    let authorizer = Authorizer::new(&Setup {
        variables: Variables::from_iter(variables),
        clock: Arc::new(TestClock::default()),
        entropy: Arc::new(OsEntropy),
        http_client: default_http_client(),
    });
    let authorizer = authorizer.unwrap();
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while let Some(credential) = questions.next_line().await.unwrap() {
        let verdict = check(&authorizer, &credential).await;
        writeln!(std::io::stdout(), "\n{ANSWER}{verdict:?}").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_other_process_allows_a_check_after_an_end() {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    let variables = harness.variables_to_share("Authorizer").await;
    let variables = serde_json::to_string(&variables.iter().collect::<Vec<_>>()).unwrap();
    let mut processes: Vec<_> = (0..3).map(|_| Process::start(&variables)).collect();
    let (mut violations, mut checks) = (Vec::new(), 0);
    let ends = [End::Revoke(0), End::RevokeAll, End::Disable, End::Role, End::Delete];
    for (number, end) in ends.into_iter().cycle().take(15).enumerate() {
        let account = harness.create_account(&format!("account-{number}"), "ServiceAccountReader").await;
        let keys = [harness.issue_key(&account).await];
        let order = Order::default();
        for process in &mut processes {
            assert_eq!(process.check(&keys[0].secret).await, Verdict::Allowed);
        }
        let admin = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (succeeded, span) = order.record(end.happen(&harness, &account, &keys)).await;
            Ending { what: format!("{end:?}"), key: None, span, succeeded }
        };
        let checkers = processes.iter_mut().map(|process| async {
            let mut checks = Vec::new();
            // Until it has been refused three times.
            while checks.iter().filter(|check: &&Check| check.verdict == Verdict::Refused).count() < 3 {
                let (verdict, span) = order.record(process.check(&keys[0].secret)).await;
                checks.push(Check { key: 0, span, verdict });
                assert!(checks.len() < 10_000, "it never refuses");
            }
            checks
        });
        let (ending, found) = tokio::join!(admin, join_all(checkers));
        let history = History { checks: found.concat(), endings: vec![ending] };
        checks += history.checks.len();
        violations.extend(history.violations());
    }
    report(&format!("15 histories of 3 processes, {checks} checks: {} violations", violations.len()));
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
}
