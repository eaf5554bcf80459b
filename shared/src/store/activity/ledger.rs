//! The counts and requests that an instance has not written yet, and when to write them.
//!
//! Each grant has a bucket of [`BUCKET_SIZE`] writes, which gets one more write every
//! [`REFILL_SECONDS`]. The instance therefore writes the first requests with a grant at once,
//! and the counts of a busy grant every ten seconds. Everything else is pending until a later
//! request with any grant, or until the instance ends.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::{ActivityWrite, Tally};
use crate::activity::{MAX_RECENT_REFUSALS, MAX_ROUTES, RecordedRequest, RefusedRequest, hour_of};
use crate::domain::{AccountId, GrantId, utc_day};
use crate::policy::Reason;

/// The number of writes in a full bucket.
const BUCKET_SIZE: u32 = 30;

/// The interval at which a bucket gets one more write, in seconds.
const REFILL_SECONDS: i64 = 10;

/// The maximum number of tallies with pending writes, so that an instance that ends can
/// write all counts in time. Writes of further tallies are made at once, even if their
/// bucket is empty.
const MAX_PENDING: usize = 256;

/// The maximum number of tallies that an instance remembers (about 2 MB). Requests of
/// further tallies are written at once.
const MAX_TALLIES: usize = 4096;

/// The number of pending tallies that one request checks for due writes.
const CHECKED_AT_A_TIME: usize = 8;

/// The maximum number of due writes that one request makes.
const MAX_DUE_WRITES: usize = 16;

/// The shortest time between two writes of a grant's last allowed request, and of its refused
/// requests if the bucket has fewer than [`SPARE_WRITES`]. These writes are larger than
/// counts, and only the last requests are shown.
const REQUESTS_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// The writes that a bucket must have left so that refused requests are written at once.
const SPARE_WRITES: u32 = 10;

/// The shortest time for which a last use is pending. Last uses share a partition with the
/// counts, and many new instances already write to it when they get their first requests
/// with a grant.
const LAST_USE_DELAY: SignedDuration = SignedDuration::from_secs(10);

/// The shortest time between two searches for tallies that can be forgotten.
const FORGET_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// The maximum length of a stored route, in bytes. Longer routes share one item.
const MAX_ROUTE_LENGTH: usize = 512;

/// A decision about a request with a credential of an account.
#[derive(Clone, Debug)]
pub enum Observation {
    /// The credential is genuine: a key with the correct secret, or a token of this grant.
    Verified {
        account: AccountId,
        grant: GrantId,
        reason: Reason,
        request: RecordedRequest,
        /// The permission that would have allowed the request, if a role refused it.
        missing_permission: Option<String>,
    },
    /// The account exists, but has no such grant or the secret is wrong.
    Unverified { account: AccountId, reason: Reason },
}

/// The counts and requests of one instance.
#[derive(Default)]
pub struct Ledger {
    tallies: HashMap<Tally, Entry>,
    /// The tallies to check for due writes: exactly those with [`Entry::is_queued`].
    queue: VecDeque<Tally>,
    forgot_at: Timestamp,
}

impl Ledger {
    /// Counts a request. Returns the writes that are due. Each must be attempted exactly
    /// once.
    pub fn record(&mut self, observation: Observation, now: Timestamp) -> Vec<ActivityWrite> {
        let mut writes = Vec::new();
        match observation {
            Observation::Verified { account, grant, reason, request, missing_permission } => {
                self.update(Tally::Total, now, &mut writes, |entry| entry.count(reason, now));
                self.update(Tally::Grant(account, grant), now, &mut writes, |entry| {
                    entry.add(reason, request, missing_permission);
                });
            }
            Observation::Unverified { account, reason } => {
                self.update(Tally::Unverified(account), now, &mut writes, |entry| entry.count(reason, now));
            }
        }
        self.take_due(now, &mut writes);
        writes
    }

