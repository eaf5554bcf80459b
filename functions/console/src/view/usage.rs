//! The usage of a key, as text and as a small chart.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::{Timestamp, ToSpan as _};
use shared::api::{LastUse, RequestCounts, SHOWN_DAYS, Usage};
use shared::domain::utc_day;

use crate::view::formatting::{TimeText, count, thousands};

/// The height of the chart's highest bar, in its own units.
const HEIGHT: u64 = 20;
/// The width of a bar.
const STEP: i32 = 4;
const WIDTH: i32 = SHOWN_DAYS * STEP;

/// The usage of a key.
pub(crate) struct KeyUsage {
    /// When the key was last used.
    pub(crate) last: Option<TimeText>,
    last_24_hours: RequestCounts,
    pub(crate) last_30_days: RequestCounts,
    /// `None` if no request was allowed in the last [`SHOWN_DAYS`] days.
    pub(crate) chart: Option<Chart>,
    /// When the key was last used after its end.
    pub(crate) used_after_end: Option<TimeText>,
}

/// Uses per day, as an SVG with one path and one bar per day. It has no inline style,
/// which the Content-Security-Policy forbids.
#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    path: String,
    /// The number of uses on the busiest day.
    most: String,
}

/// The template escapes its values.
impl HtmlSafe for Chart {}

impl KeyUsage {
    pub(crate) fn new(usage: &Usage, now: Timestamp) -> Self {
        let LastUse { last_used_at, used_after_end_at } = usage.last_use;
        Self {
            last: last_used_at.map(|at| TimeText::new(at, now)),
            last_24_hours: usage.recent.last_24_hours,
            last_30_days: usage.recent.last_30_days,
            chart: Chart::new(usage, now),
            used_after_end: used_after_end_at.map(|at| TimeText::new(at, now)),
        }
    }

    /// The requests of each period, for example `24 hours: 25 allowed, 7 refused`. `None`
    /// without requests in the last 30 days.
    pub(crate) fn periods(&self) -> Option<[String; 2]> {
        let in_words = |(period, RequestCounts { allowed, refused })| {
            format!("{period}: {} allowed, {} refused", thousands(allowed), thousands(refused))
        };
        let periods = [("24 hours", self.last_24_hours), ("30 days", self.last_30_days)];
        (self.last_30_days != RequestCounts::default()).then(|| periods.map(in_words))
    }

    /// For example, `1,204 requests allowed in 30 days`.
    pub(crate) fn allowed_in_words(&self) -> String {
        format!("{} allowed in {SHOWN_DAYS} days", count(self.last_30_days.allowed, "request"))
    }
}

impl Chart {
    fn new(usage: &Usage, now: Timestamp) -> Option<Self> {
        let first = utc_day(now).checked_sub((SHOWN_DAYS - 1).days()).ok()?;
        let days = first.series(1.day()).take(usize::try_from(SHOWN_DAYS).ok()?);
        let uses: Vec<u64> =
            days.map(|day| usage.uses_by_day.get(&day).copied().unwrap_or_default()).collect();
        let most = uses.iter().copied().max().filter(|most| *most > 0)?;
        let mut path = "M0 0".to_owned();
        for bars in uses.chunk_by(PartialEq::eq) {
            // Rounded up, so that a day with one use is visible next to a day with a million.
            let height = bars.first().map_or(0, |uses| uses.saturating_mul(HEIGHT).div_ceil(most));
            write!(path, "V-{height}h{}", i32::try_from(bars.len()).ok()? * STEP).ok()?;
        }
        path.push_str("V0z");
        Some(Self { path, most: count(most, "use") })
    }
}
