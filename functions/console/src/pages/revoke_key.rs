//! `GET, POST /accounts/{id}/keys/{key_id}/revoke`: revokes a key.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::ServiceAccount;
use shared::domain::{AccountId, KeyId};

use super::account::KeyRow;
use super::request::id;
use crate::auth::session::{Posted, Session};
use crate::error::PageError;
use crate::view::formatting::TimeText;
use crate::view::layout::{Page, Rendered};

#[derive(Template)]
#[template(path = "revoke_key.html")]
struct RevokeKey {
    page: Page,
    account: ServiceAccount,
    row: KeyRow,
}

pub(super) async fn show(
    session: Session,
    Path((account, key)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let (account, key): (AccountId, KeyId) = (id(&account)?, id(&key)?);
    let read = session.api().account(account).await?.account;
    let Some(found) = read.keys.into_iter().find(|live| live.id == key) else {
        return Ok(session
            .redirect(&format!("/accounts/{account}"), "Key not found. It may have been revoked already."));
    };
    let row = KeyRow::new(found, read.account.enabled, &session);
    let page = RevokeKey { page: session.page(), row, account: read.account };
    Ok(session.show(Rendered(page)))
}

#[derive(Deserialize)]
pub(super) struct Form {}

pub(super) async fn submit(
    Path((account, key)): Path<(String, String)>,
    Posted(session, Form {}): Posted<Form>,
) -> Result<Response, PageError> {
    let (account, key): (AccountId, KeyId) = (id(&account)?, id(&key)?);
    let path = format!("/accounts/{account}/keys/{key}/revoke");
    let revoked = session.api().revoke_key(account, key).await;
    revoked.map_err(|error| session.or_retry(error, path, Vec::new()))?;
    // The record has the time of the first revocation.
    let record = session
        .api()
        .account(account)
        .await
        .ok()
        .and_then(|read| read.account.retired_keys.into_iter().find(|retired| retired.id == key));
    let notice = record.map_or_else(
        || "The key was revoked. All requests with it are refused.".to_owned(),
        |record| {
            let since = TimeText::new(record.retired_at, session.now()).exact;
            let name = record.name.unwrap_or_default();
            format!("Key {name} was revoked at {since}. All requests with it are refused.")
        },
    );
    Ok(session.redirect(&format!("/accounts/{account}"), &notice))
}
