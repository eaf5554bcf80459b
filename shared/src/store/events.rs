//! Audit events.

use std::ops::RangeInclusive;

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::apis;
use super::codec::{self, MalformedItem, Map, Reader, n, s};
use super::list::{AllEventsCursor, EventCursor, EventFilter, EventScope, MAX_LIMIT, Page, PageRequest};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, ApiName, ChangeRequest, Event, EventId, EventIdentity, EventKey, EventType,
    FederatedIdentity, FieldChange, GrantId, IssuerName, LiveKey, RoleName, Subject,
};

/// The maximum number of queries for one page of all events. A query reads at most
/// one month, which can be empty. A page that would need more queries is short and has
/// a cursor.
const MAX_QUERIES: usize = 24;

/// 2026-01-01T00:00:00Z. No event is older, because this software is not.
const FIRST_INSTANT: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// How far the clock of another machine, which sets an event's time, may be ahead
/// of this machine's clock.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// An event to record, without the actor, the request id and the time.
pub(super) struct NewEvent {
    pub(super) event_type: EventType,
    pub(super) subject: Subject,
    pub(super) keys: Vec<EventKey>,
    pub(super) identity: Option<EventIdentity>,
    pub(super) changes: Vec<FieldChange>,
}

impl NewEvent {
    /// An event of an account as a whole.
    pub(super) fn account(event_type: EventType, account: &Account) -> Self {
        Self::new(event_type, account_subject(account, None))
    }

    /// An event of one key of an account.
    pub(super) fn key(event_type: EventType, account: &Account, key: &LiveKey) -> Self {
        let subject = account_subject(account, Some(key.id.into()));
        Self { keys: vec![key.into()], ..Self::new(event_type, subject) }
    }

    /// An event of one federated identity of an account.
    pub(super) fn identity(event_type: EventType, account: &Account, identity: &FederatedIdentity) -> Self {
        let subject = account_subject(account, Some(identity.id.into()));
        Self { identity: Some(identity.into()), ..Self::new(event_type, subject) }
    }

    /// An event of a custom role.
    pub(super) fn role(event_type: EventType, name: &RoleName, changes: Vec<FieldChange>) -> Self {
        Self { changes, ..Self::new(event_type, Subject::Role(name.clone())) }
    }

    /// An event of a trusted issuer.
    pub(super) fn issuer(event_type: EventType, name: &IssuerName, changes: Vec<FieldChange>) -> Self {
        Self { changes, ..Self::new(event_type, Subject::Issuer(name.clone())) }
    }

    /// An event of a protected API.
    pub(super) fn api(event_type: EventType, name: &ApiName, changes: Vec<FieldChange>) -> Self {
        Self { changes, ..Self::new(event_type, Subject::Api(name.clone())) }
    }

    fn new(event_type: EventType, subject: Subject) -> Self {
        Self { event_type, subject, keys: Vec::new(), identity: None, changes: Vec::new() }
    }
}

fn account_subject(account: &Account, grant: Option<GrantId>) -> Subject {
    Subject::Account { id: account.id, name: account.name.to_string(), grant }
}

