//! The ledger decides which counts and requests an instance writes, and when. These tests
//! apply its writes to a model of the table.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use shared::activity::{
    MAX_RECENT_REFUSALS, MAX_ROUTES, RecordedRequest, RefusedRequest, hour_of, hour_of_day,
};
use shared::domain::{AccountId, GrantId, utc_day};
use shared::policy::Reason;
use shared::store::{ActivityWrite, Tally};
use shared::store::{Ledger, Observation};
use tests::SeededEntropy;

use crate::support::keys::generate_key;

/// The reasons of refusals of keys with a valid secret.
const REFUSALS: [Reason; 7] = [
    Reason::Role,
    Reason::Network,
    Reason::Reserved,
    Reason::Disabled,
    Reason::Revoked,
    Reason::Retired,
    Reason::Expired,
];

/// The writes in a full bucket, the seconds until it has one more, and the most tallies
/// with something pending.
const BUCKET: usize = 30;
const REFILL_SECONDS: u64 = 10;
const MAX_PENDING: usize = 256;

type Key = (AccountId, GrantId);
type Counts = HashMap<Tally, BTreeMap<(Timestamp, Reason), u64>>;

/// Two keys of each of `accounts` accounts.
fn keys(accounts: u64) -> Vec<Key> {
    let key = |account: AccountId, seed| (account, generate_key(&SeededEntropy::new(seed)).id.into());
    (0..accounts)
        .map(|number| generate_key(&SeededEntropy::new(number)).account)
        .enumerate()
        .flat_map(|(number, account)| [0, 1].map(|second| key(account, 2 * number as u64 + second)))
        .collect()
}

fn start() -> Timestamp {
    "2026-01-30T23:50:00Z".parse().unwrap()
}

fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

/// What is true, and what the writes so far have stored.
#[derive(Default)]
struct Model {
    counts: Counts,
    allowed: HashMap<Key, Vec<RecordedRequest>>,
    refused: HashMap<Key, Vec<RefusedRequest>>,
    routes: HashMap<Key, BTreeMap<String, Date>>,
    stored: Stored,
    /// The number of writes of each tally, except those that were taken as pending.
    writes: HashMap<Tally, usize>,
    requests: usize,
}

/// The table.
#[derive(Default)]
struct Stored {
    counts: Counts,
    last_used_at: HashMap<Key, Timestamp>,
    used_after_end_at: HashMap<Key, Timestamp>,
    /// Stored last uses, and how often each was written. The flag is whether the request
    /// was allowed.
    last_uses: HashMap<(Key, bool), (Timestamp, usize)>,
    last_allowed: HashMap<Key, RecordedRequest>,
    refused: HashMap<Key, Vec<RefusedRequest>>,
    routes: HashMap<Key, BTreeMap<Option<String>, Date>>,
}

fn ended(reason: Reason) -> bool {
    [Reason::Revoked, Reason::Retired, Reason::Expired].contains(&reason)
}

fn tally(write: &ActivityWrite) -> Tally {
    match write {
        ActivityWrite::Counts { tally, .. } => *tally,
        ActivityWrite::LastUse { account, grant, .. }
        | ActivityWrite::LastAllowed { account, grant, .. }
        | ActivityWrite::Refusals { account, grant, .. }
        | ActivityWrite::Route { account, grant, .. } => Tally::Grant(*account, *grant),
    }
}

impl Stored {
    fn apply(&mut self, write: ActivityWrite) {
        match write {
            ActivityWrite::Counts { tally, day, counts, last_used_at, used_after_end_at } => {
                for (hour, reason, number) in counts {
                    let hour = hour_of_day(day, hour).expect("an hour of the day");
                    *self.counts.entry(tally).or_default().entry((hour, reason)).or_default() += number;
                }
                for (last, at) in
                    [(&mut self.last_used_at, last_used_at), (&mut self.used_after_end_at, used_after_end_at)]
                {
                    if let Some(at) = at {
                        let Tally::Grant(account, key) = tally else { panic!("{tally:?} has a last use") };
                        assert_eq!(utc_day(at), day, "the last use is one of this day");
                        let last = last.entry((account, key)).or_insert(at);
                        *last = at.max(*last);
                    }
                }
            }
            ActivityWrite::LastUse { account, grant: key, is_allowed, at } => {
                let (last, times) = self.last_uses.entry(((account, key), is_allowed)).or_insert((at, 0));
                (*last, *times) = (at.max(*last), *times + 1);
            }
            ActivityWrite::LastAllowed { account, grant: key, request } => {
                self.last_allowed.insert((account, key), request);
            }
            ActivityWrite::Refusals { account, grant: key, refusals } => {
                assert!((1..=MAX_RECENT_REFUSALS).contains(&refusals.len()), "{}", refusals.len());
                self.refused.entry((account, key)).or_default().extend(refusals);
            }
            ActivityWrite::Route { account, grant: key, route, day } => {
                self.routes.entry((account, key)).or_default().insert(route, day);
            }
        }
    }
}

