//! `GET /accounts/{id}/access`: asks where a program runs. On most platforms, a federated identity
//! replaces a key.

use askama::Template;
use axum::extract::Path;
use shared::api::ServiceAccount;
use shared::domain::{AccountId, Platform};

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::platform;

#[derive(Template)]
#[template(path = "choose_access.html")]
struct ChooseAccess {
    page: Page,
    account: ServiceAccount,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let account = session.api().account(id).await?.account;
    let page = ChooseAccess { page: session.page(), account };
    session.show(page)
}
