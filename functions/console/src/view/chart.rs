//! The requests of a key over time, as a chart and as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use shared::activity::hour_of;
use shared::api::{Activity, CountsByReason};
use shared::domain::utc_day;
use shared::policy::Reason;

use crate::view::formatting::{count, thousands};
use crate::view::refusal;

/// The height of the highest bar, in the chart's own units.
const HEIGHT: u64 = 60;
/// The width of a chart.
const WIDTH: i32 = 720;

/// The allowed and refused requests of consecutive hours or days: an SVG with one bar for
/// each, and a table. It has no inline style, which the Content-Security-Policy forbids.
#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    /// `hour` or `day`.
    unit: &'static str,
    /// For example, `48 hours`.
    pub(crate) span: String,
    /// The outline of the bars with all requests. `allowed` is drawn over it.
    all: String,
    /// The outline of the bars with the allowed requests.
    allowed: String,
    /// The requests of the busiest hour or day.
    most: String,
    /// The labels of the first and the last bar.
    ends: [String; 2],
    /// The hours or days with requests, newest first.
    rows: Vec<Row>,
}

/// The template escapes its values.
impl HtmlSafe for Chart {}

/// The requests of an hour or a day.
struct Row {
    /// The start of the hour, or the day.
    label: String,
    allowed: String,
    refused: String,
    /// For example, `no permission: 5, network not allowed: 2`.
    reasons: String,
}

impl Chart {
    /// The requests of the last `length` hours, including the current one.
    pub(crate) fn of_hours(activity: &Activity, length: i32, now: Timestamp) -> Self {
        let counts: BTreeMap<_, _> = activity.by_hour.iter().map(|hour| (hour.hour, &hour.counts)).collect();
        let hours = (0..length).rev().filter_map(|ago| {
            let start = hour_of(now).checked_sub(SignedDuration::from_hours(ago.into())).ok()?;
            Some((hour_label(start), counts.get(&start).copied()))
        });
        Self::new("hour", length, hours.collect())
    }

    /// The requests of the last `length` days, including today.
    pub(crate) fn of_days(activity: &Activity, length: i32, now: Timestamp) -> Self {
        let counts: BTreeMap<_, _> = activity.by_day.iter().map(|day| (day.day, &day.counts)).collect();
        let today = utc_day(now);
        let days = (0..length).rev().filter_map(|ago| {
            let day: Date = today.checked_sub(ago.days()).ok()?;
            Some((day.to_string(), counts.get(&day).copied()))
        });
        Self::new("day", length, days.collect())
    }

    /// A chart of `length` bars, oldest first.
    fn new(unit: &'static str, length: i32, bars: Vec<(String, Option<&CountsByReason>)>) -> Self {
        let requests: Vec<_> = bars.iter().map(|(_, counts)| numbers(*counts)).collect();
        let most = requests.iter().map(|(allowed, refused)| allowed.saturating_add(*refused)).max();
        let most = most.unwrap_or_default();
        // Rounded up, so that one request is visible next to a million.
        let height = |requests: u64| requests.saturating_mul(HEIGHT).div_ceil(most.max(1));
        let allowed: Vec<_> = requests.iter().map(|(allowed, _)| height(*allowed)).collect();
        let all = requests.iter().map(|(allowed, refused)| height(*allowed) + height(*refused)).collect();
        let label = |bar: Option<&(String, _)>| bar.map(|(label, _)| label.clone()).unwrap_or_default();
        let step = WIDTH / length;
        Self {
            unit,
            span: format!("{length} {unit}s"),
            all: outline(all, step),
            allowed: outline(allowed, step),
            most: count(most, "request"),
            ends: [label(bars.first()), label(bars.last())],
            rows: bars
                .into_iter()
                .rev()
                .filter_map(|(label, counts)| Some(Row::new(label, counts?)))
                .collect(),
        }
    }
}

impl Row {
    fn new(label: String, counts: &CountsByReason) -> Self {
        let (allowed, refused) = numbers(Some(counts));
        let reason = |(reason, number): (&Reason, &u64)| {
            format!("{}: {}", refusal::label(*reason), thousands(*number))
        };
        let reasons: Vec<_> = counts.refused_by_reason.iter().map(reason).collect();
        Self { label, allowed: thousands(allowed), refused: thousands(refused), reasons: reasons.join(", ") }
    }
}

/// The numbers of allowed and of refused requests.
fn numbers(counts: Option<&CountsByReason>) -> (u64, u64) {
    counts.map_or((0, 0), |counts| (counts.counts.allowed, counts.counts.refused))
}

/// For example, `2026-11-24 13:00`.
fn hour_label(start: Timestamp) -> String {
    start.strftime("%Y-%m-%d %H:00").to_string()
}

/// An SVG path around bars of these heights and the width `step`.
fn outline(heights: Vec<u64>, step: i32) -> String {
    let mut path = "M0 0".to_owned();
    for bars in heights.chunk_by(PartialEq::eq) {
        let height = bars.first().copied().unwrap_or_default();
        let width = i32::try_from(bars.len()).unwrap_or_default() * step;
        // Writing to a string cannot fail.
        let _ = write!(path, "V-{height}h{width}");
    }
    path.push_str("V0z");
    path
}
