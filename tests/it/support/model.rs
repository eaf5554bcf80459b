//! Histories of concurrent operations, and what they may look like.
//!
//! Each operation has two places in one global order: where it was invoked and
//! where it was answered. One that was answered before another was invoked
//! happened before it; two that overlap happened in either order.

use std::sync::atomic::{AtomicU64, Ordering};

use shared::config::Variables;

use super::Verdict;

/// How many histories of each kind the tests run. `KEYWARD_TEST_HISTORIES` sets it.
pub(crate) fn histories() -> u64 {
    Variables::from_process().get("KEYWARD_TEST_HISTORIES").map_or(30, |count| count.parse().unwrap())
}

/// The global order.
#[derive(Default)]
pub(crate) struct Order(AtomicU64);

/// When an operation was invoked and answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) invoked: u64,
    pub(crate) answered: u64,
}

impl Order {
    /// What `operation` answers, and its span.
    pub(crate) async fn record<T>(&self, operation: impl Future<Output = T>) -> (T, Span) {
        let invoked = self.0.fetch_add(1, Ordering::SeqCst);
        let answer = operation.await;
        (answer, Span { invoked, answered: self.0.fetch_add(1, Ordering::SeqCst) })
    }
}

impl Span {
    /// Whether it was over before `other` began.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.answered < other.invoked
    }
}

/// A check of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) key: usize,
    pub(crate) span: Span,
    pub(crate) verdict: Verdict,
}

/// Something that ends keys for good: a revocation, a deletion, an expiry, …
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// For the messages.
    #[allow(dead_code, reason = "Debug shows it")]
    pub(crate) what: String,
    /// The key that it ends, or all of the account's.
    pub(crate) key: Option<usize>,
    pub(crate) span: Span,
    /// Whether it was answered with success. If not, it may or may not have
    /// happened.
    pub(crate) succeeded: bool,
}

/// A history in which keys only ever end. All keys were there at its start.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) checks: Vec<Check>,
    pub(crate) endings: Vec<Ending>,
}

impl History {
    /// What in it cannot be: a check that began after a key's end and was
    /// allowed, or that was over before any end began and was refused.
    pub(crate) fn violations(&self) -> Vec<String> {
        let violation = |check: &Check| {
            let mut endings =
                self.endings.iter().filter(|ending| ending.key.is_none_or(|key| key == check.key));
            let over = endings.clone().find(|ending| ending.succeeded && ending.span.is_before(check.span));
            // One that timed out let nobody in, and tells nothing more.
            if check.verdict == Verdict::Outage {
                return None;
            }
            if let Some(over) = over {
                return (check.verdict == Verdict::Allowed).then(|| format!("{check:?} after {over:?}"));
            }
            let untouched = endings.all(|ending| check.span.is_before(ending.span));
            (untouched && check.verdict == Verdict::Refused).then(|| format!("{check:?} before any end"))
        };
        self.checks.iter().filter_map(violation).collect()
    }
}

/// A history of one switch that one admin turns off, on, off, …, and that is on
/// at first: an atomic register.
#[derive(Debug, Default)]
pub(crate) struct SwitchHistory {
    pub(crate) checks: Vec<Check>,
    /// The turns, in their order: the first one turns it off.
    pub(crate) turns: Vec<Span>,
}

impl SwitchHistory {
    /// The checks that fit no one order of all operations. Each check must see
    /// a state that some turn left: none older than the last turn that was over
    /// before it began, none that a turn after its end left, and none older than
    /// one seen by a check that was over before it began.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.retain(|check| check.verdict != Verdict::Outage);
        checks.sort_by_key(|check| check.span.answered);
        // Each check with the earliest state (turns so far) that it can have seen.
        let mut seen: Vec<(&Check, usize)> = Vec::new();
        let mut violations = Vec::new();
        for check in checks {
            let over = self.turns.iter().filter(|turn| turn.is_before(check.span)).count();
            let begun = self.turns.iter().filter(|turn| !check.span.is_before(**turn)).count();
            let known = seen.iter().filter(|(other, _)| other.span.is_before(check.span));
            let earliest = known.map(|(_, state)| *state).max().unwrap_or(0).max(over);
            let is_on = check.verdict == Verdict::Allowed;
            let state = (earliest..=begun).find(|turns| turns.is_multiple_of(2) == is_on);
            match state {
                Some(state) => seen.push((check, state)),
                None => violations.push(format!("{check:?} can have seen only {earliest}..={begun} turns")),
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(invoked: u64, answered: u64) -> Span {
        Span { invoked, answered }
    }

    fn check(invoked: u64, answered: u64, verdict: Verdict) -> Check {
        Check { key: 0, span: span(invoked, answered), verdict }
    }

    #[test]
    fn an_allow_after_the_end_and_a_refusal_before_it_are_violations() {
        let history = |check: Check, succeeded: bool| History {
            checks: vec![check],
            endings: vec![Ending { what: "revoke".to_owned(), key: Some(0), span: span(10, 20), succeeded }],
        };
        let count = |invoked, answered, verdict, succeeded| {
            history(check(invoked, answered, verdict), succeeded).violations().len()
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
    fn a_switch_never_goes_back_to_what_it_was() {
        let turns = vec![span(10, 20), span(30, 40)];
        let count = |checks: &[Check]| {
            SwitchHistory { checks: checks.to_vec(), turns: turns.clone() }.violations().len()
        };
        assert_eq!(count(&[check(21, 22, Verdict::Allowed)]), 1);
        assert_eq!(count(&[check(21, 22, Verdict::Refused)]), 0);
        assert_eq!(count(&[check(12, 13, Verdict::Refused), check(14, 15, Verdict::Allowed)]), 1);
        assert_eq!(count(&[check(12, 13, Verdict::Allowed), check(14, 15, Verdict::Refused)]), 0);
        assert_eq!(count(&[check(32, 33, Verdict::Allowed), check(34, 35, Verdict::Refused)]), 1);
        assert_eq!(count(&[check(41, 42, Verdict::Refused)]), 1);
    }
}
