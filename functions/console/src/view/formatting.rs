//! Instants and events in words.

use std::collections::BTreeMap;

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::{SignedDuration, Timestamp};
use shared::api::{AuditEvent, Key, RetiredKey};
use shared::domain::{AccountId, EventType, FieldChange, KeyId, RoleName};

use crate::view::excerpt::Excerpt;
use crate::view::permissions::width;

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
    /// The instant `at`, seen at `now`.
    pub(crate) fn of(at: Timestamp, now: Timestamp) -> Self {
        let ahead = at.duration_since(now);
        Self {
            words: words(ahead),
            exact: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            machine: at.to_string(),
            is_soon: ahead.is_positive() && ahead < SOON,
        }
    }
}

/// How far away an instant is, rounded: `ahead`, or ago if it is negative.
fn words(ahead: SignedDuration) -> String {
    const UNITS: [(u64, u64, &str); 5] = [
        // Below so many seconds it is counted in units of so many: so that none
        // is rounded up to what the next unit begins with.
        (3600 - 30, 60, "minute"),
        (2 * 86_400 - 1800, 3600, "hour"),
        (90 * 86_400 + 43_200, 86_400, "day"),
        (720 * 86_400 - 15 * 86_400, 30 * 86_400, "month"),
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

/// How many changes of an event are shown. A role's event can have two hundred.
const SHOWN_CHANGES: usize = 12;

/// The changes that a rotation's event names.
const REPLACED_BY: &str = "replacedBy";
const RETIRES_AT: &str = "retiresAt";

/// What people call an account's keys, by their ids.
#[derive(Default)]
pub(crate) struct KeyNames(BTreeMap<KeyId, (String, String)>);

/// A key that a history tells of.
pub(crate) struct ToldKey {
    pub(crate) id: KeyId,
    /// Its name and its last characters, where they are known.
    pub(crate) known: Option<(String, String)>,
}

/// What a rotation means for the key that it replaces.
pub(crate) struct ToldRotation {
    pub(crate) successor: Option<ToldKey>,
    /// Until when the old key works, if it is not revoked sooner. Nothing, if it
    /// was refused at once.
    pub(crate) until: Option<When>,
    /// Whether that is over.
    pub(crate) is_over: bool,
}

/// A line of a history.
pub(crate) struct Told {
    pub(crate) actor: String,
    /// What the actor did, such as `issued the key`.
    pub(crate) deed: String,
    /// What else, behind what it was done to.
    pub(crate) besides: &'static str,
    pub(crate) key: Option<ToldKey>,
    pub(crate) rotation: Option<ToldRotation>,
    /// The account's id and its name at that time, where it is not said anyway.
    pub(crate) account: Option<(AccountId, String)>,
    pub(crate) role: Option<RoleName>,
    /// `name`: from → to. The first of them.
    pub(crate) changes: Excerpt<(String, String, String)>,
    pub(crate) when: When,
    pub(crate) request_id: String,
}

impl KeyNames {
    /// Those of the keys that an account has, or has had of late.
    pub(crate) fn of(keys: &[Key], retired: &[RetiredKey]) -> Self {
        let live = keys.iter().map(|key| (key.id, (key.name.clone(), key.hint.clone())));
        let retired = retired.iter().filter_map(|key| Some((key.id, (key.name.clone()?, key.hint.clone()?))));
        Self(live.chain(retired).collect())
    }

    fn told(&self, id: KeyId) -> ToldKey {
        ToldKey { known: self.0.get(&id).cloned(), id }
    }
}

impl ToldRotation {
    fn of(event: &AuditEvent, keys: &KeyNames, now: Timestamp) -> Self {
        let to = |field: &str| {
            event.changes.iter().find(|change| change.field == field).map(|change| change.to.as_str())
        };
        let instant = |text: &str| text.parse::<Timestamp>().ok();
        let end = to(RETIRES_AT).and_then(instant);
        // Without a grace it ends in that very second.
        let has_grace = |end: &Timestamp| *end > event.at;
        Self {
            successor: to(REPLACED_BY).and_then(|id| id.parse().ok()).map(|id| keys.told(id)),
            until: end.filter(has_grace).map(|end| When::of(end, now)),
            is_over: end.is_some_and(|end| end <= now),
        }
    }
}

impl Told {
    /// A line of the history of its account, whose keys have these names.
    pub(crate) fn of(event: AuditEvent, keys: &KeyNames, now: Timestamp) -> Self {
        Self { account: None, ..Self::of_any(event, keys, now) }
    }

    /// A line of everybody's history, of whose keys some have these names.
    pub(crate) fn of_any(event: AuditEvent, keys: &KeyNames, now: Timestamp) -> Self {
        let deed = match event.r#type {
            EventType::ServiceAccountCreated => "created the account",
            EventType::ServiceAccountUpdated => "updated the account",
            EventType::ServiceAccountDeleted => "deleted the account",
            EventType::KeyIssued => "issued the key",
            EventType::KeyRotated => "rotated the key",
            EventType::KeyRevoked => "revoked the key",
            EventType::RoleCreated => "created the role",
            EventType::RoleUpdated => "updated the role",
            EventType::RoleDeleted => "deleted the role",
        };
        let besides = if event.r#type == EventType::ServiceAccountDeleted { "and its keys" } else { "" };
        let deed = match event.changes.as_slice() {
            [change] if change.field == "enabled" && change.to == "true" => "enabled the account",
            [change] if change.field == "enabled" => "disabled the account",
            _ => deed,
        };
        let is_switch = deed.starts_with("enabled") || deed.starts_with("disabled");
        // What is not told must not be what permits most.
        let is_rotation = event.r#type == EventType::KeyRotated;
        let rotation = is_rotation.then(|| ToldRotation::of(&event, keys, now));
        let changes = event.changes.iter().filter(|change| {
            let is_told = is_rotation && [REPLACED_BY, RETIRES_AT].contains(&change.field.as_str());
            !is_switch && !is_told
        });
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_cached_key(|change| width(&change.from).min(width(&change.to)));
        let changes = changes.into_iter().map(|change| {
            let FieldChange { field, from, to } = change;
            (field.clone(), from.clone(), to.clone())
        });
        Self {
            actor: event.actor.name,
            deed: deed.to_owned(),
            besides,
            rotation,
            key: event.key_id.map(|id| keys.told(id)),
            account: event.service_account_id.map(|id| {
                let name = event.service_account_name.unwrap_or_else(|| id.to_string());
                (id, name)
            }),
            role: event.role,
            changes: Excerpt::first(changes.collect(), SHOWN_CHANGES),
            when: When::of(event.at, now),
            request_id: event.request_id,
        }
    }
}