impl Store {
    /// The action that writes an event at the instant `at`. Commit it in the same
    /// transaction as the change.
    pub(super) fn record(
        &self,
        event: NewEvent,
        request: &ChangeRequest,
        at: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let id = EventId::generate(at, &*self.entropy)?;
        let mut item = codec::map([
            (attribute::TYPE, s(event.event_type.name())),
            (attribute::AT, n(at.as_millisecond())),
            (attribute::ACTOR, codec::actor(&request.actor)),
            (attribute::REQUEST_ID, s(&request.request_id)),
            (schema::INDEX_PK, schema::month_partition(at)),
            (schema::INDEX_SK, s(id)),
        ]);
        if let Subject::Account { name, grant, .. } = &event.subject {
            item.insert(attribute::ACCOUNT_NAME.to_owned(), s(name));
            item.extend(grant.map(|grant| (attribute::KEY.to_owned(), s(grant))));
        }
        let keys = event.keys.iter().map(|key| {
            let key_map = codec::map([(attribute::NAME, s(&key.name)), (attribute::HINT, s(&key.hint))]);
            (key.id.to_string(), AttributeValue::M(key_map))
        });
        let identity = event.identity.iter().map(|identity| {
            let identity_map = codec::map([(attribute::NAME, s(&identity.name))]);
            (identity.id.to_string(), AttributeValue::M(identity_map))
        });
        let grants: Map = keys.chain(identity).collect();
        if !grants.is_empty() {
            item.insert(attribute::KEYS.to_owned(), AttributeValue::M(grants));
        }
        if !event.changes.is_empty() {
            let changes = event.changes.iter().map(|change| {
                AttributeValue::M(codec::map([
                    (attribute::FIELD, s(&change.field)),
                    (attribute::FROM, s(&change.from)),
                    (attribute::TO, s(&change.to)),
                ]))
            });
            item.insert(attribute::CHANGES.to_owned(), AttributeValue::L(changes.collect()));
        }
        self.put_new(schema::event_key(&event.subject, id), item)
    }

    /// Lists an account's events, newest first, even if the account has been deleted.
    pub async fn list_events(
        &self,
        account: AccountId,
        page: &PageRequest<EventCursor>,
    ) -> Result<Page<Event, EventCursor>, StoreError> {
        let start = page.cursor.map(|cursor| schema::account_event_key(account, cursor.0));
        let answer = self
            .client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", schema::PK)
            .expression_attribute_values(":pk", schema::events_partition(account))
            .scan_index_forward(false)
            .consistent_read(true)
            // One more than requested, to find out whether there is a next page.
            .limit(page.limit.saturating_add(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let events = answer.items().iter().map(event).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(events, page.limit, |event| EventCursor(event.id)))
    }

    /// Lists the events of all accounts and roles, of one account or of one role, newest
    /// first.
    ///
    /// The index contains all events, in one partition for each month. This reads the
    /// months backwards until the page is full, the maximum number of queries is
    /// reached, or the first possible month has been read. The index can lag behind the
    /// table. Events of one account or role are read consistently.
    ///
    /// The events are filtered here, because a filter expression cannot ignore case.
    /// DynamoDB reads as many items with a filter expression as without.
    pub async fn list_all_events(
        &self,
        filter: &EventFilter,
        page: &PageRequest<AllEventsCursor>,
    ) -> Result<Page<Event, AllEventsCursor>, StoreError> {
        let first = filter.from.map_or(FIRST_INSTANT, |from| from.max(FIRST_INSTANT));
        let first = EventId::first_at(first);
        let latest = self.clock.now().saturating_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        let mut before = EventId::first_at(filter.to.map_or(latest, |to| to.min(latest)));
        if let Some(AllEventsCursor(cursor)) = page.cursor {
            before = before.min(cursor);
        }
        let wanted = usize::try_from(page.limit).unwrap_or(0);
        let mut events = Vec::new();
        for _ in 0..MAX_QUERIES {
            let Some(last) = before.previous().filter(|last| *last >= first) else {
                return Ok(Page::cut(events, page.limit, |event| AllEventsCursor(event.id)));
            };
            let range = match filter.scope {
                EventScope::Account(_) | EventScope::Role(_) | EventScope::Issuer(_) | EventScope::Api(_) => {
                    first..=last
                }
                EventScope::All => first.max(EventId::first_at(start_of_month(last.at())))..=last,
            };
            let answer = self.query_events(filter, &range, page.limit).await?;
            for item in answer.items() {
                events.extend(Some(event(item)?).filter(|event| filter.selects(event)));
            }
            if events.len() > wanted {
                return Ok(Page::cut(events, page.limit, |event| AllEventsCursor(event.id)));
            }
            before = match answer.last_evaluated_key() {
                Some(key) => Reader(key)
                    .parse(schema::SK, str::parse::<EventId>)
                    .map_err(|error| error.in_item("an event"))?,
                None => *range.start(),
            };
        }
        // There are months without events, or few events match the filter. Return a
        // short page with a cursor.
        let next = (before > first).then_some(AllEventsCursor(before));
        Ok(Page { items: events, next })
    }

    /// Queries the events in `range`, which is within one month for [`EventScope::All`].
    async fn query_events(
        &self,
        filter: &EventFilter,
        range: &RangeInclusive<EventId>,
        limit: i32,
    ) -> Result<QueryOutput, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :first AND :last")
            .expression_attribute_values(":first", s(range.start()))
            .expression_attribute_values(":last", s(range.end()))
            .scan_index_forward(false)
            .limit(if filter.is_selective() { i32::from(MAX_LIMIT) } else { limit.saturating_add(1) });
        let partition = match &filter.scope {
            EventScope::Account(account) => Some(schema::events_partition(*account)),
            EventScope::Role(role) => Some(schema::role_events_partition(role)),
            EventScope::Issuer(issuer) => Some(schema::issuer_events_partition(issuer)),
            EventScope::Api(api) => Some(schema::api_events_partition(api)),
            EventScope::All => None,
        };
        let query = match partition {
            Some(partition) => query
                .consistent_read(true)
                .expression_attribute_names("#pk", schema::PK)
                .expression_attribute_names("#sk", schema::SK)
                .expression_attribute_values(":pk", partition),
            None => query
                .index_name(schema::INDEX)
                .expression_attribute_names("#pk", schema::INDEX_PK)
                .expression_attribute_names("#sk", schema::INDEX_SK)
                .expression_attribute_values(":pk", schema::month_partition(range.end().at())),
        };
        query.send().await.map_err(StoreError::from_sdk)
    }
}

