//! `GET /accounts/{id}/history`: the audit events of an account.

use askama::Template;
use axum::extract::{Path, Query};
use shared::domain::AccountId;

use super::request::Cursor;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::{HistoryEntry, KeyNames};
use crate::view::layout::Page;

/// Events per page.
const EVENTS: u8 = 25;

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    page: Page,
    id: AccountId,
    /// The account's name in the newest event on the page.
    name: String,
    events: Vec<HistoryEntry>,
    /// The addresses of the first page and of the next page.
    newest: Option<String>,
    older: Option<String>,
}

pub(super) async fn show(
    session: Session,
    Path(id): Path<AccountId>,
    Query(Cursor { cursor }): Query<Cursor>,
) -> PageResult {
    let (list, read) = tokio::join!(session.api().events(id, &cursor, EVENTS), session.api().account(id));
    let list = list?;
    // For a deleted account, the history shows only the IDs of keys.
    let keys = read.map(|read| KeyNames::new(&read.keys, &read.retired_keys));
    let keys = keys.unwrap_or_default();
    let name = list.items.first().and_then(|event| event.service_account_name.clone());
    let address = format!("/accounts/{id}/history");
    let events = list.items.into_iter().map(|event| HistoryEntry::for_account(event, &keys, session.now()));
    let page = History {
        page: session.page(),
        id,
        name: name.unwrap_or_else(|| id.to_string()),
        older: list.next_cursor.map(|next| format!("{address}?cursor={next}")),
        newest: Some(address).filter(|_| !cursor.is_empty()),
        events: events.collect(),
    };
    session.show(page)
}
