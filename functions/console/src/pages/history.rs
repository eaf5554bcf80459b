//! `GET /accounts/{id}/history`: who did what to an account, and when.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use shared::domain::AccountId;

use super::request::{Cursor, id};
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::formatting::{KeyNames, Told};
use crate::view::layout::{Page, Shown};

/// Events per page.
const EVENTS: u8 = 25;

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    page: Page,
    id: AccountId,
    /// The account's name, as its newest event here has it.
    name: String,
    events: Vec<Told>,
    /// The addresses of the first page and of the next one.
    newest: Option<String>,
    older: Option<String>,
}

pub(super) async fn show(
    visit: Visit,
    Path(account): Path<String>,
    Query(Cursor { cursor }): Query<Cursor>,
) -> Result<Response, PageError> {
    let id: AccountId = id(&account)?;
    let (list, read) = tokio::join!(visit.api().events(id, &cursor, EVENTS), visit.api().account(id));
    let list = list?;
    // A deleted account's keys have their ids alone.
    let keys = read.map(|read| KeyNames::of(&read.account.keys, &read.account.retired_keys));
    let keys = keys.unwrap_or_default();
    let name = list.items.first().and_then(|event| event.service_account_name.clone());
    let address = format!("/accounts/{id}/history");
    let told = list.items.into_iter().map(|event| Told::of(event, &keys, visit.now()));
    let page = History {
        page: visit.page(),
        id,
        name: name.unwrap_or_else(|| id.to_string()),
        older: list.next_cursor.map(|next| format!("{address}?cursor={next}")),
        newest: Some(address).filter(|_| !cursor.is_empty()),
        events: told.collect(),
    };
    Ok(visit.show(Shown(page)))
}
