//! Texts for instants and audit events.

use std::collections::BTreeMap;

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::{SignedDuration, Timestamp};
use shared::api::{AuditEvent, Key, RetiredKey, RevokedKeys};
use shared::domain::{
    AccountId, ApiName, EventType, FieldChange, IdentityId, IssuerName, KeyId, ReviewDecision, RoleName,
};

use crate::view::excerpt::Excerpt;
use crate::view::permissions::width;

/// A key that expires within this time needs attention.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// An instant, relative and exact.
#[derive(Template)]
#[template(path = "when.html")]
pub(crate) struct TimeText {
    /// For example, `in 3 days`.
    pub(crate) words: String,
    /// For example, `2026-11-24 07:56:39 UTC`.
    pub(crate) exact: String,
    /// Whether the instant is in the next 14 days.
    pub(crate) is_soon: bool,
}

/// The template escapes its values.
impl HtmlSafe for TimeText {}

impl TimeText {
    /// The instant `at`, relative to `now`.
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        let ahead = at.duration_since(now);
        Self {
            words: words(ahead),
            exact: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            is_soon: ahead.is_positive() && ahead < SOON,
        }
    }
}

/// The rounded distance to an instant. A negative `ahead` is in the past.
fn words(ahead: SignedDuration) -> String {
    const UNITS: [(u64, u64, &str); 5] = [
        // Upper limit and length of each unit in seconds. The limits keep a value from being
        // rounded up to the start of the next unit.
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

/// A number with its unit, in singular or plural.
pub(crate) fn count(number: u64, unit: &str) -> String {
    if number == 1 { format!("1 {unit}") } else { format!("{} {unit}s", thousands(number)) }
}

/// What a revocation of all keys ended, for example `2 keys revoked and 1 federated identity ended`.
pub(crate) fn revoked_words(revoked: &RevokedKeys) -> String {
    let number = |ids: usize| u64::try_from(ids).unwrap_or(u64::MAX);
    let keys = count(number(revoked.revoked_key_ids.len()), "key");
    match number(revoked.ended_identity_ids.len()) {
        0 => format!("{keys} revoked"),
        1 => format!("{keys} revoked and 1 federated identity ended"),
        identities => format!("{keys} revoked and {identities} federated identities ended"),
    }
}

/// For example, `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", thousands(number / 1000), number % 1000)
}

/// How many changes of an event are shown. An event of a role can have 200 changes.
const SHOWN_CHANGES: usize = 12;

/// Fields in the event of a rotation.
const REPLACED_BY: &str = "replacedBy";
const RETIRES_AT: &str = "retiresAt";

/// Fields in the event of an access review.
const DECISION: &str = "decision";
const NOTE: &str = "note";

/// The names and last characters of keys, by ID.
#[derive(Default)]
pub(crate) struct KeyNames(BTreeMap<KeyId, (String, String)>);

/// A key to link to.
pub(crate) struct KeyReference {
    pub(crate) account: AccountId,
    pub(crate) id: KeyId,
    /// The key's name and last characters, if known.
    pub(crate) known: Option<(String, String)>,
}

/// A federated identity to link to.
pub(crate) struct IdentityReference {
    pub(crate) account: AccountId,
    pub(crate) id: IdentityId,
    pub(crate) name: String,
}

/// The consequences of a rotation for the old key.
pub(crate) struct RotationSummary {
    pub(crate) successor: Option<KeyReference>,
    /// The end of the grace period. `None` if the rotation had no grace period.
    pub(crate) until: Option<TimeText>,
    /// Whether the old key no longer works.
    pub(crate) is_over: bool,
}

/// An entry of a history.
pub(crate) struct HistoryEntry {
    pub(crate) actor: String,
    /// What the actor did, for example `issued the key`.
    pub(crate) action: &'static str,
    /// The text after the account.
    pub(crate) suffix: &'static str,
    pub(crate) key: Option<KeyReference>,
    pub(crate) identity: Option<IdentityReference>,
    pub(crate) rotation: Option<RotationSummary>,
    /// The account's ID and its name at that time. `None` in the account's own history.
    pub(crate) account: Option<(AccountId, String)>,
    pub(crate) role: Option<RoleName>,
    pub(crate) issuer: Option<IssuerName>,
    pub(crate) api: Option<ApiName>,
    pub(crate) changes: Excerpt<FieldChange>,
    /// The note of an access review. Empty if there is none.
    pub(crate) note: String,
    pub(crate) when: TimeText,
    pub(crate) request_id: String,
}

/// The label of an event type, and what the actor did.
pub(crate) fn event_words(event: EventType) -> (&'static str, &'static str) {
    match event {
        EventType::ServiceAccountCreated => ("Account created", "created the account"),
        EventType::ServiceAccountUpdated => ("Account updated", "updated the account"),
        EventType::ServiceAccountDeleted => ("Account deleted", "deleted the account"),
        EventType::ServiceAccountReviewed => ("Access reviewed", "reviewed the access of the account"),
        EventType::KeyIssued => ("Key issued", "issued the key"),
        EventType::KeyRotated => ("Key rotated", "rotated the key"),
        EventType::KeyRevoked => ("Key revoked", "revoked the key"),
        EventType::FederatedIdentityCreated => ("Federated identity added", "added the federated identity"),
        EventType::FederatedIdentityDeleted => ("Federated identity ended", "ended the federated identity"),
        EventType::RoleCreated => ("Role created", "created the role"),
        EventType::RoleUpdated => ("Role updated", "updated the role"),
        EventType::RoleDeleted => ("Role deleted", "deleted the role"),
        EventType::IssuerCreated => ("Trusted issuer added", "added the trusted issuer"),
        EventType::IssuerUpdated => ("Trusted issuer updated", "updated the trusted issuer"),
        EventType::IssuerDeleted => ("Trusted issuer deleted", "deleted the trusted issuer"),
        EventType::ApiRegistered => ("Protected API registered", "registered the protected API"),
        EventType::ApiChanged => ("Protected API changed", "changed the protected API"),
        EventType::ApiDeleted => ("Protected API deleted", "deleted the protected API"),
    }
}

impl KeyNames {
    /// The active and the retired keys of an account.
    pub(crate) fn new(keys: &[Key], retired: &[RetiredKey]) -> Self {
        let live = keys.iter().map(|key| (key.id, (key.name.clone(), key.hint.clone())));
        let retired = retired.iter().filter_map(|key| Some((key.id, (key.name.clone()?, key.hint.clone()?))));
        Self(live.chain(retired).collect())
    }

    /// A reference to a key that `event` names.
    fn in_event(&self, event: &AuditEvent, account: AccountId, id: KeyId) -> KeyReference {
        let named = event.keys.iter().find(|key| key.id == id);
        let named = named.map(|key| (key.name.clone(), key.hint.clone()));
        // Events that an earlier version recorded have no names.
        KeyReference { known: named.or_else(|| self.0.get(&id).cloned()), account, id }
    }

    /// A reference to the key `id` of `account`.
    pub(crate) fn reference(&self, account: AccountId, id: KeyId) -> KeyReference {
        KeyReference { known: self.0.get(&id).cloned(), account, id }
    }
}

/// The new value of a field in an event.
fn new_value<'e>(event: &'e AuditEvent, field: &str) -> Option<&'e str> {
    event.changes.iter().find(|change| change.field == field).map(|change| change.to.as_str())
}

