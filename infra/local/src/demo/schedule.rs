//! The steps that create the company, in the order of time.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use jiff::civil::Weekday;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::company::{
    ACCOUNTS, API_REGISTERED, Account, Admin, Ago, End, FOUNDED, Key, LAST_SWEEP, ROLES, Rhythm, Role,
    SWEEP_INTERVAL, Traffic, Update,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Identifies a key of the company. Both names are the same for a key and its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyName {
    pub(super) account: &'static str,
    pub(super) key: &'static str,
    pub(super) is_successor: bool,
}

/// One thing that happens.
pub(super) enum Step {
    Action(Action),
    Request(Request),
}

/// A change by an admin, or a sweep of keys.
pub(super) enum Action {
    RegisterApi { by: Admin },
    PutRole { role: &'static Role, permissions: &'static [&'static str], by: Admin },
    CreateAccount { account: &'static Account },
    UpdateAccount { account: &'static str, update: &'static Update, by: Admin },
    IssueKey { name: KeyName, key: &'static Key },
    RotateKey { name: KeyName, grace_hours: u32, by: Admin },
    RevokeKey { name: KeyName, by: Admin },
    SweepKeys,
}

/// A request with a key.
pub(super) struct Request {
    pub(super) key: KeyName,
    pub(super) route: &'static str,
    /// The value of `{id}` in the route.
    pub(super) id: u64,
    pub(super) source: &'static str,
}

/// All steps up to `now`, in the order of time.
pub(super) fn steps(now: Timestamp) -> Vec<(Timestamp, Step)> {
    let mut schedule = Schedule { now, steps: Vec::new() };
    schedule.add(API_REGISTERED.ago, Action::RegisterApi { by: API_REGISTERED.by });
    for role in ROLES {
        for (change, permissions) in role.versions {
            schedule.add(change.ago, Action::PutRole { role, permissions, by: change.by });
        }
    }
    for account in ACCOUNTS {
        schedule.add(account.created.ago, Action::CreateAccount { account });
        for (change, update) in account.updates {
            schedule.add(change.ago, Action::UpdateAccount { account: account.name, update, by: change.by });
        }
        for key in account.keys {
            schedule.add_key(account, key);
        }
    }
    let mut sweep = FOUNDED;
    while sweep.0 > LAST_SWEEP.0 {
        sweep.0 -= SWEEP_INTERVAL.0;
        schedule.add(Ago(sweep.0.max(LAST_SWEEP.0)), Action::SweepKeys);
    }
    // A stable sort: an account comes before its keys.
    schedule.steps.sort_by_key(|(at, _)| *at);
    schedule.steps
}

struct Schedule {
    now: Timestamp,
    steps: Vec<(Timestamp, Step)>,
}

impl Schedule {
    fn add(&mut self, ago: Ago, action: Action) {
        self.steps.push((before(self.now, ago), Step::Action(action)));
    }

    fn add_key(&mut self, account: &Account, key: &'static Key) {
        let name = KeyName { account: account.name, key: key.name, is_successor: false };
        self.add(key.issued.ago, Action::IssueKey { name, key });
        self.add_requests(name, key.traffic);
        match &key.end {
            Some(End::Rotated { change, grace_hours, traffic }) => {
                self.add(change.ago, Action::RotateKey { name, grace_hours: *grace_hours, by: change.by });
                self.add_requests(KeyName { is_successor: true, ..name }, traffic);
            }
            Some(End::Revoked(change)) => self.add(change.ago, Action::RevokeKey { name, by: change.by }),
            None => {}
        }
    }

    fn add_requests(&mut self, key: KeyName, traffic: &[Traffic]) {
        for (kind, traffic) in traffic.iter().enumerate() {
            for at in times(traffic, (key, kind), self.now) {
                self.add_session(key, traffic, at, (key, kind, at));
            }
        }
    }

    /// Adds the requests that start at `at`, about a second apart.
    fn add_session(&mut self, key: KeyName, traffic: &Traffic, at: Timestamp, seed: impl Hash + Copy) {
        let mut at = at;
        for number in 0..traffic.requests {
            let noise = |what: &str| noise((seed, number, what));
            let (route, source) =
                (pick(traffic.routes, noise("route")), pick(traffic.sources, noise("source")));
            if let (Some(route), Some(source)) = (route, source) {
                let request = Request { key, route, id: 1000 + noise("id") % 400, source };
                self.steps.push((at, Step::Request(request)));
            }
            let pause = i64::try_from(400 + noise("pause") % 1200).unwrap_or_default();
            at = later(at, SignedDuration::from_millis(pause));
        }
    }
}

/// The times at which requests of this kind start.
fn times(traffic: &Traffic, seed: impl Hash + Copy, now: Timestamp) -> Vec<Timestamp> {
    let (first, last) = (before(now, traffic.between.0), before(now, traffic.between.1));
    let a_day = match traffic.rhythm {
        Rhythm::Once => return vec![first],
        Rhythm::Daily { .. } => 1,
        Rhythm::OfficeHours { times } | Rhythm::AroundTheClock { times } => times,
    };
    // Leaves time for the requests before `last`.
    let last = later(last, SignedDuration::from_secs(-60));
    let mut times = Vec::new();
    let mut day = first.as_second() - first.as_second().rem_euclid(DAY);
    while day <= last.as_second() {
        for number in 0..a_day {
            let noise = noise((seed, day, number));
            let hour = match traffic.rhythm {
                Rhythm::Daily { hour } => hour,
                Rhythm::OfficeHours { .. } => 7 + noise % 11,
                Rhythm::Once | Rhythm::AroundTheClock { .. } => noise % 24,
            };
            let seconds = i64::try_from(hour * 3600 + noise / 24 % 3600).unwrap_or_default();
            let at = Timestamp::from_second(day + seconds).unwrap_or_default();
            let is_open = !matches!(traffic.rhythm, Rhythm::OfficeHours { .. }) || !is_weekend(at);
            if is_open && first <= at && at <= last {
                times.push(at);
            }
        }
        day += DAY;
    }
    times
}

fn is_weekend(at: Timestamp) -> bool {
    matches!(Offset::UTC.to_datetime(at).weekday(), Weekday::Saturday | Weekday::Sunday)
}

fn before(now: Timestamp, Ago(seconds): Ago) -> Timestamp {
    later(now, SignedDuration::from_secs(-seconds))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

fn pick<T: Copy>(values: &[T], number: u64) -> Option<T> {
    let length = u64::try_from(values.len()).unwrap_or(u64::MAX);
    let index = number.checked_rem(length)?;
    values.get(usize::try_from(index).unwrap_or_default()).copied()
}

/// A number that looks random and is always the same for the same `seed`.
fn noise(seed: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    hasher.finish()
}
