//! `POST /accounts/{id}/enable`: enables an account.

use axum::extract::Path;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::AccountId;

use crate::auth::session::{EmptyForm, Posted};
use crate::error::PageResult;

pub(super) async fn submit(
    Path(id): Path<AccountId>,
    Posted(session, EmptyForm {}): Posted<EmptyForm>,
) -> PageResult {
    let changes =
        UpdateServiceAccountRequest { enabled: Some(true), ..UpdateServiceAccountRequest::default() };
    let enabled = session.api().update_account(id, &changes, "*").await;
    let account = enabled.map_err(|error| session.or_retry(error))?;
    session
        .redirect(&format!("/accounts/{id}"), &format!("{} was enabled. Its keys work again.", account.name))
}