    /// Takes all pending writes. Counts come first, because a later request cannot make up
    /// for a lost count.
    pub fn take_pending(&mut self) -> Vec<ActivityWrite> {
        let (mut counts, mut others) = (Vec::new(), Vec::new());
        for tally in std::mem::take(&mut self.queue) {
            if let Some(entry) = self.tallies.get_mut(&tally) {
                entry.is_queued = false;
                while let Some(write) = entry.take(tally, Kind::Counts, None) {
                    counts.push(write);
                }
                entry.take_all(tally, &mut others);
            }
        }
        counts.append(&mut others);
        counts
    }

    /// The number of tallies with something pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    fn update(
        &mut self,
        tally: Tally,
        now: Timestamp,
        writes: &mut Vec<ActivityWrite>,
        add: impl FnOnce(&mut Entry),
    ) {
        if !self.tallies.contains_key(&tally) && self.tallies.len() >= MAX_TALLIES && !self.forget(now) {
            let mut entry = Entry::new(now);
            add(&mut entry);
            entry.take_all(tally, writes);
            return;
        }
        let entry = self.tallies.entry(tally).or_insert_with(|| Entry::new(now));
        add(entry);
        entry.take_due(tally, now, writes);
        if entry.is_pending() && !entry.is_queued {
            if self.queue.len() < MAX_PENDING {
                entry.is_queued = true;
                self.queue.push_back(tally);
            } else {
                entry.take_all(tally, writes);
            }
        }
    }

    /// Takes due writes of the queued tallies whose last check was longest ago.
    fn take_due(&mut self, now: Timestamp, writes: &mut Vec<ActivityWrite>) {
        for _ in 0..CHECKED_AT_A_TIME.min(self.queue.len()) {
            let Some(tally) = self.queue.pop_front() else { return };
            let Some(entry) = self.tallies.get_mut(&tally) else { continue };
            entry.take_due(tally, now, writes);
            entry.is_queued = entry.is_pending();
            if entry.is_queued {
                self.queue.push_back(tally);
            }
        }
    }

    /// Forgets tallies that have a full bucket and nothing pending. Returns whether there is
    /// room for another tally.
    fn forget(&mut self, now: Timestamp) -> bool {
        if now.duration_since(self.forgot_at).abs() < FORGET_INTERVAL {
            return false;
        }
        self.forgot_at = now;
        self.tallies.retain(|_, entry| entry.is_queued || entry.is_pending() || !entry.bucket.is_full(now));
        self.tallies.len() < MAX_TALLIES
    }
}

/// The writes that a tally can make now.
struct Bucket {
    writes: u32,
    refilled_at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, now: Timestamp) {
        let refills = now.duration_since(self.refilled_at).as_secs() / REFILL_SECONDS;
        // Setting the clock back must not stop the refills.
        if refills < 0 {
            self.refilled_at = now;
            return;
        }
        let refills = u32::try_from(refills).unwrap_or(u32::MAX);
        let writes = self.writes.saturating_add(refills);
        let until_full = SignedDuration::from_secs(i64::from(refills) * REFILL_SECONDS);
        self.refilled_at = if writes >= BUCKET_SIZE {
            now
        } else {
            self.refilled_at.saturating_add(until_full).unwrap_or(now)
        };
        self.writes = writes.min(BUCKET_SIZE);
    }

    fn take(&mut self) -> bool {
        let left = self.writes.checked_sub(1);
        self.writes = left.unwrap_or_default();
        left.is_some()
    }

    fn is_full(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        self.writes == BUCKET_SIZE
    }
}

/// The kinds of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counts,
    Refusals,
    LastUse,
    Route,
    LastAllowed,
}

/// The pending counts and requests of a tally.
struct Entry {
    bucket: Bucket,
    is_queued: bool,
    /// The order in which the kinds of writes use the bucket. The kind that was written
    /// last moves to the end.
    turns: [Kind; 5],
    /// The number of requests by hour and reason.
    counts: Vec<(Timestamp, Reason, u64)>,
    last_used_at: Option<Timestamp>,
    used_after_end_at: Option<Timestamp>,
    refusals: VecDeque<RefusedRequest>,
    last_allowed: Option<RecordedRequest>,
    last_allowed_written_at: Option<Timestamp>,
    refusals_written_at: Option<Timestamp>,
    last_allowed_use: LastUse,
    last_use_after_end: LastUse,
    /// The day of the last use of each pending route. `None` stands for all routes without
    /// an item of their own.
    routes: BTreeMap<Option<String>, Date>,
    /// The hash of each route, and the day on which the route last became pending. If two
    /// routes have the same hash, the second is not recorded on that day.
    known_routes: HashMap<u64, Date>,
}

