//! Revocation is linearizable: once the client has the response that confirms a
//! revocation, every instance of the authorizer refuses the key. These tests run
//! several authorizers and admins concurrently, with random delays on the calls to
//! AWS, and compare each history with a model.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authorizer::Authorizer;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use shared::config::{Setup, Variables};
use tests::{Account, Harness, Key, TestClock};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::support::faults::delay_calls;
use crate::support::model::{
    Check, History, Revocation, Span, Summary, SwitchHistory, Timeline, history_count, start_authorizers,
};
use crate::support::{Verdict, check, this_binary};

/// The variable that makes this binary run an authorizer. Its value is the
/// authorizer's environment.
const AUTHORIZER_VARIABLES: &str = "KEYWARD_TEST_AUTHORIZER";
/// Starts each line with a verdict of such a process. The test runner writes other
/// lines to the same pipe.
const VERDICT: &str = "verdict ";
/// A custom role that does not permit the checked request.
const OTHER_ROLE: &str = "SomethingElse";

/// An operation that ends the access of one or all keys of an account.
#[derive(Clone, Copy, Debug)]
enum Operation {
    RevokeKey(usize),
    RevokeAllKeys,
    DisableAccount,
    ChangeRole,
    DeleteAccount,
    /// Advances the clock by a day.
    ExpireKeys,
}

impl Operation {
    /// Performs and records the operation.
    async fn perform(
        self,
        timeline: &Timeline,
        harness: &Harness,
        account: &Account,
        keys: &[Key],
    ) -> Revocation {
        let (succeeded, span) = timeline.record(self.send(harness, account, keys)).await;
        let key = if let Self::RevokeKey(key) = self { Some(key) } else { None };
        Revocation { operation: format!("{self:?}"), key, span, succeeded }
    }

    /// Performs the operation. Returns whether it succeeded.
    async fn send(self, harness: &Harness, account: &Account, keys: &[Key]) -> bool {
        let path = account.path();
        let send = |method: &'static str, path: String, body: Option<Value>| async move {
            let request = harness.request(method, &path).admin();
            let request = if let Some(body) = body { request.json(&body) } else { request };
            let reply = request.send().await;
            // Other admins may have deleted the account or changed it concurrently, the
            // admin's token may have expired with the day, or the request timed out.
            assert!([200, 204, 403, 404, 409, 500, 503].contains(&reply.status), "{reply:?}");
            reply.status < 300
        };
        match self {
            Self::RevokeKey(key) => send("DELETE", keys[key].path(), None).await,
            Self::RevokeAllKeys => send("DELETE", format!("{path}/keys"), None).await,
            Self::DisableAccount => send("PATCH", path, Some(json!({ "enabled": false }))).await,
            Self::ChangeRole => send("PATCH", path, Some(json!({ "role": OTHER_ROLE }))).await,
            Self::DeleteAccount => send("DELETE", path, None).await,
            Self::ExpireKeys => {
                harness.clock.advance_days(1);
                true
            }
        }
    }
}

/// A random pause of up to 12 ms.
fn pause(random: &mut StdRng) -> Duration {
    Duration::from_micros(random.random_range(0..12_000))
}

/// Starts a system with [`OTHER_ROLE`].
async fn start() -> Harness {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    harness
}

