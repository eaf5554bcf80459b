//! `POST /accounts/{id}/switch`: disables or enables an account.

use axum::extract::Path;
use serde::Deserialize;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::AccountId;

use crate::auth::session::Posted;
use crate::error::PageResult;
use crate::view::formatting::TimeText;

#[derive(Deserialize)]
pub(super) struct Form {
    enabled: bool,
}

pub(super) async fn submit(Path(id): Path<AccountId>, Posted(session, form): Posted<Form>) -> PageResult {
    let changes =
        UpdateServiceAccountRequest { enabled: Some(form.enabled), ..UpdateServiceAccountRequest::default() };
    let switched = session.api().update_account(id, &changes, "*").await;
    let account = switched.map_err(|error| session.or_retry(error))?;
    let notice = if form.enabled {
        format!("{} was enabled. Its keys work again.", account.name)
    } else {
        let since = TimeText::new(account.updated_at, session.now()).exact;
        format!("{} was disabled. All of its keys have been refused since {since}.", account.name)
    };
    session.redirect(&format!("/accounts/{id}"), &notice)
}
