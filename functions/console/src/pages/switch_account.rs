//! `POST /accounts/{id}/switch`: disables or enables an account.

use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::domain::AccountId;

use super::id;
use crate::api::{AccountChanges, ApiError};
use crate::session::Posted;
use crate::trouble::Trouble;
use crate::words::When;

#[derive(Deserialize)]
pub(super) struct Form {
    enabled: bool,
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, Trouble> {
    let changes = AccountChanges { enabled: Some(form.enabled), ..AccountChanges::default() };
    let account: AccountId = id(&account)?;
    let csrf = visit.page().csrf().to_owned();
    let again = |error: ApiError| {
        let fields = vec![("enabled", form.enabled.to_string())];
        Trouble::from(error).or_again(&csrf, format!("/accounts/{account}/switch"), fields)
    };
    let account = visit.api().update_account(account, &changes, "*").await.map_err(again)?;
    let notice = if form.enabled {
        format!("{} is enabled. Its keys work again.", account.name)
    } else {
        let since = When::of(&account.updated_at, visit.now()).exact;
        format!("{} is disabled. All of its keys are refused since {since}.", account.name)
    };
    Ok(visit.go(&format!("/accounts/{}", account.id), &notice))
}
