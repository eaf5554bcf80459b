//! `GET, POST /accounts/{id}/keys/{key_id}/revoke`: revokes a key.

use askama::Template;
use axum::extract::Path;
use shared::api::ServiceAccount;
use shared::domain::{AccountId, KeyId};

use super::account::KeyRow;
use crate::auth::session::{EmptyForm, Posted, Session};
use crate::error::PageResult;
use crate::view::formatting::TimeText;
use crate::view::impact::{Impact, Source};
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "revoke_key.html")]
struct RevokeKey {
    page: Page,
    account: ServiceAccount,
    row: KeyRow,
    impact: Impact,
}

pub(super) async fn show(session: Session, Path((id, key)): Path<(AccountId, KeyId)>) -> PageResult {
    let Some((account, row)) = KeyRow::find(&session, id, key).await? else {
        let notice = "Key not found. It may have been revoked already.";
        return session.redirect(&format!("/accounts/{id}"), notice);
    };
    let impact = Impact::of_key(&session, &account, &row.key).await;
    let page = RevokeKey { page: session.page(), account, row, impact };
    session.show(page)
}

pub(super) async fn submit(
    Path((account, key)): Path<(AccountId, KeyId)>,
    Posted(session, EmptyForm {}): Posted<EmptyForm>,
) -> PageResult {
    session.api().revoke_key(account, key).await.map_err(|error| session.or_retry(error))?;
    // The record has the time of the first revocation.
    let retired = session.api().account(account).await.map(|read| read.retired_keys).unwrap_or_default();
    let notice = match retired.into_iter().find(|retired| retired.id == key) {
        Some(record) => {
            let since = TimeText::new(record.retired_at, session.now()).exact;
            let name = record.name.unwrap_or_default();
            format!("Key {name} was revoked at {since}. All requests with it are refused.")
        }
        None => "The key was revoked. All requests with it are refused.".to_owned(),
    };
    session.redirect(&format!("/accounts/{account}"), &notice)
}