/// The start of the month of `at` (UTC).
fn start_of_month(at: Timestamp) -> Timestamp {
    let first = TimeZone::UTC.to_datetime(at).date().first_of_month();
    TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).unwrap_or(Timestamp::MIN)
}

/// The events that the actions of a transaction write.
pub(super) fn written(actions: &[TransactWriteItem]) -> Result<Vec<Event>, StoreError> {
    let puts = actions.iter().filter_map(TransactWriteItem::put).map(Put::item);
    puts.filter(|item| schema::is_event(item)).map(event).collect()
}

/// Whether it is confirmed that an event was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The event is in the table.
    Confirmed,
    /// The response to the transaction is missing, so the event may be in the table.
    Unconfirmed,
}

/// Logs an event on one line, with enough information to repeat the change. The line
/// has the names of all changed fields, and only the values that decide what keys can
/// do. Names and descriptions are free text and are left out.
pub(super) fn log(event: &Event, confirmation: Confirmation) {
    let (account, account_name, grant) = match &event.subject {
        Subject::Account { id, name, grant } => (Some(id.to_string()), Some(name), *grant),
        Subject::Role(_) | Subject::Issuer(_) | Subject::Api(_) => (None, None, None),
    };
    let (role_name, issuer_name, api_name) = match &event.subject {
        Subject::Account { .. } => (None, None, None),
        Subject::Role(name) => (Some(name.to_string()), None, None),
        Subject::Issuer(name) => (None, Some(name.to_string()), None),
        Subject::Api(name) => (None, None, Some(name.to_string())),
    };
    let changes_of = |field: &'static str| event.changes.iter().filter(move |change| change.field == field);
    let new_value = |field| changes_of(field).map(|change| change.to.as_str()).next();
    let permissions = |permission: fn(&FieldChange) -> &str| {
        let texts = changes_of(attribute::PERMISSIONS).map(permission).filter(|text| !text.is_empty());
        Some(texts.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
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
                key_id = grant.and_then(GrantId::key).map(|key| key.to_string()),
                identity_id = grant.and_then(GrantId::identity).map(|identity| identity.to_string()),
                role_name,
                issuer_name,
                api_name,
                changed = (!changed.is_empty()).then(|| changed.join(",")),
                role = new_value(attribute::ROLE),
                issuer = new_value(attribute::ISSUER),
                audience = new_value(attribute::AUDIENCE),
                claims = new_value(attribute::CLAIMS),
                jwks_uri = new_value("jwksUri"),
                base_url = new_value(attribute::BASE_URL),
                api_id = new_value(attribute::API_ID),
                route_prefix = new_value(attribute::ROUTE_PREFIX),
                confirmation = new_value(attribute::CONFIRMATION),
                tools = new_value(apis::TOOLS),
                enabled = new_value(attribute::ENABLED).map(|to| to == "true"),
                granted = permissions(|change| &change.to),
                withdrawn = permissions(|change| &change.from),
                decision = new_value(attribute::DECISION),
                replaced_by = new_value(attribute::REPLACED_BY),
                retires_at = new_value(attribute::RETIRES_AT),
                request_id = event.request_id,
                $message
            )
        };
    }
    match confirmation {
        Confirmation::Confirmed => line!(info, "audit"),
        Confirmation::Unconfirmed => line!(warn, "audit_unconfirmed"),
    }
}

