//! The usage of keys: when and how often.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

/// The day of an instant, in UTC.
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
