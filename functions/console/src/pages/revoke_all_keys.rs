//! `GET, POST /accounts/{id}/keys/revoke`: revokes all keys of an account.

use askama::Template;
use axum::extract::Path;
use shared::api::ServiceAccount;
use shared::domain::AccountId;

use super::account::KeyRow;
use crate::auth::session::{EmptyForm, Posted, Session};
use crate::error::PageResult;
use crate::view::formatting::{TimeText, count};
use crate::view::impact::{Impact, Source};
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "revoke_all_keys.html")]
struct RevokeAllKeys {
    page: Page,
    account: ServiceAccount,
    /// Newest first.
    rows: Vec<KeyRow>,
    impact: Impact,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let read = session.api().account(id).await?;
    let impact = Impact::of_account(&session, &read.account, &read.keys).await;
    let rows = KeyRow::all(read.keys, &read.account, &session);
    let page = RevokeAllKeys { page: session.page(), account: read.account, rows, impact };
    session.show(page)
}

pub(super) async fn submit(
    Path(id): Path<AccountId>,
    Posted(session, EmptyForm {}): Posted<EmptyForm>,
) -> PageResult {
    let revoked = session.api().revoke_all_keys(id).await;
    let revoked = revoked.map_err(|error| session.or_retry(error))?;
    let since = TimeText::new(session.now(), session.now()).exact;
    let keys = count(u64::try_from(revoked).unwrap_or(u64::MAX), "key");
    let notice = format!("{keys} revoked at {since}.");
    session.redirect(&format!("/accounts/{id}"), &notice)
}
