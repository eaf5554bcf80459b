//! `GET /accounts/{id}/keys/retired`: the keys of an account that are no longer
//! good.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use jiff::Timestamp;
use shared::api::{RetiredKey, ServiceAccount};
use shared::domain::RetiredReason;

use super::request::{After, id};
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::formatting::When;
use crate::view::layout::{Page, Shown};
use crate::view::usage::Uses;

/// So many are on a page: it stays small, whatever they are called.
const SHOWN: usize = 25;

/// A retired key, as it is shown.
pub(super) struct RetiredRow {
    pub(super) key: RetiredKey,
    pub(super) ended: When,
    pub(super) uses: Uses,
}

impl RetiredRow {
    pub(super) fn of(key: RetiredKey, now: Timestamp) -> Self {
        Self { ended: When::of(key.retired_at, now), uses: Uses::of(&key.usage, now), key }
    }

    pub(super) fn why(&self) -> &'static str {
        match self.key.reason {
            RetiredReason::Revoked => "Revoked",
            RetiredReason::Expired => "Expired",
            RetiredReason::Rotated => "Rotated",
        }
    }
}

#[derive(Template)]
#[template(path = "retired_keys.html")]
struct RetiredKeys {
    page: Page,
    account: ServiceAccount,
    rows: Vec<RetiredRow>,
    /// The addresses of the first page and of the next one.
    newest: Option<String>,
    older: Option<String>,
}

pub(super) async fn show(
    visit: Visit,
    Path(account): Path<String>,
    Query(After { after }): Query<After>,
) -> Result<Response, PageError> {
    let read = visit.api().account(id(&account)?).await?.account;
    let address = format!("/accounts/{}/keys/retired", read.account.id);
    let next = Some(after.saturating_add(SHOWN)).filter(|next| *next < read.retired_keys.len());
    let page = RetiredKeys {
        page: visit.page(),
        older: next.map(|next| format!("{address}?after={next}")),
        newest: Some(address).filter(|_| after > 0),
        rows: read
            .retired_keys
            .into_iter()
            .skip(after)
            .take(SHOWN)
            .map(|key| RetiredRow::of(key, visit.now()))
            .collect(),
        account: read.account,
    };
    Ok(visit.show(Shown(page)))
}
