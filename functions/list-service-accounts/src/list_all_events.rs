//! `GET /iam/v1/events`: lists all audit events.

use serde::Deserialize;
use shared::domain::{AccountId, EventType, parse_instant};
use shared::http::representation::{AuditEvent, List};
use shared::http::{Failure, Paging, Problem, Reply, Request};
use shared::store::{Cursor, EventFilter};

use crate::ListServiceAccounts;

/// The query of the list of all events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    actor: Option<String>,
    account: Option<String>,
    r#type: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl EventsQuery {
    /// What is asked for, and which page of it.
    fn read(self) -> Result<(EventFilter, Paging), Failure> {
        let malformed = |problem: String| Failure::MalformedRequest(format!("In the query, {problem}."));
        if self.actor.as_deref() == Some("") {
            return Err(malformed("`actor` must be a person's id or name".to_owned()));
        }
        let account = self.account.map(|id| id.parse::<AccountId>()).transpose();
        let event_type = self.r#type.map(|name| {
            let known = || EventType::ALL.iter().map(|known| known.name()).collect::<Vec<_>>().join(", ");
            EventType::parse(&name).ok_or_else(|| malformed(format!("`type` must be one of {}", known())))
        });
        let instant = |name: &str, text: Option<String>| {
            let parsed = text.map(|text| parse_instant(&text)).transpose();
            parsed.map_err(|error| malformed(format!("`{name}` is not acceptable: {error}")))
        };
        let filter = EventFilter {
            actor: self.actor,
            account: account.map_err(|error| malformed(format!("`account` is not acceptable: {error}")))?,
            event_type: event_type.transpose()?,
            from: instant("from", self.from)?,
            to: instant("to", self.to)?,
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from > to) {
            return Err(malformed("`from` must not be later than `to`".to_owned()));
        }
        Ok((filter, Paging { cursor: self.cursor, limit: self.limit }))
    }
}

/// List all events
///
/// Of all service accounts, deleted ones among them, the newest first. The list
/// may be a moment behind; with `account` it never is. A page may have fewer
/// items than `limit`, or none, and still name a next one.
#[utoipa::path(
    get,
    path = "/iam/v1/events",
    operation_id = "listAllEvents",
    tag = "Events",
    params(
        ("actor" = Option<String>, Query, description = "Only those by the person of this id or name, as events show it"),
        ("account" = Option<String>, Query, description = "Only those of the account of this id"),
        ("type" = Option<String>, Query, description = "Only those of this type, such as `key.revoked`"),
        ("from" = Option<String>, Query, format = DateTime, description = "Only those at this instant (RFC 3339) and later"),
        ("to" = Option<String>, Query, format = DateTime, description = "Only those before this instant (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses((status = 200, description = "A page", body = List<AuditEvent>), (status = 400, body = Problem))
)]
pub async fn list_all_events(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let query: EventsQuery = request.query()?;
    let (filter, paging) = query.read()?;
    let page = paging.page(Cursor::decode_all_events)?;
    let events = function.store.list_all_events(&filter, &page).await?;
    Ok(Reply::ok(&List::of(events, AuditEvent::from)))
}
