//! Audit events.

use std::ops::RangeInclusive;

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::codec::{self, Map, Problem, Reader, n, s};
use super::list::{Cursor, EventFilter, MAX_LIMIT, Page, PageRequest};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, ChangeRequest, Event, EventId, EventType, FieldChange, KeyId, RoleName, Subject,
};

/// Queries that one page of all events may cost, and with it the months without
/// events that it walks over. Where that is not enough, the page is short and
/// names where to go on.
const MAX_QUERIES: usize = 24;

/// No event is older than this software: 2026-01-01T00:00:00Z.
const FIRST_INSTANT: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// How far another machine's clock, which an event's time was taken from, may be
/// ahead of this one's.
const MOST_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// What an event tells beside who, when and in which request.
pub(super) struct Happened {
    pub(super) event_type: EventType,
    pub(super) subject: Subject,
    pub(super) changes: Vec<FieldChange>,
}

impl Happened {
    /// Something happened to `account` as a whole.
    pub(super) fn to(event_type: EventType, account: &Account) -> Self {
        Self::to_part(event_type, account, None)
    }

    /// Something happened to a key of `account`.
    pub(super) fn to_key(event_type: EventType, account: &Account, key: KeyId) -> Self {
        Self::to_part(event_type, account, Some(key))
    }

    fn to_part(event_type: EventType, account: &Account, key: Option<KeyId>) -> Self {
        let subject = Subject::Account { id: account.id, name: account.name.to_string(), key };
        Self { event_type, subject, changes: Vec::new() }
    }

    /// Something happened to the custom role `name`.
    pub(super) fn to_role(event_type: EventType, name: &RoleName, changes: Vec<FieldChange>) -> Self {
        Self { event_type, subject: Subject::Role(name.clone()), changes }
    }
}

impl Store {
    /// The action that writes an event of the instant `at`, to stand in the
    /// transaction of the change that it tells of.
    pub(super) fn record(
        &self,
        happened: Happened,
        request: &ChangeRequest,
        at: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let id = EventId::generate(at, &*self.entropy)?;
        let mut item = Map::from([
            (attribute::TYPE.to_owned(), s(happened.event_type.name())),
            (attribute::AT.to_owned(), n(at.as_millisecond())),
            (attribute::ACTOR.to_owned(), codec::actor(&request.actor)),
            (attribute::REQUEST_ID.to_owned(), s(&request.request_id)),
            (schema::INDEX_PK.to_owned(), schema::month_partition(at)),
            (schema::INDEX_SK.to_owned(), s(id)),
        ]);
        if let Subject::Account { name, key, .. } = &happened.subject {
            item.insert(attribute::ACCOUNT_NAME.to_owned(), s(name));
            item.extend(key.map(|key| (attribute::KEY.to_owned(), s(key))));
        }
        if !happened.changes.is_empty() {
            let changes = happened.changes.iter().map(|change| {
                codec::m([
                    (attribute::FIELD, s(&change.field)),
                    (attribute::FROM, s(&change.from)),
                    (attribute::TO, s(&change.to)),
                ])
            });
            item.insert(attribute::CHANGES.to_owned(), AttributeValue::L(changes.collect()));
        }
        self.put_new(schema::event_key(&happened.subject, id), item)
    }

