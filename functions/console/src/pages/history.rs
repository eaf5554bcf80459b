//! `GET /accounts/{id}/history`: who did what to an account, and when.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use shared::domain::AccountId;

use super::request::{Cursor, id};
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::excerpt::{Excerpt, fit};
use crate::view::formatting::{KeyNames, Told};
use crate::view::layout::{Page, Shown};

const EVENTS: u8 = 50;

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    page: Page,
    id: AccountId,
    /// The account's name, as its newest event here has it.
    name: String,
    events: Excerpt<Told>,
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
    // A cursor is safe in an address as it is.
    let older = |cursor: Option<String>| cursor.map(|cursor| format!("{address}?cursor={cursor}"));
    let told = list.items.into_iter().map(|event| Told::of(event, &keys, visit.now()));
    let mut page = History {
        page: visit.page(),
        id,
        name: name.unwrap_or_else(|| id.to_string()),
        newest: Some(address.clone()).filter(|_| !cursor.is_empty()),
        older: older(list.next_cursor),
        events: Excerpt::whole(told.collect()),
    };
    fit(&mut page, |page| &mut page.events);
    if page.events.more() > 0 {
        page.older = older(visit.api().events(id, &cursor, page.events.limit()).await?.next_cursor);
    }
    Ok(visit.show(Shown(page)))
}