impl Model {
    /// Makes a request with `key`.
    fn request(&mut self, ledger: &mut Ledger, key: Key, reason: Reason, route: &str, now: Timestamp) {
        self.requests += 1;
        let request = RecordedRequest {
            at: now,
            request_id: format!("request-{}", self.requests),
            method: Some("GET".to_owned()),
            path: Some("/organizations/42".to_owned()),
            route: Some(route.to_owned()),
            source: Some([203, 0, 113, 7].into()),
        };
        let missing_permission = (reason == Reason::Role).then(|| "GET /organizations/42".to_owned());
        for tally in [Tally::Total, Tally::Grant(key.0, key.1)] {
            self.count(tally, reason, now);
        }
        if reason == Reason::Allowed {
            self.allowed.entry(key).or_default().push(request.clone());
            self.routes.entry(key).or_default().insert(route.to_owned(), utc_day(now));
        } else {
            let (request, missing_permission) = (request.clone(), missing_permission.clone());
            let refusal = RefusedRequest { request, reason, missing_permission };
            self.refused.entry(key).or_default().push(refusal);
        }
        let observation =
            Observation::Verified { account: key.0, grant: key.1, reason, request, missing_permission };
        self.write(ledger.record(observation, now));
    }

    /// Makes a request whose credential names only an account.
    fn unverified(&mut self, ledger: &mut Ledger, account: AccountId, reason: Reason, now: Timestamp) {
        self.count(Tally::Unverified(account), reason, now);
        self.write(ledger.record(Observation::Unverified { account, reason }, now));
    }

    fn count(&mut self, tally: Tally, reason: Reason, now: Timestamp) {
        *self.counts.entry(tally).or_default().entry((hour_of(now), reason)).or_default() += 1;
    }

    fn write(&mut self, writes: Vec<ActivityWrite>) {
        for write in writes {
            *self.writes.entry(tally(&write)).or_default() += 1;
            self.stored.apply(write);
        }
    }

    fn take_pending(&mut self, ledger: &mut Ledger) {
        for write in ledger.take_pending() {
            self.stored.apply(write);
        }
        assert_eq!(ledger.pending(), 0);
        assert!(ledger.take_pending().is_empty());
    }

    fn writes_of(&self, tally: Tally) -> usize {
        self.writes.get(&tally).copied().unwrap_or_default()
    }

    /// The number of writes, except those that were taken as pending.
    fn all_writes(&self) -> usize {
        self.writes.values().sum()
    }

    /// Checks that no stored count exceeds the true one.
    fn check_counts_are_minimums(&self) {
        for (tally, counts) in &self.stored.counts {
            for (hour_and_reason, stored) in counts {
                let counted = self.counts.get(tally).and_then(|counts| counts.get(hour_and_reason));
                let counted = counted.copied().unwrap_or_default();
                assert!(*stored <= counted, "{tally:?} {hour_and_reason:?}: {stored} of {counted}");
            }
        }
    }

