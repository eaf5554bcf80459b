//! When a key was used, and how often.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use super::notice::unused_since;
use super::{Account, KeyId};

/// The day of an instant, in UTC.
#[must_use]
pub fn utc_day(at: Timestamp) -> Date {
    Offset::UTC.to_datetime(at).date()
}

/// What is known of the use of a key. Uses that an instance of the authorizer
/// has not written when it ends are not counted: there were so many at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// When it was last let in, some five minutes ago at most.
    pub last_used_at: Option<Timestamp>,
    /// How often it was let in on each day (UTC) of the last 31.
    pub uses_by_day: BTreeMap<Date, u64>,
    /// When it was last used after its end, and refused.
    pub used_after_end_at: Option<Timestamp>,
    /// The number of minutes in which it was used after its end.
    pub minutes_used_after_end: u64,
}

/// How the keys of an account are used, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// When one of its keys, live or retired, was last let in.
    pub last_used_at: Option<Timestamp>,
    /// When one of them was last used after its end, and refused.
    pub used_after_end_at: Option<Timestamp>,
    /// How many of its live keys nobody has used for
    /// [`super::UNUSED_NOTICE_DAYS`].
    pub unused_keys: usize,
}

impl AccountUsage {
    /// That of `account`, whose keys were used as `usage` says.
    #[must_use]
    pub fn new(account: &Account, usage: &HashMap<KeyId, KeyUsage>, now: Timestamp) -> Self {
        let last_used_at = |key: KeyId| usage.get(&key).and_then(|usage| usage.last_used_at);
        let unused = account.keys.iter().filter_map(|key| unused_since(key, last_used_at(key.id), now));
        Self {
            last_used_at: usage.values().filter_map(|usage| usage.last_used_at).max(),
            used_after_end_at: usage.values().filter_map(|usage| usage.used_after_end_at).max(),
            unused_keys: unused.count(),
        }
    }
}