    /// An account's events, the newest first. A deleted account's too.
    ///
    /// # Errors
    /// When the table cannot be reached, or an event is not well-formed.
    pub async fn list_events(
        &self,
        account: AccountId,
        page: &PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let start = match &page.cursor {
            Some(Cursor::Event(event)) => Some(schema::account_event_key(account, *event)),
            Some(Cursor::Account { .. } | Cursor::AllEvents(_) | Cursor::Role(_)) | None => None,
        };
        let answer = self
            .client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", schema::PK)
            .expression_attribute_values(":pk", schema::events_partition(account))
            .scan_index_forward(false)
            .consistent_read(true)
            // One more than asked for tells whether there is a next page.
            .limit(page.limit.saturating_add(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let events = answer.items().iter().map(event).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(events, page.limit, |event| Cursor::Event(event.id)))
    }

    /// The events of all accounts, the newest first, or those of one account.
    ///
    /// All of them are in the index, which may be a moment behind, month by
    /// month: the list walks back from month to month, as many as a page may
    /// cost, to the first month in which there can be one. An account's own are
    /// read consistently.
    ///
    /// # Errors
    /// When the table cannot be reached, or an event is not well-formed.
    pub async fn list_all_events(
        &self,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let first = filter.from.map_or(FIRST_INSTANT, |from| from.max(FIRST_INSTANT));
        let first = EventId::first_at(first);
        let latest = self.clock.now().saturating_add(MOST_AHEAD).unwrap_or(Timestamp::MAX);
        let mut before = EventId::first_at(filter.to.map_or(latest, |to| to.min(latest)));
        if let Some(Cursor::AllEvents(cursor)) = page.cursor {
            before = before.min(cursor);
        }
        let wanted = usize::try_from(page.limit).unwrap_or(0);
        let mut events = Vec::new();
        for _ in 0..MAX_QUERIES {
            let Some(last) = before.previous().filter(|last| *last >= first) else {
                return Ok(Page::cut(events, page.limit, |event| Cursor::AllEvents(event.id)));
            };
            let range = match filter.account {
                Some(_) => first..=last,
                None => first.max(EventId::first_at(start_of_month(last.at())))..=last,
            };
            let answer = self.query_events(filter, &range, page.limit).await?;
            for item in answer.items() {
                events.push(event(item)?);
            }
            if events.len() > wanted {
                return Ok(Page::cut(events, page.limit, |event| Cursor::AllEvents(event.id)));
            }
            before = match answer.last_evaluated_key() {
                Some(key) => Reader(key)
                    .parse(schema::SK, str::parse::<EventId>)
                    .map_err(|problem| problem.in_item("an event"))?,
                None => *range.start(),
            };
        }
        // Months without events, or a filter that few events pass: a short
        // page, and where to go on.
        let next = (before > first).then_some(Cursor::AllEvents(before));
        Ok(Page { items: events, next })
    }

    /// The events of `range`, which lies within one month or is of one account.
    async fn query_events(
        &self,
        filter: &EventFilter,
        range: &RangeInclusive<EventId>,
        limit: i32,
    ) -> Result<QueryOutput, StoreError> {
        let is_filtered = filter.actor.is_some() || filter.event_type.is_some();
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :first AND :last")
            .expression_attribute_values(":first", s(range.start()))
            .expression_attribute_values(":last", s(range.end()))
            .scan_index_forward(false)
            .limit(if is_filtered { i32::from(MAX_LIMIT) } else { limit.saturating_add(1) });
        let mut query = match filter.account {
            Some(account) => query
                .consistent_read(true)
                .expression_attribute_names("#pk", schema::PK)
                .expression_attribute_names("#sk", schema::SK)
                .expression_attribute_values(":pk", schema::events_partition(account)),
            None => query
                .index_name(schema::INDEX)
                .expression_attribute_names("#pk", schema::INDEX_PK)
                .expression_attribute_names("#sk", schema::INDEX_SK)
                .expression_attribute_values(":pk", schema::month_partition(range.end().at())),
        };
        let mut conditions = Vec::new();
        if let Some(actor) = &filter.actor {
            conditions.push("(#actor.#id = :actor OR #actor.#name = :actor)");
            query = query
                .expression_attribute_names("#actor", attribute::ACTOR)
                .expression_attribute_names("#id", attribute::ID)
                .expression_attribute_names("#name", attribute::NAME)
                .expression_attribute_values(":actor", s(actor));
        }
        if let Some(event_type) = filter.event_type {
            conditions.push("#type = :type");
            query = query
                .expression_attribute_names("#type", attribute::TYPE)
                .expression_attribute_values(":type", s(event_type.name()));
        }
        if is_filtered {
            query = query.filter_expression(conditions.join(" AND "));
        }
        query.send().await.map_err(StoreError::from_sdk)
    }
}

/// The start of the month of `at` (UTC).
fn start_of_month(at: Timestamp) -> Timestamp {
    let first = TimeZone::UTC.to_datetime(at).date().first_of_month();
    TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).unwrap_or(Timestamp::MIN)
}

/// The events that these actions of a transaction write.
pub(super) fn written(actions: &[TransactWriteItem]) -> Result<Vec<Event>, StoreError> {
    let puts = actions.iter().filter_map(TransactWriteItem::put).map(Put::item);
    puts.filter(|item| schema::is_event(item)).map(event).collect()
}

