//! The usage of keys: when and how often.

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

/// The recorded usage of a key. Counts are minimums: uses that an instance of the
/// authorizer has not written before it ends are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// When a request with the key was last allowed. Can be up to five minutes stale.
    pub last_used_at: Option<Timestamp>,
    /// The number of allowed requests on each of the last 31 days (UTC).
    pub uses_by_day: BTreeMap<Date, u64>,
    /// When the key was last used after its end, and refused.
    pub used_after_end_at: Option<Timestamp>,
    /// The number of minutes in which the key was used after its end.
    pub minutes_used_after_end: u64,
}

/// The summarized usage of an account's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// When a request with one of the keys, live or retired, was last allowed.
    pub last_used_at: Option<Timestamp>,
    /// When one of the keys was last used after its end, and refused.
    pub used_after_end_at: Option<Timestamp>,
    /// The number of live keys that have not been used for
    /// [`super::UNUSED_NOTICE_DAYS`].
    pub unused_keys: usize,
}

impl AccountUsage {
    /// Summarizes `usage`, the usage of the keys of `account`.
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
