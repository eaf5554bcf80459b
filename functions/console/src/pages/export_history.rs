//! `GET /history/export`: audit events as a CSV or JSON file, with the filters of the history.

use axum::extract::Query;
use serde::Deserialize;
use shared::api::AuditEvent;
use shared::domain::EventKey;
use tokio::time::{Instant, timeout_at};

use super::export_accounts::{API_FAILED, LIMIT, OUT_OF_TIME};
use super::history::Form as Filters;
use crate::api::{EventsQuery, MAX_PAGE_SIZE};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::export::{Column, Export, ExportFormat};
use crate::view::form::FormError;

/// The largest number of events in an export.
const MAX_EVENTS: usize = 10_000;

const COLUMNS: &[Column<AuditEvent>] = &[
    ("id", |event| event.id.to_string().into()),
    ("at", |event| format!("{:.3}", event.at).into()),
    ("type", |event| event.r#type.name().into()),
    ("actorId", |event| event.actor.id.clone().into()),
    ("actorName", |event| event.actor.name.clone().into()),
    ("accountId", |event| event.service_account_id.map(|id| id.to_string()).into()),
    ("accountName", |event| event.service_account_name.clone().into()),
    ("keyId", |event| event.key_id.map(|id| id.to_string()).into()),
    ("keyName", |event| key(event).map(|key| key.name.clone()).into()),
    ("keyHint", |event| key(event).map(|key| key.hint.clone()).into()),
    ("role", |event| event.role.as_ref().map(ToString::to_string).into()),
    ("changes", |event| {
        let changes = event.changes.iter();
        changes.map(|change| format!("{}: {} → {}", change.field, change.from, change.to)).collect()
    }),
    ("requestId", |event| event.request_id.clone().into()),
];

/// The key of an event.
fn key(event: &AuditEvent) -> Option<&EventKey> {
    event.keys.iter().find(|key| Some(key.id) == event.key_id)
}

#[derive(Deserialize)]
pub(super) struct Form {
    format: ExportFormat,
}

pub(super) async fn download(
    session: Session,
    Query(form): Query<Form>,
    Query(filters): Query<Filters>,
) -> PageResult {
    // The page with the link checks the filters and shows their errors.
    let query = filters.query(&session, MAX_PAGE_SIZE).await.map_err(|error| match error {
        FormError::Invalid(_) => PageError::PageNotFound,
        FormError::Page(error) => error,
    })?;
    let export = read(&session, query, form.format).await?;
    export.into_response(&format!("keyward-{}-history", session.console.environment.as_str()), session.now())
}

/// Reads the pages of the list. A failure after the first page only truncates the export.
async fn read(
    session: &Session,
    mut query: EventsQuery,
    format: ExportFormat,
) -> PageResult<Export<AuditEvent>> {
    let mut export = Export::new(format, COLUMNS);
    let deadline = Instant::now() + LIMIT;
    let mut is_first = true;
    while !export.is_truncated() {
        let found = match timeout_at(deadline, session.api().all_events(&query)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if is_first => return Err(error.into()),
            Ok(Err(_)) => {
                export.truncate(API_FAILED);
                break;
            }
            Err(_) => {
                export.truncate(OUT_OF_TIME);
                break;
            }
        };
        is_first = false;
        for event in &found.list.items {
            export.push(event)?;
        }
        let Some(next) = found.list.next_cursor else { break };
        query.cursor = next;
        if export.rows() >= MAX_EVENTS {
            export.truncate("an export has at most 10,000 events");
        }
    }
    Ok(export)
}