/// A last use, which is written at most once an hour.
#[derive(Default)]
struct LastUse {
    pending: Option<Timestamp>,
    pending_since: Timestamp,
    written_hour: Option<Timestamp>,
}

impl LastUse {
    fn set(&mut self, at: Timestamp) {
        if self.written_hour != Some(hour_of(at)) {
            if self.pending.is_none() {
                self.pending_since = at;
            }
            self.pending = self.pending.max(Some(at));
        }
    }

    /// Whether a last use is pending and, if `now` is given, due at that time.
    fn is_pending(&self, now: Option<Timestamp>) -> bool {
        let is_due = |now: Timestamp| now.duration_since(self.pending_since).abs() >= LAST_USE_DELAY;
        self.pending.is_some() && now.is_none_or(is_due)
    }

    fn take(&mut self) -> Option<Timestamp> {
        let at = self.pending.take()?;
        self.written_hour = Some(hour_of(at));
        Some(at)
    }
}

impl Entry {
    fn new(now: Timestamp) -> Self {
        Self {
            bucket: Bucket { writes: BUCKET_SIZE, refilled_at: now },
            is_queued: false,
            turns: [Kind::Counts, Kind::Refusals, Kind::LastUse, Kind::Route, Kind::LastAllowed],
            counts: Vec::new(),
            last_used_at: None,
            used_after_end_at: None,
            refusals: VecDeque::new(),
            last_allowed: None,
            last_allowed_written_at: None,
            refusals_written_at: None,
            last_allowed_use: LastUse::default(),
            last_use_after_end: LastUse::default(),
            routes: BTreeMap::new(),
            known_routes: HashMap::new(),
        }
    }

    /// Counts a request.
    fn count(&mut self, reason: Reason, at: Timestamp) {
        let hour = hour_of(at);
        match self.counts.iter_mut().find(|(other_hour, other, _)| *other_hour == hour && *other == reason) {
            Some((_, _, number)) => *number = number.saturating_add(1),
            None => self.counts.push((hour, reason, 1)),
        }
    }

    /// Counts a request with a grant, and records the request.
    fn add(&mut self, reason: Reason, request: RecordedRequest, missing_permission: Option<String>) {
        let at = request.at;
        self.count(reason, at);
        if reason == Reason::Allowed {
            self.last_used_at = self.last_used_at.max(Some(at));
            self.last_allowed_use.set(at);
            if let Some(route) = &request.route {
                self.use_route(route, utc_day(at));
            }
            self.last_allowed = Some(request);
            return;
        }
        if matches!(reason, Reason::Revoked | Reason::Retired | Reason::Expired) {
            self.used_after_end_at = self.used_after_end_at.max(Some(at));
            self.last_use_after_end.set(at);
        }
        if self.refusals.len() == MAX_RECENT_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(RefusedRequest { request, reason, missing_permission });
    }

    fn use_route(&mut self, route: &str, day: Date) {
        let mut hash = hash(route);
        let mut route = Some(route).filter(|route| route.len() <= MAX_ROUTE_LENGTH);
        if self.known_routes.len() >= MAX_ROUTES && !self.known_routes.contains_key(&hash) {
            self.known_routes.retain(|_, known| *known == day);
            if self.known_routes.len() >= MAX_ROUTES {
                route = None;
            }
        }
        if route.is_none() {
            hash = 0;
        }
        if self.known_routes.insert(hash, day) != Some(day) {
            self.routes.insert(route.map(str::to_owned), day);
        }
    }

    fn is_pending(&self) -> bool {
        self.turns.iter().any(|kind| self.has(*kind, None))
    }

