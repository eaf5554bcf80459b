//! `GET, POST /accounts/{id}/keys/revoke`: revokes all keys of an account.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::ServiceAccount;
use shared::domain::AccountId;

use super::request::id;
use crate::auth::session::{Posted, Session};
use crate::error::PageError;
use crate::view::formatting::{TimeText, count};
use crate::view::layout::{Page, Rendered};

#[derive(Template)]
#[template(path = "revoke_all_keys.html")]
struct RevokeAllKeys {
    page: Page,
    account: ServiceAccount,
    keys: Vec<String>,
}

pub(super) async fn show(session: Session, Path(account): Path<String>) -> Result<Response, PageError> {
    let read = session.api().account(id(&account)?).await?.account;
    let page = RevokeAllKeys {
        page: session.page(),
        account: read.account,
        keys: read.keys.into_iter().map(|key| key.name).collect(),
    };
    Ok(session.show(Rendered(page)))
}

#[derive(Deserialize)]
pub(super) struct Form {}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(session, Form {}): Posted<Form>,
) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    let path = format!("/accounts/{account}/keys/revoke");
    let revoked = session.api().revoke_all_keys(account).await;
    let revoked = revoked.map_err(|error| session.or_retry(error, path, Vec::new()))?;
    let since = TimeText::new(session.now(), session.now()).exact;
    let keys = count(u64::try_from(revoked).unwrap_or(u64::MAX), "key");
    let notice = format!("{keys} revoked at {since}.");
    Ok(session.redirect(&format!("/accounts/{account}"), &notice))
}
