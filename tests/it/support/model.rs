//! Records histories of concurrent operations, and compares them with a model.
//!
//! Each operation starts and finishes at a position on one timeline. An operation
//! that finishes before another starts happened before it. Operations that overlap
//! happened in either order.

use std::sync::atomic::{AtomicU64, Ordering};

use ::tests::{Harness, Key};
use authorizer::Authorizer;
use futures::future::join_all;
use shared::config::Variables;

use super::{Verdict, check, report};

/// The number of histories that each test records: `KEYWARD_TEST_HISTORIES`, or 30.
pub(crate) fn history_count() -> u64 {
    Variables::from_process().get("KEYWARD_TEST_HISTORIES").map_or(30, |count| count.parse().unwrap())
}

/// The number of checks of each authorizer in a history of tokens: `KEYWARD_TEST_CHECKS`,
/// or 16.
pub(crate) fn check_count() -> u32 {
    Variables::from_process().get("KEYWARD_TEST_CHECKS").map_or(16, |count| count.parse().unwrap())
}

/// Starts the instances of the authorizer that check keys concurrently.
pub(crate) fn start_authorizers(harness: &Harness) -> Vec<Authorizer> {
    (0..4).map(|_| harness.another_authorizer()).collect()
}

/// Numbers the starts and finishes of all operations in one sequence.
#[derive(Default)]
pub(crate) struct Timeline(AtomicU64);

/// The positions of an operation's start and finish on the timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) started: u64,
    pub(crate) finished: u64,
}

impl Timeline {
    /// Runs `operation`. Returns its result and its span.
    pub(crate) async fn record<T>(&self, operation: impl Future<Output = T>) -> (T, Span) {
        let started = self.0.fetch_add(1, Ordering::SeqCst);
        let result = operation.await;
        (result, Span { started, finished: self.0.fetch_add(1, Ordering::SeqCst) })
    }

    /// Checks key number `key` with `authorizer`.
    pub(crate) async fn check(&self, authorizer: &Authorizer, key: usize, secret: &str) -> Check {
        let (verdict, span) = self.record(check(authorizer, secret)).await;
        Check { key, span, verdict }
    }

    /// Checks `keys` in turn, `count` times with each authorizer. The authorizers run
    /// concurrently.
    pub(crate) async fn check_repeatedly(
        &self,
        authorizers: &[Authorizer],
        keys: &[Key],
        count: usize,
    ) -> Vec<Check> {
        let checkers = authorizers.iter().map(|authorizer| async move {
            let mut checks = Vec::new();
            for key in (0..keys.len()).cycle().take(count) {
                checks.push(self.check(authorizer, key, &keys[key].secret).await);
            }
            checks
        });
        join_all(checkers).await.concat()
    }

    /// Checks each key once with each authorizer, one after the other.
    pub(crate) async fn check_all(&self, authorizers: &[Authorizer], keys: &[Key]) -> Vec<Check> {
        let mut checks = Vec::new();
        for authorizer in authorizers {
            for (key, issued) in keys.iter().enumerate() {
                checks.push(self.check(authorizer, key, &issued.secret).await);
            }
        }
        checks
    }
}

impl Span {
    /// Whether the operation finished before `other` started.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.finished < other.started
    }
}

/// A check of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// The number of the key in its history.
    pub(crate) key: usize,
    pub(crate) span: Span,
    pub(crate) verdict: Verdict,
}

/// An operation that ends the access of keys for good: the revocation of a key, the
/// deletion of an account, an expiry, …
#[derive(Clone, Debug)]
pub(crate) struct Revocation {
    /// A description for messages.
    pub(crate) operation: String,
    /// The number of the key, or `None` for all keys of the account.
    pub(crate) key: Option<usize>,
    pub(crate) span: Span,
    /// Whether the client got a success response. Without one, the operation may or
    /// may not have taken effect.
    pub(crate) succeeded: bool,
}

/// A history in which keys lose their access and never regain it.
pub(crate) struct History {
    pub(crate) checks: Vec<Check>,
    pub(crate) revocations: Vec<Revocation>,
}

impl History {
    /// Describes the checks that contradict the model: those that started after a
    /// revocation of their key and were allowed, and those that finished before every
    /// revocation of their key and were refused.
    pub(crate) fn violations(&self) -> Vec<String> {
        let violation = |check: &Check| {
            let mut revocations = self
                .revocations
                .iter()
                .filter(|revocation| revocation.key.is_none_or(|key| key == check.key));
            let earlier = revocations
                .clone()
                .find(|revocation| revocation.succeeded && revocation.span.is_before(check.span));
            // A check that timed out allows nothing, and reveals nothing about the state.
            if check.verdict == Verdict::Outage {
                return None;
            }
            if let Some(earlier) = earlier {
                return (check.verdict == Verdict::Allowed).then(|| format!("{check:?} after {earlier:?}"));
            }
            let precedes_all = revocations.all(|revocation| check.span.is_before(revocation.span));
            (precedes_all && check.verdict == Verdict::Refused)
                .then(|| format!("{check:?} before any revocation"))
        };
        self.checks.iter().filter_map(violation).collect()
    }
}

/// A history of one key whose access one admin turns off, on, off, and so on. Access
/// is on at the start.
pub(crate) struct SwitchHistory {
    pub(crate) checks: Vec<Check>,
    /// The spans of the toggles, in order. The first toggle turns access off.
    pub(crate) toggles: Vec<Span>,
}