/// The key that a rotation issued.
pub(crate) fn successor(event: &AuditEvent) -> Option<KeyId> {
    new_value(event, REPLACED_BY).and_then(|id| id.parse().ok())
}

/// What the actor answered in an access review.
fn review_words(event: &AuditEvent) -> Option<&'static str> {
    if event.r#type != EventType::ServiceAccountReviewed {
        return None;
    }
    new_value(event, DECISION).and_then(ReviewDecision::parse).map(|decision| match decision {
        ReviewDecision::Keep => "confirmed the access of the account",
        ReviewDecision::Narrow => "decided to narrow the access of the account",
        ReviewDecision::Revoke => "decided to revoke the access of the account",
    })
}

impl RotationSummary {
    fn new(event: &AuditEvent, keys: &KeyNames, now: Timestamp) -> Self {
        let instant = |text: &str| text.parse::<Timestamp>().ok();
        let end = new_value(event, RETIRES_AT).and_then(instant);
        // Without a grace period, the old key ends at the time of the event.
        let has_grace = |end: &Timestamp| *end > event.at;
        Self {
            successor: successor(event)
                .zip(event.service_account_id)
                .map(|(id, account)| keys.in_event(event, account, id)),
            until: end.filter(has_grace).map(|end| TimeText::new(end, now)),
            is_over: end.is_some_and(|end| end <= now),
        }
    }
}

impl HistoryEntry {
    /// An entry in the history of one account.
    pub(crate) fn for_account(event: AuditEvent, keys: &KeyNames, now: Timestamp) -> Self {
        Self { account: None, ..Self::new(event, keys, now) }
    }

    /// An entry in the history of all accounts.
    pub(crate) fn new(event: AuditEvent, keys: &KeyNames, now: Timestamp) -> Self {
        let (_, action) = event_words(event.r#type);
        let suffix = if event.r#type == EventType::ServiceAccountDeleted {
            "and its keys and federated identities"
        } else {
            ""
        };
        let (action, is_switch) = match event.changes.as_slice() {
            [change] if change.field == "enabled" && change.to == "true" => ("enabled the account", true),
            [change] if change.field == "enabled" => ("disabled the account", true),
            _ => (review_words(&event).unwrap_or(action), false),
        };
        let is_rotation = event.r#type == EventType::KeyRotated;
        let is_review = event.r#type == EventType::ServiceAccountReviewed;
        let note = new_value(&event, NOTE).filter(|_| is_review).unwrap_or_default().to_owned();
        let rotation = is_rotation.then(|| RotationSummary::new(&event, keys, now));
        let key = event.key_id.zip(event.service_account_id);
        let key = key.map(|(id, account)| keys.in_event(&event, account, id));
        let identity = event.federated_identity.zip(event.service_account_id);
        let identity = identity.map(|(identity, account)| IdentityReference {
            account,
            id: identity.id,
            name: identity.name,
        });
        let changes = event.changes.iter().filter(|change| {
            let field = change.field.as_str();
            let is_in_summary = (is_rotation && [REPLACED_BY, RETIRES_AT].contains(&field))
                || (is_review && [DECISION, NOTE].contains(&field));
            !is_switch && !is_in_summary
        });
        let mut changes: Vec<_> = changes.cloned().collect();
        // The permissions that permit most come first, so that the excerpt contains them.
        changes.sort_by_cached_key(|change| width(&change.from).min(width(&change.to)));
        Self {
            actor: event.actor.name,
            action,
            suffix,
            rotation,
            note,
            key,
            identity,
            account: event.service_account_id.map(|id| {
                let name = event.service_account_name.unwrap_or_else(|| id.to_string());
                (id, name)
            }),
            role: event.role,
            issuer: event.issuer,
            api: event.api,
            changes: Excerpt::first(changes, SHOWN_CHANGES),
            when: TimeText::new(event.at, now),
            request_id: event.request_id,
        }
    }
}