    /// Whether a write of this kind is pending and, if `now` is given, due at that time.
    fn has(&self, kind: Kind, now: Option<Timestamp>) -> bool {
        match kind {
            Kind::Counts => !self.counts.is_empty(),
            Kind::Refusals => {
                let is_due = |now: Timestamp| {
                    self.bucket.writes >= SPARE_WRITES || !is_recent(self.refusals_written_at, now)
                };
                !self.refusals.is_empty() && now.is_none_or(is_due)
            }
            Kind::LastUse => self.last_allowed_use.is_pending(now) || self.last_use_after_end.is_pending(now),
            Kind::Route => !self.routes.is_empty(),
            Kind::LastAllowed => {
                let is_due = |now: Timestamp| !is_recent(self.last_allowed_written_at, now);
                self.last_allowed.is_some() && now.is_none_or(is_due)
            }
        }
    }

    /// Takes as many due writes as the bucket allows.
    fn take_due(&mut self, tally: Tally, now: Timestamp, writes: &mut Vec<ActivityWrite>) {
        self.bucket.refill(now);
        for kind in self.turns {
            let mut is_written = false;
            while writes.len() < MAX_DUE_WRITES && self.has(kind, Some(now)) && self.bucket.take() {
                writes.extend(self.take(tally, kind, Some(now)));
                is_written = true;
            }
            if is_written {
                self.turns.sort_by_key(|other| *other == kind);
            }
        }
    }

    /// Takes all pending writes, even if the bucket is empty.
    fn take_all(&mut self, tally: Tally, writes: &mut Vec<ActivityWrite>) {
        for kind in self.turns {
            while let Some(write) = self.take(tally, kind, None) {
                writes.push(write);
            }
        }
    }

    /// Takes one pending write of this kind.
    fn take(&mut self, tally: Tally, kind: Kind, now: Option<Timestamp>) -> Option<ActivityWrite> {
        if kind == Kind::Counts {
            return self.take_counts(tally);
        }
        // Only grants have requests and routes.
        let Tally::Grant(account, grant) = tally else { return None };
        match kind {
            Kind::Counts => None,
            Kind::Refusals if self.refusals.is_empty() => None,
            Kind::Refusals => {
                let refusals: Vec<_> = std::mem::take(&mut self.refusals).into();
                self.refusals_written_at = now.or_else(|| refusals.last().map(|refusal| refusal.request.at));
                Some(ActivityWrite::Refusals { account, grant, refusals })
            }
            Kind::LastUse => {
                let (is_allowed, at) = match self.last_allowed_use.take() {
                    Some(at) => (true, at),
                    None => (false, self.last_use_after_end.take()?),
                };
                Some(ActivityWrite::LastUse { account, grant, is_allowed, at })
            }
            Kind::Route => {
                let (route, day) = self.routes.pop_first()?;
                Some(ActivityWrite::Route { account, grant, route, day })
            }
            Kind::LastAllowed => {
                let request = self.last_allowed.take()?;
                self.last_allowed_written_at = Some(now.unwrap_or(request.at));
                Some(ActivityWrite::LastAllowed { account, grant, request })
            }
        }
    }

    /// Takes the counts of the first pending day.
    fn take_counts(&mut self, tally: Tally) -> Option<ActivityWrite> {
        let day = utc_day(self.counts.first()?.0);
        let (counts, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.counts).into_iter().partition(|(hour, _, _)| utc_day(*hour) == day);
        self.counts = later;
        let hour = |hour: Timestamp| jiff::tz::Offset::UTC.to_datetime(hour).hour();
        let of_day = |at: &mut Option<Timestamp>| at.take_if(|at| utc_day(*at) == day);
        Some(ActivityWrite::Counts {
            tally,
            day,
            counts: counts.into_iter().map(|(at, reason, number)| (hour(at), reason, number)).collect(),
            last_used_at: of_day(&mut self.last_used_at),
            used_after_end_at: of_day(&mut self.used_after_end_at),
        })
    }
}

/// Whether requests were written less than [`REQUESTS_INTERVAL`] ago.
fn is_recent(written_at: Option<Timestamp>, now: Timestamp) -> bool {
    written_at.is_some_and(|at| now.duration_since(at).abs() < REQUESTS_INTERVAL)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
