//! Audit events.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;

use super::codec::{self, Map, Problem, Reader, n, s};
use super::list::{Cursor, Page, PageRequest};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, Event, EventId, EventType, FieldChange, KeyId, Origin, RoleName, Subject,
};

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
        origin: &Origin,
        at: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let id = EventId::generate(at, &*self.entropy)?;
        let month = at.strftime("%Y-%m");
        let mut item = Map::from([
            (attribute::TYPE.to_owned(), s(happened.event_type.name())),
            (attribute::AT.to_owned(), n(at.as_millisecond())),
            (attribute::ACTOR.to_owned(), codec::actor(&origin.actor)),
            (attribute::REQUEST_ID.to_owned(), s(&origin.request_id)),
            (schema::INDEX_PK.to_owned(), s(format!("{}{month}", schema::partition::EVENTS))),
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
            Some(Cursor::Account { .. } | Cursor::Role(_)) | None => None,
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
