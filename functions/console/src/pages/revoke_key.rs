//! `GET, POST /accounts/{id}/keys/{key_id}/revoke`: revokes a key.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::domain::{AccountId, KeyId};
use shared::http::representation::ServiceAccount;

use super::account::KeyRow;
use super::id;
use crate::page::{Page, Shown};
use crate::session::{Posted, Visit};
use crate::trouble::Trouble;
use crate::words::When;

/// So much of a key's name is said back.
const MAX_NAME_CHARS: usize = 200;

#[derive(Template)]
#[template(path = "revoke_key.html")]
struct RevokeKey {
    page: Page,
    account: ServiceAccount,
    row: KeyRow,
}

pub(super) async fn show(
    visit: Visit,
    Path((account, key)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (account, key): (AccountId, KeyId) = (id(&account)?, id(&key)?);
    let read = visit.api().account(account).await?.account;
    let Some(found) = read.keys.into_iter().find(|live| live.id == key.to_string()) else {
        return Ok(
            visit.go(&format!("/accounts/{account}"), "That key is not there any more: it was revoked.")
        );
    };
    let row = KeyRow::of(found, read.account.enabled, &visit);
    let page = RevokeKey { page: visit.page(), row, account: read.account };
    Ok(visit.show(Shown(page)))
}

#[derive(Deserialize)]
pub(super) struct Form {
    #[serde(default)]
    name: String,
}

pub(super) async fn submit(
    Path((account, key)): Path<(String, String)>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, Trouble> {
    let (account, key): (AccountId, KeyId) = (id(&account)?, id(&key)?);
    visit.api().revoke_key(account, key).await?;
    let since = When::of(&visit.now().to_string(), visit.now()).exact;
    // It stands in a cookie.
    let name: String = form.name.chars().take(MAX_NAME_CHARS).collect();
    let notice = format!("The key {name} is dead since {since}. Every call with it is refused.");
    Ok(visit.go(&format!("/accounts/{account}"), &notice))
}