/// Records one history: two admins end the access of an account's keys while the
/// authorizers check them.
async fn revocation_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let account = harness.create_account(&format!("history-{seed}"), "ServiceAccountReader").await;
    let mut keys = Vec::new();
    for name in 0..3 {
        let body = json!({ "name": format!("key {name}"), "expiresInDays": 1 });
        keys.push(harness.issue_key_with(&account, &body).await);
    }
    let all = [
        Operation::RevokeAllKeys,
        Operation::DisableAccount,
        Operation::ChangeRole,
        Operation::DeleteAccount,
        Operation::ExpireKeys,
    ];
    let mut operations =
        vec![Operation::RevokeKey(0), Operation::RevokeKey(1), *all.choose(&mut random).unwrap()];
    if random.random_bool(0.3) {
        operations.push(*all.choose(&mut random).unwrap());
    }
    operations.shuffle(&mut random);

    let timeline = Timeline::default();
    let (first, second) = operations.split_at(operations.len() / 2);
    let admins = [first, second].map(|operations| {
        let plan: Vec<_> = operations.iter().map(|operation| (*operation, pause(&mut random))).collect();
        let (timeline, account, keys) = (&timeline, &account, &keys);
        async move {
            let mut revocations = Vec::new();
            for (operation, pause) in plan {
                tokio::time::sleep(pause).await;
                revocations.push(operation.perform(timeline, harness, account, keys).await);
            }
            revocations
        }
    });
    let checkers = authorizers.iter().map(|authorizer| {
        let plan: Vec<_> =
            (0..12).map(|_| (random.random_range(0..keys.len()), pause(&mut random) / 4)).collect();
        let (timeline, keys) = (&timeline, &keys);
        async move {
            let mut checks = Vec::new();
            for (key, pause) in plan {
                tokio::time::sleep(pause).await;
                checks.push(timeline.check(authorizer, key, &keys[key].secret).await);
            }
            checks
        }
    });
    let (revocations, mut checks) = tokio::join!(join_all(admins), join_all(checkers));
    // Whichever operation won each race, every authorizer refuses the keys at the end.
    checks.push(timeline.check_all(authorizers, &keys).await);
    History { checks: checks.concat(), revocations: revocations.concat() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revoked_key_is_denied_on_the_next_check() {
    let harness = start().await;
    let authorizers = start_authorizers(&harness);
    delay_calls(&harness, 1);
    let (mut summary, mut overlapping, mut outages) = (Summary::default(), 0, 0);
    for seed in 0..history_count() {
        let history = revocation_history(&harness, &authorizers, seed).await;
        outages += history.checks.iter().filter(|check| check.verdict == Verdict::Outage).count();
        let overlaps = |check: &Check| {
            let overlaps = |other: Span| !check.span.is_before(other) && !other.is_before(check.span);
            history.revocations.iter().any(|revocation| overlaps(revocation.span))
        };
        overlapping += history.checks.iter().filter(|check| overlaps(check)).count();
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations(&format!(
        "histories of revocations, which {overlapping} of the checks overlap"
    ));
    assert!(overlapping > 0, "no check overlapped a revocation");
    let checks = summary.checks;
    assert!(outages < checks / 2, "{outages} of {checks} checks timed out: this machine is too busy");
}

/// The grace period of rotations that have one, in seconds. Each of these rotations
/// advances the clock by as much.
const GRACE_SECONDS: i64 = 30;

/// Rotates a key. Returns its successor, unless the rotation failed.
async fn rotate(harness: &Harness, key: &Key, grace_seconds: i64) -> Option<Key> {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    let reply = request.json(&json!({ "graceSeconds": grace_seconds })).send().await;
    assert!([201, 403, 404, 409, 500, 503].contains(&reply.status), "{reply:?}");
    let account = Account { id: key.account.clone() };
    (reply.status == 201).then(|| Key::from_issued(&account, &reply))
}

/// Records one history of rotations, with and without a grace period, during which an
/// operation ends the access of all keys. A successor is checked as soon as its secret
/// is known, and must be allowed until its access ends. The scope of some keys excludes
/// the checked request: the history contains a revocation of them at its start.
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
    // All keys so far, and whether the scope of each includes the checked request.
    let known = Mutex::new(issued.into_iter().zip([true, true, false, false]).collect::<Vec<_>>());
    // The number of a known key, the key, and whether it is in scope.
    let choose = |which: usize| {
        let known = known.lock().unwrap();
        let number = which % known.len();
        let (key, in_scope) = known[number].clone();
        (number, key, in_scope)
    };
    let timeline = Timeline::default();
    let plan = |random: &mut StdRng| -> Vec<_> {
        (0..3).map(|_| (random.random_range(0..usize::MAX), random.random_bool(0.5), pause(random))).collect()
    };
    let rotations = [plan(&mut random), plan(&mut random)].map(|plan| async {
        let mut revocations = Vec::new();
        for (which, has_grace, pause) in plan {
            tokio::time::sleep(pause).await;
            let (number, key, in_scope) = choose(which);
            // Both admins advance the clock, so a grace period can end at any time from
            // the rotation on. It has ended at the latest when this admin has advanced
            // the clock.
            let rotation = async {
                let successor = rotate(harness, &key, if has_grace { GRACE_SECONDS } else { 0 }).await;
                known.lock().unwrap().extend(successor.clone().map(|successor| (successor, in_scope)));
                if has_grace {
                    tokio::time::sleep(pause / 4).await;
                    harness.clock.advance_seconds(GRACE_SECONDS);
                }
                successor.is_some()
            };
            // A rotation that failed may still have taken effect.
            let (succeeded, span) = timeline.record(rotation).await;
            let operation = format!("rotate {number} with grace: {has_grace}");
            revocations.push(Revocation { operation, key: Some(number), span, succeeded });
        }
        revocations
    });
    let all = [
        Operation::RevokeAllKeys,
        Operation::DisableAccount,
        Operation::ChangeRole,
        Operation::DeleteAccount,
    ];
    let operation = *all.choose(&mut random).unwrap();
    let late = Duration::from_millis(40) + pause(&mut random);
    let admin = async {
        tokio::time::sleep(late).await;
        operation.perform(&timeline, harness, &account, &[]).await
    };
    let checkers = authorizers.iter().map(|authorizer| {
        let plan: Vec<_> =
            (0..14).map(|_| (random.random_range(0..usize::MAX), pause(&mut random) / 3)).collect();
        let (timeline, choose) = (&timeline, &choose);
        async move {
            let mut checks = Vec::new();
            for (which, pause) in plan {
                tokio::time::sleep(pause).await;
                let (number, key, _) = choose(which);
                checks.push(timeline.check(authorizer, number, &key.secret).await);
            }
            checks
        }
    });
    let (revocations, last, mut checks) = tokio::join!(join_all(rotations), admin, join_all(checkers));
    let mut revocations = revocations.concat();
    revocations.push(last);
    let (keys, in_scope): (Vec<Key>, Vec<bool>) = known.lock().unwrap().iter().cloned().unzip();
    for (key, _) in in_scope.iter().enumerate().filter(|(_, in_scope)| !**in_scope) {
        let span = Span { started: 0, finished: 0 };
        let operation = "out of scope".to_owned();
        revocations.push(Revocation { operation, key: Some(key), span, succeeded: true });
    }
    checks.push(timeline.check_all(authorizers, &keys).await);
    History { checks: checks.concat(), revocations }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotated_key_is_denied_after_its_grace_period_and_its_successor_is_allowed() {
    let harness = start().await;
    let authorizers = start_authorizers(&harness);
    delay_calls(&harness, 3);
    let (mut summary, mut allowed, mut rotated) = (Summary::default(), 0, 0);
    for seed in 0..history_count() {
        let history = rotation_history(&harness, &authorizers, seed).await;
        allowed += history.checks.iter().filter(|check| check.verdict == Verdict::Allowed).count();
        let is_rotation =
            |revocation: &&Revocation| revocation.succeeded && revocation.operation.starts_with("rotate");
        rotated += history.revocations.iter().filter(is_rotation).count();
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations(&format!("histories of {rotated} rotations, with {allowed} allowed checks"));
    assert!(allowed > 0 && rotated > 0, "{allowed} checks were allowed, and {rotated} rotations succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_instance_uses_an_older_account_state_than_another() {
    let harness = start().await;
    let authorizers = start_authorizers(&harness);
    delay_calls(&harness, 2);
    let mut summary = Summary::default();
    for seed in 0..history_count() {
        let (account, key) =
            harness.account_with_key(&format!("switch-{seed}"), "ServiceAccountReader").await;
        // Odd histories disable and enable the account, even ones change its role.
        let toggle = async |is_on: bool| {
            let body = if seed.is_multiple_of(2) {
                json!({ "role": if is_on { "ServiceAccountReader" } else { OTHER_ROLE } })
            } else {
                json!({ "enabled": is_on })
            };
            harness.request("PATCH", &account.path()).admin().json(&body).send().await.status
        };
        let history = SwitchHistory::record(&authorizers, &key, toggle).await;
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations("histories of an account that is switched off and on");
}

/// An authorizer in another process: this binary, which runs only
/// [`authorizer_process`].
pub(super) struct AuthorizerProcess {
    _child: Child,
    credentials: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl AuthorizerProcess {
    /// Starts a process with these variables, which are JSON.
    fn start(variables: &str) -> Self {
        let mut child = this_binary(concat!(module_path!(), "::authorizer_process"))
            .env(AUTHORIZER_VARIABLES, variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { credentials: child.stdin.take().unwrap(), output, _child: child }
    }

    /// Starts `count` processes with the system's table and secrets.
    pub(super) async fn start_several(harness: &Harness, count: usize) -> Vec<Self> {
        let variables = harness.variables_to_share("Authorizer").await;
        let variables = serde_json::to_string(&variables.iter().collect::<Vec<_>>()).unwrap();
        (0..count).map(|_| Self::start(&variables)).collect()
    }

    /// The verdict of the process on `credential`.
    pub(super) async fn check(&mut self, credential: &str) -> Verdict {
        self.credentials.write_all(format!("{credential}\n").as_bytes()).await.unwrap();
        loop {
            let line = self.output.next_line().await.unwrap().expect("the authorizer process has ended");
            match line.split_once(VERDICT).map(|(_, verdict)| verdict) {
                Some("Allowed") => return Verdict::Allowed,
                Some("Refused") => return Verdict::Refused,
                Some(_) => return Verdict::Outage,
                None => {}
            }
        }
    }
}

/// Reads credentials from standard input, one per line, and writes a verdict for each.
#[tokio::test]
#[ignore = "another test starts it as a process"]
async fn authorizer_process() {
    use std::io::Write as _;
    let variables = Variables::from_process();
    let Some(variables) = variables.get(AUTHORIZER_VARIABLES) else { return };
    let variables: Vec<(String, String)> = serde_json::from_str(variables).unwrap();
    let authorizer = Authorizer::new(&Setup {
        variables: Variables::from_iter(variables),
        clock: Arc::new(TestClock::default()),
        ..Setup::from_process()
    });
    let authorizer = authorizer.unwrap();
    let mut credentials = BufReader::new(tokio::io::stdin()).lines();
    while let Some(credential) = credentials.next_line().await.unwrap() {
        let verdict = check(&authorizer, &credential).await;
        writeln!(std::io::stdout(), "\n{VERDICT}{verdict:?}").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revoked_key_is_denied_on_the_next_check_in_another_process() {
    let harness = start().await;
    let mut processes = AuthorizerProcess::start_several(&harness, 3).await;
    let mut summary = Summary::default();
    let operations = [
        Operation::RevokeKey(0),
        Operation::RevokeAllKeys,
        Operation::DisableAccount,
        Operation::ChangeRole,
        Operation::DeleteAccount,
    ];
    for (number, operation) in operations.into_iter().cycle().take(15).enumerate() {
        let account = harness.create_account(&format!("account-{number}"), "ServiceAccountReader").await;
        let keys = [harness.issue_key(&account).await];
        let timeline = Timeline::default();
        for process in &mut processes {
            assert_eq!(process.check(&keys[0].secret).await, Verdict::Allowed);
        }
        let admin = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            operation.perform(&timeline, &harness, &account, &keys).await
        };
        // Each process checks the key until it has refused it three times.
        let checkers = processes.iter_mut().map(|process| async {
            let mut checks = Vec::new();
            while checks.iter().filter(|check: &&Check| check.verdict == Verdict::Refused).count() < 3 {
                let (verdict, span) = timeline.record(process.check(&keys[0].secret)).await;
                checks.push(Check { key: 0, span, verdict });
                assert!(checks.len() < 10_000, "the process does not refuse the key");
            }
            checks
        });
        let (revocation, checks) = tokio::join!(admin, join_all(checkers));
        let history = History { checks: checks.concat(), revocations: vec![revocation] };
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations("histories of 3 processes");
}