/// Whether an event has happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It is in the table.
    Committed,
    /// Nobody has answered whether it is.
    Unknown,
}

/// Logs an event on one line, so that what was done can be done again from the
/// log alone. Of a change it has the fields' names, and only those values that
/// decide what keys may do: names and descriptions are people's own words.
pub(super) fn log(event: &Event, certainty: Certainty) {
    let (account, account_name, key, role_name) = match &event.subject {
        Subject::Account { id, name, key } => (Some(id.to_string()), Some(name), *key, None),
        Subject::Role(name) => (None, None, None, Some(name.to_string())),
    };
    let of = |field: &'static str| event.changes.iter().filter(move |change| change.field == field);
    let became = |field| of(field).map(|change| change.to.as_str()).next();
    let permissions = |permission: fn(&FieldChange) -> &str| {
        let some = of(attribute::PERMISSIONS).map(permission).filter(|permission| !permission.is_empty());
        Some(some.collect::<Vec<_>>().join("; ")).filter(|some| !some.is_empty())
    };
    let mut changed: Vec<&str> = event.changes.iter().map(|change| change.field.as_str()).collect();
    changed.dedup();
    macro_rules! line {
        ($log:ident, $message:literal) => {
            tracing::$log!(
                event_id = %event.id,
                "type" = event.event_type.name(),
                at = %format_args!("{:.3}", event.at),
                actor_id = event.actor.id,
                actor_name = event.actor.name,
                account_id = account,
                account_name,
                key_id = key.map(|key| key.to_string()),
                role_name,
                changed = (!changed.is_empty()).then(|| changed.join(",")),
                role = became(attribute::ROLE),
                enabled = became(attribute::ENABLED).map(|to| to == "true"),
                granted = permissions(|change| &change.to),
                withdrawn = permissions(|change| &change.from),
                replaced_by = became(attribute::REPLACED_BY),
                retires_at = became(attribute::RETIRES_AT),
                request_id = event.request_id,
                $message
            )
        };
    }
    match certainty {
        Certainty::Committed => line!(info, "audit"),
        Certainty::Unknown => line!(warn, "audit_unconfirmed"),
    }
}

fn event(item: &Map) -> Result<Event, StoreError> {
    let reader = Reader(item);
    let read = || -> Result<Event, Problem> {
        Ok(Event {
            id: reader.parse(schema::SK, str::parse::<EventId>)?,
            event_type: reader.get(attribute::TYPE, |value| EventType::parse(codec::text(value)?))?,
            at: reader.milliseconds(attribute::AT)?,
            actor: reader.actor(attribute::ACTOR)?,
            subject: subject(reader)?,
            changes: reader
                .get_optional(attribute::CHANGES, |value| {
                    let changes = value.as_l().ok()?.iter();
                    changes.map(|change| field_change(Reader(change.as_m().ok()?)).ok()).collect()
                })?
                .unwrap_or_default(),
            request_id: reader.text(attribute::REQUEST_ID)?.to_owned(),
        })
    };
    read().map_err(|problem| problem.in_item("an event"))
}

/// What an event is about, by its partition.
fn subject(reader: Reader<'_>) -> Result<Subject, Problem> {
    if reader.text(schema::PK)?.starts_with(schema::partition::ROLE_EVENTS) {
        let name = |pk: &str| pk.strip_prefix(schema::partition::ROLE_EVENTS).unwrap_or_default().parse();
        return reader.parse(schema::PK, name).map(Subject::Role);
    }
    Ok(Subject::Account {
        id: reader.parse(schema::PK, |pk| {
            pk.strip_prefix(schema::partition::EVENTS).unwrap_or_default().parse::<AccountId>()
        })?,
        name: reader.text(attribute::ACCOUNT_NAME)?.to_owned(),
        key: reader.get_optional(attribute::KEY, |value| codec::text(value)?.parse::<KeyId>().ok())?,
    })
}

fn field_change(reader: Reader<'_>) -> Result<FieldChange, Problem> {
    Ok(FieldChange {
        field: reader.text(attribute::FIELD)?.to_owned(),
        from: reader.text(attribute::FROM)?.to_owned(),
        to: reader.text(attribute::TO)?.to_owned(),
    })
}
