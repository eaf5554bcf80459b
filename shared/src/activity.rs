//! The activity of grants (keys and federated identities): the number of requests by hour and reason, the last requests,
//! and the routes that were used. This module does no I/O.
//!
//! Counts are minimums. They never exceed the true numbers. They lack only requests whose
//! write failed, requests of an instance that crashed, and requests that an instance has
//! counted but not yet written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::domain::{GrantId, utc_day};
use crate::policy::Reason;

/// Days for which counts and routes are kept, including today.
pub const COUNTS_KEPT_DAYS: i32 = 90;

/// Days for which single requests are kept. Their paths and source addresses can be
/// personal data.
pub const REQUESTS_KEPT_DAYS: i32 = 30;

/// The number of hours, including the current one, whose counts are shown separately.
pub const SHOWN_HOURS: i32 = 48;

/// The maximum number of refused requests that are shown for a grant.
pub const MAX_RECENT_REFUSALS: usize = 20;

/// The maximum number of routes that are shown for a grant. For all other routes together,
/// only the day of the last use is shown.
pub const MAX_ROUTES: usize = 200;

/// The number of requests with each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Reason, u64>);

impl Counts {
    /// Counts `number` more requests.
    pub fn add(&mut self, reason: Reason, number: u64) {
        let count = self.0.entry(reason).or_default();
        *count = count.saturating_add(number);
    }

    /// Adds the counts of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for (reason, number) in &other.0 {
            self.add(*reason, *number);
        }
    }

    /// The number of allowed requests.
    pub fn allowed(&self) -> u64 {
        self.0.get(&Reason::Allowed).copied().unwrap_or_default()
    }

    /// The number of refused requests.
    pub fn refused(&self) -> u64 {
        self.refused_by_reason().map(|(_, number)| number).fold(0, u64::saturating_add)
    }

    /// The number of refused requests for each reason.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.0
            .iter()
            .filter(|(reason, _)| **reason != Reason::Allowed)
            .map(|(reason, number)| (*reason, *number))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The number of requests in each hour (UTC). Hours without requests are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series(BTreeMap<Timestamp, Counts>);

impl Series {
    /// Counts `number` more requests in the hour that starts at `hour`.
    pub fn add(&mut self, hour: Timestamp, reason: Reason, number: u64) {
        self.0.entry(hour).or_default().add(reason, number);
    }

    /// Adds the counts of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for (hour, counts) in &other.0 {
            self.0.entry(*hour).or_default().add_all(counts);
        }
    }

    /// The counts of the last `hours` hours, including the current one, oldest first.
    pub fn by_hour(&self, now: Timestamp, hours: i32) -> impl Iterator<Item = (Timestamp, &Counts)> {
        let first = hour_of(now).saturating_sub((hours - 1).hours()).unwrap_or(Timestamp::MIN);
        self.0.range(first..=now).map(|(hour, counts)| (*hour, counts))
    }

    /// The counts of the last `days` days (UTC), including today.
    pub fn by_day(&self, now: Timestamp, days: i32) -> BTreeMap<Date, Counts> {
        let first = start_of(utc_day(now).saturating_sub((days - 1).days()));
        let mut by_day = BTreeMap::<Date, Counts>::new();
        for (hour, counts) in self.0.range(first..=now) {
            by_day.entry(utc_day(*hour)).or_default().add_all(counts);
        }
        by_day
    }

    /// The sum of the last 24 hours: the current hour and the 23 hours before.
    pub fn last_24_hours(&self, now: Timestamp) -> Counts {
        sum(self.by_hour(now, 24).map(|(_, counts)| counts))
    }

    /// The sum of the last 30 days (UTC), including today.
    pub fn last_30_days(&self, now: Timestamp) -> Counts {
        sum(self.by_day(now, 30).values())
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a Counts>) -> Counts {
    let mut sum = Counts::default();
    counts.for_each(|counts| sum.add_all(counts));
    sum
}

/// The start of the hour that contains `at`.
pub fn hour_of(at: Timestamp) -> Timestamp {
    let seconds = at.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(3600)).unwrap_or(at)
}

/// The start of hour `hour` (0 to 23) of a day (UTC).
pub fn hour_of_day(day: Date, hour: i8) -> Option<Timestamp> {
    let start = Offset::UTC.to_timestamp(day.to_datetime(Time::midnight())).ok()?;
    (0..24).contains(&hour).then(|| start.checked_add(SignedDuration::from_hours(hour.into())).ok())?
}

fn start_of(day: Date) -> Timestamp {
    hour_of_day(day, 0).unwrap_or(Timestamp::MIN)
}

/// The activity of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantActivity {
    /// When a request with the grant was last allowed.
    pub last_used_at: Option<Timestamp>,
    /// When the grant was last used after its end, and refused.
    pub used_after_end_at: Option<Timestamp>,
    pub series: Series,
}

/// A request with a valid key, or with a valid token. The texts can be truncated, and contain no
/// credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    pub at: Timestamp,
    /// The id in API Gateway's response and in the log.
    pub request_id: String,
    /// The method and the path without its query, unless the event had neither.
    pub method: Option<String>,
    pub path: Option<String>,
    /// The route in API Gateway, such as `GET /organizations/{id}`, if the event named it.
    pub route: Option<String>,
    /// The client's address, if the event had it and addresses are recorded.
    pub source: Option<IpAddr>,
}

/// A refused request with a valid key, or with a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    pub request: RecordedRequest,
    pub reason: Reason,
    /// The narrowest permission that would have covered the request, if a role refused it.
    pub missing_permission: Option<String>,
}

/// The most recent requests with a grant, from the last [`REQUESTS_KEPT_DAYS`] days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentRequests {
    /// The last allowed request.
    pub allowed: Option<RecordedRequest>,
    /// The most recent refused requests, newest first. At most [`MAX_RECENT_REFUSALS`].
    pub refused: Vec<RefusedRequest>,
}

/// The routes that a grant used in the last [`COUNTS_KEPT_DAYS`] days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedRoutes {
    /// At most [`MAX_ROUTES`] routes, each with the day of its last use (UTC).
    pub routes: BTreeMap<String, Date>,
    /// The day of the last use of a route that is not in `routes`.
    pub others: Option<Date>,
}

/// The routes that all grants of an account used in the last [`COUNTS_KEPT_DAYS`] days. Routes
/// of ended grants are included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRoutes {
    /// The routes, each with the day of its last use (UTC).
    pub routes: BTreeMap<String, Date>,
    /// The day of the last use of a route that is not in `routes`.
    pub others: Option<Date>,
    /// The grants for which at least one route is recorded.
    pub grants: BTreeSet<GrantId>,
    /// Whether there are too many recorded routes, so that `routes` lacks some.
    pub is_truncated: bool,
}
