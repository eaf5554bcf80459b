//! `POST /accounts/{id}/switch`: disables or enables an account.

use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::AccountId;

use super::request::id;
use crate::auth::session::Posted;
use crate::error::PageError;
use crate::view::formatting::TimeText;

#[derive(Deserialize)]
pub(super) struct Form {
    enabled: bool,
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(session, form): Posted<Form>,
) -> Result<Response, PageError> {
    let changes =
        UpdateServiceAccountRequest { enabled: Some(form.enabled), ..UpdateServiceAccountRequest::default() };
    let account: AccountId = id(&account)?;
    let (path, fields) = (format!("/accounts/{account}/switch"), vec![("enabled", form.enabled.to_string())]);
    let switched = session.api().update_account(account, &changes, "*").await;
    let account = switched.map_err(|error| session.or_retry(error, path, fields))?;
    let notice = if form.enabled {
        format!("{} was enabled. Its keys work again.", account.name)
    } else {
        let since = TimeText::new(account.updated_at, session.now()).exact;
        format!("{} was disabled. All of its keys have been refused since {since}.", account.name)
    };
    Ok(session.redirect(&format!("/accounts/{}", account.id), &notice))
}
