//! Instants and events in words.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::{SignedDuration, Timestamp};
use shared::http::representation::AuditEvent;

use crate::matching::width;

/// A key that expires within so long wants attention.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// An instant: in words, exactly, and for programs. In a page it is a `<time>`.
#[derive(Template)]
#[template(path = "when.html")]
pub(crate) struct When {
    /// Such as `in 3 days`.
    pub(crate) words: String,
    /// Such as `2026-11-24 07:56:39 UTC`.
    pub(crate) exact: String,
    /// In RFC 3339.
    pub(crate) machine: String,
    /// Whether it is to come within 14 days.
    pub(crate) is_soon: bool,
}

/// Its template has escaped what is in it.
impl HtmlSafe for When {}

impl When {
    /// The instant that the API writes as `text`, seen at `now`.
    pub(crate) fn of(text: &str, now: Timestamp) -> Self {
        let Ok(at) = text.parse::<Timestamp>() else {
            return Self {
                words: text.to_owned(),
                exact: text.to_owned(),
                machine: text.to_owned(),
                is_soon: false,
            };
        };
        let ahead = at.duration_since(now);
        Self {
            words: words(ahead),
            exact: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            machine: text.to_owned(),
            is_soon: ahead.is_positive() && ahead < SOON,
        }
    }
}

/// How far away an instant is, rounded: `ahead`, or ago if it is negative.
fn words(ahead: SignedDuration) -> String {
    const UNITS: [(u64, u64, &str); 5] = [
        // Below so many seconds it is counted in units of so many.
        (3600, 60, "minute"),
        (2 * 86_400, 3600, "hour"),
        (90 * 86_400 + 43_200, 86_400, "day"),
        (730 * 86_400, 30 * 86_400, "month"),
        (u64::MAX, 365 * 86_400, "year"),
    ];
    let seconds = ahead.as_secs().unsigned_abs();
    if seconds < 60 {
        return if ahead.is_positive() { "in less than a minute" } else { "just now" }.to_owned();
    }
    let unit = UNITS.into_iter().find(|(below, _, _)| seconds < *below);
    let amount =
        unit.map_or_else(String::new, |(_, length, unit)| count((seconds + length / 2) / length, unit));
    if ahead.is_negative() { format!("{amount} ago") } else { format!("in {amount}") }
}

/// So many of a thing.
pub(crate) fn count(number: u64, unit: &str) -> String {
    if number == 1 { format!("1 {unit}") } else { format!("{} {unit}s", thousands(number)) }
}

/// Such as `1,204`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many changes are told of an event: a role can have a hundred permissions,
/// and a page is to stay light.
const MOST_CHANGES: usize = 12;

/// The type of the event that an account is deleted with its keys.
const DELETED: &str = "serviceAccount.deleted";

/// A line of a history.
pub(crate) struct Told {
    pub(crate) actor: String,
    /// What the actor did, such as `issued the key`.
    pub(crate) deed: String,
    /// What else, behind what it was done to.
    pub(crate) besides: &'static str,
    pub(crate) key: Option<String>,
    /// The account's id and its name at that time, where it is not said anyway.
    pub(crate) account: Option<(String, String)>,
    pub(crate) role: Option<String>,
    /// `name`: from → to. The first of them.
    pub(crate) changes: Vec<(String, String, String)>,
    /// How many more there are.
    pub(crate) more: usize,
    pub(crate) when: When,
    pub(crate) request_id: String,
}

impl Told {
    /// A line of the history of its account.
    pub(crate) fn of(event: AuditEvent, now: Timestamp) -> Self {
        Self { account: None, ..Self::of_any(event, now) }
    }

    /// A line of everybody's history.
    pub(crate) fn of_any(event: AuditEvent, now: Timestamp) -> Self {
        let deed = match event.r#type.as_str() {
            "serviceAccount.created" => "created the account",
            "serviceAccount.updated" => "changed the account",
            DELETED => "deleted the account",
            "key.issued" => "issued the key",
            "key.rotated" => "rotated the key",
            "key.revoked" => "revoked the key",
            "role.created" => "created the role",
            "role.updated" => "changed the role",
            "role.deleted" => "deleted the role",
            // One that a newer API tells of.
            other => other,
        };
        let besides = if event.r#type == DELETED { "and its keys" } else { "" };
        let deed = match event.changes.as_slice() {
            [change] if change.field == "enabled" && change.to == "true" => "enabled the account",
            [change] if change.field == "enabled" => "disabled the account",
            _ => deed,
        };
        let is_switch = deed.starts_with("enabled") || deed.starts_with("disabled");
        // What is not told must not be what permits most.
        let mut changes: Vec<_> = event.changes.iter().filter(|_| !is_switch).collect();
        changes.sort_by_cached_key(|change| width(&change.from).min(width(&change.to)));
        let more = changes.len().saturating_sub(MOST_CHANGES);
        let changes = changes.into_iter().take(MOST_CHANGES);
        Self {
            actor: event.actor.name,
            deed: deed.to_owned(),
            besides,
            key: event.key_id,
            account: event.service_account_id.map(|id| {
                let name = event.service_account_name.unwrap_or_else(|| id.clone());
                (id, name)
            }),
            role: event.role,
            changes: changes
                .map(|change| (change.field.clone(), change.from.clone(), change.to.clone()))
                .collect(),
            more,
            when: When::of(&event.at, now),
            request_id: event.request_id,
        }
    }
}