fn event(item: &Map) -> Result<Event, StoreError> {
    let reader = Reader(item);
    let read = || -> Result<Event, MalformedItem> {
        let (keys, identity) = reader.optional(attribute::KEYS, Reader::event_grants)?.unwrap_or_default();
        Ok(Event {
            id: reader.parse(schema::SK, str::parse::<EventId>)?,
            event_type: reader.get(attribute::TYPE, |value| EventType::parse(codec::text(value)?))?,
            at: reader.milliseconds(attribute::AT)?,
            actor: reader.actor(attribute::ACTOR)?,
            subject: subject(reader)?,
            keys,
            identity,
            changes: reader
                .get_optional(attribute::CHANGES, |value| {
                    let changes = value.as_l().ok()?.iter();
                    changes.map(|change| field_change(Reader(change.as_m().ok()?)).ok()).collect()
                })?
                .unwrap_or_default(),
            request_id: reader.text(attribute::REQUEST_ID)?.to_owned(),
        })
    };
    read().map_err(|error| error.in_item("an event"))
}

/// The subject of an event. The partition shows whether it is an account, a role, an issuer or an API.
fn subject(reader: Reader<'_>) -> Result<Subject, MalformedItem> {
    let partition = reader.text(schema::PK)?;
    if let Some(name) = partition.strip_prefix(schema::partition::ROLE_EVENTS) {
        return reader.parse(schema::PK, |_| name.parse()).map(Subject::Role);
    }
    if let Some(name) = partition.strip_prefix(schema::partition::ISSUER_EVENTS) {
        return reader.parse(schema::PK, |_| name.parse()).map(Subject::Issuer);
    }
    if let Some(name) = partition.strip_prefix(schema::partition::API_EVENTS) {
        return reader.parse(schema::PK, |_| name.parse()).map(Subject::Api);
    }
    Ok(Subject::Account {
        id: reader.parse(schema::PK, |pk| {
            pk.strip_prefix(schema::partition::EVENTS).unwrap_or_default().parse::<AccountId>()
        })?,
        name: reader.text(attribute::ACCOUNT_NAME)?.to_owned(),
        grant: reader.get_optional(attribute::KEY, |value| codec::text(value)?.parse().ok())?,
    })
}

fn field_change(reader: Reader<'_>) -> Result<FieldChange, MalformedItem> {
    Ok(FieldChange {
        field: reader.text(attribute::FIELD)?.to_owned(),
        from: reader.text(attribute::FROM)?.to_owned(),
        to: reader.text(attribute::TO)?.to_owned(),
    })
}