impl SwitchHistory {
    /// Records six toggles while each authorizer checks `key`. `toggle` sends the
    /// request that turns access on (`true`) or off (`false`), and returns its status.
    pub(crate) async fn record(
        authorizers: &[Authorizer],
        key: &Key,
        toggle: impl AsyncFn(bool) -> u16,
    ) -> Self {
        let timeline = Timeline::default();
        let admin = async {
            let mut toggles = Vec::new();
            for is_on in [false, true].into_iter().cycle().take(6) {
                // Retries, because a request can time out on a busy machine.
                let operation = async { while toggle(is_on).await != 200 {} };
                toggles.push(timeline.record(operation).await.1);
            }
            toggles
        };
        let checkers = timeline.check_repeatedly(authorizers, std::slice::from_ref(key), 14);
        let (toggles, checks) = tokio::join!(admin, checkers);
        Self { checks, toggles }
    }

    /// Describes the checks that fit no sequential order of all operations.
    ///
    /// A state is identified by the number of toggles that led to it. A check must not
    /// see a state that is older than
    /// - the last toggle that finished before the check started, or
    /// - the state that another check saw and finished before this one started.
    ///
    /// It also must not see the effect of a toggle that started after the check
    /// finished.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.retain(|check| check.verdict != Verdict::Outage);
        checks.sort_by_key(|check| check.span.finished);
        // Each check with the earliest state that it can have seen.
        let mut seen: Vec<(&Check, usize)> = Vec::new();
        let mut violations = Vec::new();
        for check in checks {
            let finished = self.toggles.iter().filter(|toggle| toggle.is_before(check.span)).count();
            let started = self.toggles.iter().filter(|toggle| !check.span.is_before(**toggle)).count();
            let earlier = seen.iter().filter(|(other, _)| other.span.is_before(check.span));
            let earliest = earlier.map(|(_, state)| *state).max().unwrap_or(0).max(finished);
            let is_on = check.verdict == Verdict::Allowed;
            let state = (earliest..=started).find(|toggles| toggles.is_multiple_of(2) == is_on);
            match state {
                Some(state) => seen.push((check, state)),
                None => {
                    violations
                        .push(format!("{check:?} can have seen only the states {earliest}..={started}"));
                }
            }
        }
        violations
    }
}

/// The result of the histories that a test has recorded.
#[derive(Default)]
pub(crate) struct Summary {
    histories: u64,
    pub(crate) checks: usize,
    violations: Vec<String>,
}

impl Summary {
    /// Adds a history with these checks and violations.
    pub(crate) fn add(&mut self, checks: &[Check], violations: Vec<String>) {
        let number = self.histories;
        let violations = violations.into_iter().map(|text| format!("history {number}: {text}"));
        self.violations.extend(violations);
        self.checks += checks.len();
        self.histories += 1;
    }

    /// Prints the figures of these `histories`, and fails if there are violations.
    pub(crate) fn assert_no_violations(&self, histories: &str) {
        let violations = &self.violations;
        let (count, checks) = (self.histories, self.checks);
        report(&format!("{count} {histories}: {checks} checks, {} violations", violations.len()));
        assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(started: u64, finished: u64) -> Span {
        Span { started, finished }
    }

    fn check(started: u64, finished: u64, verdict: Verdict) -> Check {
        Check { key: 0, span: span(started, finished), verdict }
    }

    #[test]
    fn allow_after_a_revocation_and_refusal_before_it_are_violations() {
        let count = |started, finished, verdict, succeeded| {
            let revocation =
                Revocation { operation: "revoke".to_owned(), key: Some(0), span: span(10, 20), succeeded };
            let checks = vec![check(started, finished, verdict)];
            History { checks, revocations: vec![revocation] }.violations().len()
        };
        assert_eq!(count(21, 22, Verdict::Allowed, true), 1);
        assert_eq!(count(21, 22, Verdict::Outage, true), 0);
        assert_eq!(count(21, 22, Verdict::Refused, true), 0);
        assert_eq!(count(21, 22, Verdict::Allowed, false), 0);
        assert_eq!(count(15, 30, Verdict::Allowed, true), 0);
        assert_eq!(count(5, 15, Verdict::Refused, true), 0);
        assert_eq!(count(1, 2, Verdict::Refused, true), 1);
        assert_eq!(count(1, 2, Verdict::Allowed, true), 0);
    }

    #[test]
    fn check_that_sees_an_older_state_of_a_switch_is_a_violation() {
        let toggles = vec![span(10, 20), span(30, 40)];
        let count = |checks: &[Check]| {
            SwitchHistory { checks: checks.to_vec(), toggles: toggles.clone() }.violations().len()
        };
        assert_eq!(count(&[check(21, 22, Verdict::Allowed)]), 1);
        assert_eq!(count(&[check(21, 22, Verdict::Refused)]), 0);
        assert_eq!(count(&[check(12, 13, Verdict::Refused), check(14, 15, Verdict::Allowed)]), 1);
        assert_eq!(count(&[check(12, 13, Verdict::Allowed), check(14, 15, Verdict::Refused)]), 0);
        assert_eq!(count(&[check(32, 33, Verdict::Allowed), check(34, 35, Verdict::Refused)]), 1);
        assert_eq!(count(&[check(41, 42, Verdict::Refused)]), 1);
    }
}
