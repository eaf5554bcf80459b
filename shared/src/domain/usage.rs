//! When a key was used, and how often.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

/// The day of an instant, in UTC.
#[must_use]
pub fn day_of(at: Timestamp) -> Date {
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
    /// When it was last presented after its end.
    pub presented_at: Option<Timestamp>,
    /// In how many minutes it was presented after its end.
    pub presentations: u64,
}
