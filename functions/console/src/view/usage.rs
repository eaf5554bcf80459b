//! The usage of a key, as text.

use jiff::Timestamp;
use shared::api::{LastUse, RecentCounts, RequestCounts};

use crate::view::formatting::{TimeText, thousands};

/// The usage of a key.
pub(crate) struct KeyUsage {
    /// When the key was last used.
    pub(crate) last: Option<TimeText>,
    last_24_hours: RequestCounts,
    last_30_days: RequestCounts,
    /// When the key was last used after its end.
    pub(crate) used_after_end: Option<TimeText>,
}

impl KeyUsage {
    pub(crate) fn new(recent: RecentCounts, last_use: LastUse, now: Timestamp) -> Self {
        let LastUse { last_used_at, used_after_end_at } = last_use;
        Self {
            last: last_used_at.map(|at| TimeText::new(at, now)),
            last_24_hours: recent.last_24_hours,
            last_30_days: recent.last_30_days,
            used_after_end: used_after_end_at.map(|at| TimeText::new(at, now)),
        }
    }

    /// The requests of each period, for example `24 hours: 25 allowed, 7 refused`. `None`
    /// without requests in the last 30 days.
    pub(crate) fn periods(&self) -> Option<[String; 2]> {
        let in_words = |(period, counts)| format!("{period}: {}", requests(counts));
        let periods = [("24 hours", self.last_24_hours), ("30 days", self.last_30_days)];
        (self.last_30_days != RequestCounts::default()).then(|| periods.map(in_words))
    }
}

/// For example, `25 allowed, 7 refused`.
pub(crate) fn requests(counts: RequestCounts) -> String {
    format!("{} allowed, {} refused", thousands(counts.allowed), thousands(counts.refused))
}
