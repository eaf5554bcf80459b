//! `GET /accounts/{id}/keys/retired`: the retired keys of an account.

use askama::Template;
use axum::extract::{Path, Query};
use jiff::Timestamp;
use shared::api::{RetiredKey, ServiceAccount};
use shared::domain::{AccountId, RetiredReason};

use super::request::Offset;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::TimeText;
use crate::view::layout::Page;
use crate::view::usage::KeyUsage;

/// Keys per page.
const SHOWN: usize = 25;

/// A retired key in a list.
pub(super) struct RetiredRow {
    pub(super) key: RetiredKey,
    pub(super) ended: TimeText,
    pub(super) uses: KeyUsage,
}

impl RetiredRow {
    pub(super) fn new(key: RetiredKey, now: Timestamp) -> Self {
        let uses = KeyUsage::new(key.usage.recent, key.usage.last_use, now);
        Self { ended: TimeText::new(key.retired_at, now), uses, key }
    }

    pub(super) fn reason(&self) -> &'static str {
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
    /// The addresses of the first page and of the next page.
    newest: Option<String>,
    older: Option<String>,
}

pub(super) async fn show(
    session: Session,
    Path(account): Path<AccountId>,
    Query(Offset { after }): Query<Offset>,
) -> PageResult {
    let read = session.api().account(account).await?;
    let address = format!("/accounts/{}/keys/retired", read.account.id);
    let next = Some(after.saturating_add(SHOWN)).filter(|next| *next < read.retired_keys.len());
    let page = RetiredKeys {
        page: session.page(),
        older: next.map(|next| format!("{address}?after={next}")),
        newest: Some(address).filter(|_| after > 0),
        rows: read
            .retired_keys
            .into_iter()
            .skip(after)
            .take(SHOWN)
            .map(|key| RetiredRow::new(key, session.now()))
            .collect(),
        account: read.account,
    };
    session.show(page)
}
