//! `GET, POST /accounts/{id}/keys/revoke`: revokes all keys of an account.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::ServiceAccount;
use shared::domain::AccountId;

use super::request::id;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::formatting::{When, count};
use crate::view::layout::{Page, Shown};

#[derive(Template)]
#[template(path = "revoke_all_keys.html")]
struct RevokeAllKeys {
    page: Page,
    account: ServiceAccount,
    keys: Vec<String>,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, PageError> {
    let read = visit.api().account(id(&account)?).await?.account;
    let page = RevokeAllKeys {
        page: visit.page(),
        account: read.account,
        keys: read.keys.into_iter().map(|key| key.name).collect(),
    };
    Ok(visit.show(Shown(page)))
}

#[derive(Deserialize)]
pub(super) struct Form {}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, Form {}): Posted<Form>,
) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    let path = format!("/accounts/{account}/keys/revoke");
    let revoked = visit.api().revoke_all_keys(account).await;
    let revoked = revoked.map_err(|error| visit.or_again(error, path, Vec::new()))?;
    let since = When::of(visit.now(), visit.now()).exact;
    let keys = count(u64::try_from(revoked).unwrap_or(u64::MAX), "key");
    let notice = format!("{keys} revoked at {since}.");
    Ok(visit.go(&format!("/accounts/{account}"), &notice))
}
