//! How a key was used, in words and as a small chart.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::{Timestamp, ToSpan as _};
use shared::api::{SHOWN_DAYS, Usage};
use shared::domain::utc_day;

use crate::view::formatting::{When, count};

/// The height of the chart's highest bar, in its own units.
const HEIGHT: u64 = 20;
/// The width of a bar.
const STEP: i32 = 4;
const WIDTH: i32 = SHOWN_DAYS * STEP;

/// How a key was used.
pub(crate) struct Uses {
    /// When it was last let in.
    pub(crate) last: Option<When>,
    /// In the days that are shown.
    pub(crate) total: u64,
    /// There is none of a key that was not used.
    pub(crate) chart: Option<Chart>,
    /// What was seen of it after its end.
    pub(crate) presented: Option<Presented>,
}

/// A key was presented after its end.
pub(crate) struct Presented {
    /// When last.
    pub(crate) last: When,
    minutes: u64,
}

/// Uses per day, as an SVG of one path: a bar a day, upwards from 0. No style is
/// in it, which the policy of the pages would not let in.
#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    path: String,
    /// On the busiest day.
    most: String,
}

/// Its template has escaped what is in it.
impl HtmlSafe for Chart {}

impl Uses {
    /// What the API says as `usage`, seen at `now`.
    pub(crate) fn of(usage: &Usage, now: Timestamp) -> Self {
        Self {
            last: usage.last_used_at.map(|at| When::of(at, now)),
            total: usage.uses_by_day.values().sum(),
            chart: Chart::of(usage, now),
            presented: usage.used_after_end_at.map(|at| Presented {
                last: When::of(at, now),
                minutes: usage.minutes_used_after_end.unwrap_or(1),
            }),
        }
    }

    /// Such as `1,204 uses in 30 days`.
    pub(crate) fn total_in_words(&self) -> String {
        format!("{} in {SHOWN_DAYS} days", count(self.total, "use"))
    }
}

impl Presented {
    /// For example, `4 minutes with requests`. The API counts minutes.
    pub(crate) fn minutes(&self) -> String {
        format!("{} with requests", count(self.minutes, "minute"))
    }
}

impl Chart {
    fn of(usage: &Usage, now: Timestamp) -> Option<Self> {
        let first = utc_day(now).checked_sub((SHOWN_DAYS - 1).days()).ok()?;
        let days = first.series(1.day()).take(usize::try_from(SHOWN_DAYS).ok()?);
        let uses: Vec<u64> =
            days.map(|day| usage.uses_by_day.get(&day).copied().unwrap_or_default()).collect();
        let most = uses.iter().copied().max().filter(|most| *most > 0)?;
        let mut path = "M0 0".to_owned();
        for bars in uses.chunk_by(PartialEq::eq) {
            // A day with one use shows beside one with a million.
            let height = bars.first().map_or(0, |uses| uses.saturating_mul(HEIGHT).div_ceil(most));
            write!(path, "V-{height}h{}", i32::try_from(bars.len()).ok()? * STEP).ok()?;
        }
        path.push_str("V0z");
        Some(Self { path, most: count(most, "use") })
    }
}
