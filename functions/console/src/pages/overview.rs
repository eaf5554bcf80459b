//! `GET /`: numbers, charts of requests, and what needs attention.

use askama::Template;
use axum::response::Redirect;
use shared::api::{Activity, Attention, AttentionReason, RequestCounts};
use shared::domain::utc_day;

use crate::api::{AccountsQuery, ApiError, ApiResult, AttentionQuery};
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::attention::{self, AttentionLine};
use crate::view::chart::Chart;
use crate::view::formatting::{TimeText, thousands};
use crate::view::layout::Page;

/// How many lines are shown.
const LINES: u8 = 10;
/// The hours and days of the charts, including the current ones.
const HOURS: i32 = 24;
const DAYS: i32 = 30;

/// A number that links to what it counts.
struct Tile {
    label: &'static str,
    number: String,
    /// Whether the number is zero.
    is_zero: bool,
    address: String,
    /// How current the number is.
    note: String,
}

/// The requests with all keys.
struct Requests {
    last_24_hours: RequestCounts,
    last_30_days: RequestCounts,
    hours: Chart,
    days: Chart,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    /// Whether the deployment has no accounts.
    is_new: bool,
    tiles: Vec<Tile>,
    /// `None` if the numbers are not available.
    requests: Option<Requests>,
    /// The most urgent lines. `None` if they are not available.
    lines: Option<Vec<AttentionLine>>,
    has_more: bool,
}

pub(super) async fn show(session: Session) -> PageResult {
    let api = session.api();
    let urgent = AttentionQuery {
        reason: None,
        within_days: None,
        owner: String::new(),
        cursor: String::new(),
        limit: LINES,
    };
    let one = AccountsQuery { limit: Some(1), ..AccountsQuery::default() };
    let (attention, activity, accounts) =
        tokio::join!(api.attention(&urgent), api.activity(), api.accounts(&one));
    // The page works without each of its parts.
    let attention = available(attention)?;
    let activity = available(activity)?;
    let is_new = available(accounts)?.is_some_and(|list| list.items.is_empty());
    let mut tiles = attention.as_ref().map(|attention| tiles(attention, &session)).unwrap_or_default();
    tiles.extend(activity.as_ref().map(|activity| refusals_today(activity, &session)));
    let overview = Overview {
        page: session.page(),
        is_new,
        tiles,
        requests: activity.map(|activity| Requests {
            last_24_hours: activity.recent.last_24_hours,
            last_30_days: activity.recent.last_30_days,
            hours: Chart::of_hours(&activity, HOURS, session.now()),
            days: Chart::of_days(&activity, DAYS, session.now()),
        }),
        has_more: attention.as_ref().is_some_and(has_more),
        lines: attention.map(|attention| {
            attention.items.into_iter().map(|item| AttentionLine::new(item, session.now())).collect()
        }),
    };
    session.show(overview)
}

/// The response, or `None` if the API is not available.
fn available<T>(response: ApiResult<T>) -> PageResult<Option<T>> {
    match response {
        Ok(response) => Ok(Some(response)),
        Err(error @ ApiError::NotPermitted) => Err(error.into()),
        Err(ApiError::Problem(_) | ApiError::Unavailable { .. }) => Ok(None),
    }
}

/// Whether more needs attention than the shown lines.
fn has_more(attention: &Attention) -> bool {
    let counts = attention.counts;
    let counts = [counts.used_after_end, counts.expiring_in_30_days, counts.unused, counts.disabled_accounts];
    let all: usize = counts.iter().map(|count| count.count).sum();
    all > attention.items.len() || counts.iter().any(|count| count.is_minimum)
}

fn tiles(attention: &Attention, session: &Session) -> Vec<Tile> {
    let counts = &attention.counts;
    let moments = "A few moments old";
    let unused = match attention.unused_counted_at {
        Some(at) => format!("Counted {}", TimeText::new(at, session.now()).words),
        None => "Not counted yet: the daily sweep counts unused keys".to_owned(),
    };
    let with_reason = |reason: AttentionReason| format!("/attention?reason={}", reason.name());
    let expiring = |days: u8| format!("{}&withinDays={days}", with_reason(AttentionReason::Expiring));
    let used = "Retired keys used";
    [
        (used, counts.used_after_end, with_reason(AttentionReason::UsedAfterEnd), "In the last 30 days"),
        ("Keys and identities that expire in 7 days", counts.expiring_in_7_days, expiring(7), moments),
        ("Keys and identities that expire in 30 days", counts.expiring_in_30_days, expiring(30), moments),
        ("Keys unused for 90 days", counts.unused, with_reason(AttentionReason::Unused), unused.as_str()),
        ("Disabled accounts", counts.disabled_accounts, "/accounts?enabled=false".to_owned(), moments),
    ]
    .map(|(label, count, address, note)| Tile {
        label,
        number: attention::number(&count),
        is_zero: count.count == 0,
        address,
        note: note.to_owned(),
    })
    .into()
}

fn refusals_today(activity: &Activity, session: &Session) -> Tile {
    let today = utc_day(session.now());
    let counts = activity.by_day.iter().find(|day| day.day == today).map(|day| day.counts.counts.refused);
    let refused = counts.unwrap_or_default();
    Tile {
        label: "Refused requests today (UTC)",
        number: thousands(refused),
        is_zero: refused == 0,
        address: "#requests".to_owned(),
        note: "A minimum, a few seconds old".to_owned(),
    }
}

/// Redirects a reload of a form's address to a page.
pub(super) async fn redirect() -> Redirect {
    Redirect::to("/")
}