    /// Checks what is stored after everything that was pending is written.
    fn check_everything_is_stored(&self) {
        assert_eq!(self.stored.counts, self.counts);
        for (key, allowed) in &self.allowed {
            let last = allowed.iter().map(|request| request.at).max().unwrap();
            assert_eq!(self.stored.last_used_at[key], last);
            assert_eq!(hour_of(self.stored.last_uses[&(*key, true)].0), hour_of(last));
            assert_eq!(self.stored.last_allowed[key], *allowed.last().unwrap());
        }
        for (key, refused) in &self.refused {
            let stored = &self.stored.refused[key];
            let last_at =
                refused.iter().filter(|refusal| ended(refusal.reason)).map(|refusal| refusal.request.at);
            if let Some(last) = last_at.max() {
                assert_eq!(self.stored.used_after_end_at[key], last);
                assert_eq!(hour_of(self.stored.last_uses[&(*key, false)].0), hour_of(last));
            }
            assert!(stored.iter().all(|refusal| refused.contains(refusal)), "a refusal was changed");
            let ids: HashSet<_> = stored.iter().map(|refusal| &refusal.request.request_id).collect();
            assert_eq!(ids.len(), stored.len(), "a refusal was written twice");
            let last = &refused[refused.len().saturating_sub(MAX_RECENT_REFUSALS)..];
            assert!(stored.ends_with(last), "the last refusals are stored, oldest first");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Several requests with a key at the same time.
    Requests {
        key: usize,
        reason: Reason,
        route: usize,
        number: usize,
    },
    Unverified {
        key: usize,
        reason: Reason,
        number: usize,
    },
    Wait(i64),
    TakePending,
}

fn step(wait: impl Strategy<Value = i64> + 'static) -> impl Strategy<Value = Step> {
    let reason = prop_oneof![2 => Just(Reason::Allowed), 3 => prop::sample::select(&REFUSALS)];
    let unverified = prop::sample::select(&[Reason::Unknown, Reason::WrongSecret]);
    prop_oneof![
        6 => (0..4_usize, reason, 0..5_usize, 1..40_usize)
            .prop_map(|(key, reason, route, number)| Step::Requests { key, reason, route, number }),
        1 => (0..4_usize, unverified, 1..40_usize)
            .prop_map(|(key, reason, number)| Step::Unverified { key, reason, number }),
        6 => wait.prop_map(Step::Wait),
        1 => Just(Step::TakePending),
    ]
}

/// Seconds between two steps: often a few, and sometimes hours, days or months.
fn forward() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![6 => 0..30_i64, 2 => 0..4_000_i64, 1 => 0..200_000_i64, 1 => 2_000_000..20_000_000_i64]
}

/// Makes the steps, and checks after each that no count exceeds the true one and that the
/// number of writes is within its bound.
fn run(steps: Vec<Step>) -> Model {
    let keys = keys(2);
    let (mut ledger, mut model, mut now, mut elapsed) = (Ledger::default(), Model::default(), start(), 0);
    for step in steps {
        match step {
            Step::Requests { key, reason, route, number } => {
                for _ in 0..number {
                    model.request(&mut ledger, keys[key], reason, &format!("GET /route/{route}"), now);
                }
            }
            Step::Unverified { key, reason, number } => {
                for _ in 0..number {
                    model.unverified(&mut ledger, keys[key].0, reason, now);
                }
            }
            Step::Wait(seconds) => {
                now = after(now, seconds);
                elapsed += u64::try_from(seconds).unwrap_or_default();
            }
            Step::TakePending => model.take_pending(&mut ledger),
        }
        model.check_counts_are_minimums();
        for (tally, writes) in &model.writes {
            let bound = BUCKET + usize::try_from(elapsed / REFILL_SECONDS).unwrap();
            assert!(*writes <= bound, "{tally:?}: {writes} writes in {elapsed} s");
        }
    }
    model.take_pending(&mut ledger);
    model.check_counts_are_minimums();
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn writes_add_up_to_the_true_counts_and_never_exceed_them(
        steps in prop::collection::vec(step(forward()), 1..80),
    ) {
        let model = run(steps);
        model.check_everything_is_stored();
        for (key, routes) in &model.routes {
            let expected = routes.iter().map(|(route, day)| (Some(route.clone()), *day)).collect();
            prop_assert_eq!(&model.stored.routes[key], &expected, "each route has the day of its last use");
        }
        for ((key, is_allowed), (_, times)) in &model.stored.last_uses {
            let allowed = model.allowed.get(key).into_iter().flatten().map(|request| request.at);
            let refused = model.refused.get(key).into_iter().flatten();
            let refused = refused.filter(|refusal| ended(refusal.reason)).map(|refusal| refusal.request.at);
            let hours: HashSet<_> =
                if *is_allowed { allowed.map(hour_of).collect() } else { refused.map(hour_of).collect() };
            prop_assert!(*times <= hours.len(), "a last use is written at most once an hour");
        }
    }

    /// A clock can be set back. Then it is late for the rest of the test.
    #[test]
    fn a_clock_that_is_set_back_causes_no_wrong_count_and_no_additional_write(
        steps in prop::collection::vec(step(prop_oneof![5 => forward(), 1 => -200_000..0_i64]), 1..80),
    ) {
        run(steps).check_everything_is_stored();
    }
}

#[test]
fn a_key_has_thirty_writes_and_then_one_every_ten_seconds() {
    let key = keys(1)[0];
    let own = Tally::Grant(key.0, key.1);
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let mut request = |model: &mut Model, seconds| {
        model.request(&mut ledger, key, Reason::Role, "GET /organizations", after(start(), seconds));
    };
    // A refusal takes two writes: the count, and the refused request. The last ten writes
    // are only for counts.
    for number in 1..=20 {
        request(&mut model, 0);
        assert_eq!(model.writes_of(own), number + number.min(10), "written at once");
    }
    for (seconds, writes) in [(0, 30), (1, 30), (9, 30), (10, 31), (19, 31), (20, 32), (60, 36), (61, 36)] {
        for _ in 0..5 {
            request(&mut model, seconds);
        }
        assert_eq!(model.writes_of(own), writes, "after {seconds} s");
    }
    // A full bucket does not grow.
    for _ in 0..100 {
        request(&mut model, 1_000_000);
    }
    assert_eq!(model.writes_of(own), 36 + 30);
    model.take_pending(&mut ledger);
    model.check_everything_is_stored();
}

#[test]
fn a_later_request_with_another_key_writes_what_is_pending() {
    let [key, other, ..] = keys(1)[..] else { panic!("two keys") };
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    for _ in 0..100 {
        model.request(&mut ledger, key, Reason::Role, "GET /organizations", start());
    }
    let stored = |model: &Model| model.stored.counts[&Tally::Grant(key.0, key.1)].values().sum::<u64>();
    assert_eq!(stored(&model), 20);
    model.request(&mut ledger, other, Reason::Role, "GET /organizations", after(start(), 9));
    assert_eq!(stored(&model), 20);
    model.request(&mut ledger, other, Reason::Role, "GET /organizations", after(start(), 10));
    assert_eq!(stored(&model), 100);
}

#[test]
fn refused_requests_of_a_busy_key_are_written_once_a_minute() {
    let key = keys(1)[0];
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let mut stored = Vec::new();
    for seconds in 0..=120 {
        for _ in 0..10 {
            model.request(&mut ledger, key, Reason::Role, "GET /organizations", after(start(), seconds));
        }
        let number = model.stored.refused[&key].len();
        if stored.last().is_none_or(|(_, last)| *last != number) {
            stored.push((seconds, number));
        }
    }
    // The first ten at once, and then the last twenty before each write.
    assert_eq!(stored, [(0, 10), (60, 30), (120, 50)]);
}

#[test]
fn one_request_makes_at_most_16_due_writes() {
    let all = keys(20);
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    for key in &all {
        for route in 0..60 {
            model.request(&mut ledger, *key, Reason::Allowed, &format!("GET /{route}"), start());
        }
    }
    let before = model.all_writes();
    model.request(&mut ledger, all[0], Reason::Allowed, "GET /0", after(start(), 1_000));
    assert_eq!(model.all_writes() - before, 16);
    model.take_pending(&mut ledger);
    model.check_everything_is_stored();
}

#[test]
fn requests_before_and_after_midnight_are_written_to_their_own_days() {
    let key = keys(1)[0];
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let midnight: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    for seconds in -40..40 {
        model.request(&mut ledger, key, Reason::Allowed, "GET /organizations", after(midnight, seconds));
    }
    let pending = ledger.take_pending();
    let days: Vec<_> = pending
        .iter()
        .filter_map(|write| {
            if let ActivityWrite::Counts { tally: Tally::Grant(..), day, .. } = write {
                Some(*day)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(days, [utc_day(midnight)], "the day before was written in the ten seconds after it");
    for write in pending {
        model.stored.apply(write);
    }
    model.check_everything_is_stored();
    let counts = &model.stored.counts[&Tally::Grant(key.0, key.1)];
    let by_hour = [-3600, 0].map(|seconds| counts[&(after(midnight, seconds), Reason::Allowed)]);
    assert_eq!(by_hour, [40, 40]);
}

/// Both are pending when the bucket is empty, and the order of simultaneous writes is
/// undefined.
#[test]
fn a_route_that_is_used_on_two_days_is_written_once_with_the_later_day() {
    let key = keys(1)[0];
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let midnight: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    for number in 0..40 {
        let route = format!("GET /route/{number}");
        model.request(&mut ledger, key, Reason::Allowed, &route, after(midnight, -1));
        model.request(&mut ledger, key, Reason::Allowed, &route, midnight);
    }
    let mut written = HashSet::new();
    for write in ledger.take_pending() {
        if let ActivityWrite::Route { route, day, .. } = &write {
            assert!(written.insert(route.clone()), "{route:?} is written twice at the same time");
            assert_eq!(*day, utc_day(midnight));
        }
        model.stored.apply(write);
    }
    assert!(!written.is_empty());
    let days = model.stored.routes[&key].values();
    assert!(days.copied().all(|day| day == utc_day(midnight)));
}

#[test]
fn two_hundred_routes_are_stored_and_later_ones_together() {
    let key = keys(1)[0];
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let day = |number: i64| after(start(), number * 86_400);
    let long = "x".repeat(600);
    model.request(&mut ledger, key, Reason::Allowed, &long, day(0));
    for number in 0..MAX_ROUTES + 50 {
        model.request(&mut ledger, key, Reason::Allowed, &format!("GET /route/{number}"), day(0));
        model.request(&mut ledger, key, Reason::Role, &format!("GET /refused/{number}"), day(0));
    }
    model.take_pending(&mut ledger);
    let routes = &model.stored.routes[&key];
    // Long routes and those after the limit are one item.
    assert!((MAX_ROUTES..=MAX_ROUTES + 1).contains(&routes.len()), "{}", routes.len());
    assert_eq!(routes[&None], utc_day(day(0)));
    assert!(routes.keys().flatten().all(|route| route.starts_with("GET /route/")), "only allowed requests");

    // The next day, other routes can be stored.
    model.request(&mut ledger, key, Reason::Allowed, "GET /another", day(1));
    model.take_pending(&mut ledger);
    assert_eq!(model.stored.routes[&key][&Some("GET /another".to_owned())], utc_day(day(1)));
}

/// An instance that ends must be able to write all that is pending.
#[test]
fn at_most_256_tallies_are_pending_and_the_others_are_written_at_once() {
    let keys = keys(200);
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    for key in &keys {
        for _ in 0..50 {
            model.request(&mut ledger, *key, Reason::Role, "GET /organizations", start());
            assert!(ledger.pending() <= MAX_PENDING);
        }
    }
    assert_eq!(ledger.pending(), MAX_PENDING);
    let mut complete = 0;
    for key in &keys {
        let own = Tally::Grant(key.0, key.1);
        let stored: u64 = model.stored.counts[&own].values().sum();
        complete += usize::from(stored == 50);
        assert!(stored == 20 || stored == 50, "{stored}");
    }
    // The counts of all requests are one of the pending tallies.
    assert_eq!(complete, keys.len() - (MAX_PENDING - 1));
    model.check_counts_are_minimums();
    model.take_pending(&mut ledger);
    model.check_everything_is_stored();
}

#[test]
fn at_most_4096_tallies_are_remembered_and_the_others_are_written_at_once() {
    let keys = keys(2_100);
    let (last, new) = (keys[4_199], keys[4_198]);
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    // Each request takes two writes, so no bucket is full, and no tally can be forgotten.
    for key in &keys[..4_100] {
        model.request(&mut ledger, *key, Reason::Role, "GET /organizations", start());
    }
    for number in 1..=100 {
        model.request(&mut ledger, last, Reason::Role, "GET /organizations", after(start(), 1));
        assert_eq!(model.writes_of(Tally::Grant(last.0, last.1)), 2 * number, "no bucket");
    }
    // A minute later, the buckets are full, and the first request with a new key makes room.
    for _ in 0..100 {
        model.request(&mut ledger, new, Reason::Role, "GET /organizations", after(start(), 60));
    }
    assert_eq!(model.writes_of(Tally::Grant(new.0, new.1)), BUCKET);
    model.check_counts_are_minimums();
    model.take_pending(&mut ledger);
    model.check_everything_is_stored();
}

#[test]
fn the_last_allowed_request_is_written_at_most_once_a_minute() {
    let key = keys(1)[0];
    let (mut ledger, mut model) = (Ledger::default(), Model::default());
    let mut written = Vec::new();
    for seconds in 0..300 {
        model.request(&mut ledger, key, Reason::Allowed, "GET /organizations", after(start(), seconds));
        if model.stored.last_allowed.get(&key) == model.allowed[&key].last() {
            written.push(seconds);
        }
    }
    assert!((3..=5).contains(&written.len()), "{written:?}");
    assert!(written.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{written:?}");
}
