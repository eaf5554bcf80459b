//! `GET, POST /accounts/{id}/disable`: disables an account.

use askama::Template;
use axum::extract::Path;
use shared::api::{ServiceAccount, UpdateServiceAccountRequest};
use shared::domain::AccountId;

use super::account::KeyRow;
use super::identity::IdentityRow;
use crate::auth::session::{EmptyForm, Posted, Session};
use crate::error::PageResult;
use crate::view::formatting::TimeText;
use crate::view::impact::{Impact, Source};
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "disable_account.html")]
struct DisableAccount {
    page: Page,
    account: ServiceAccount,
    /// The keys, newest first.
    rows: Vec<KeyRow>,
    /// Newest first.
    identities: Vec<IdentityRow>,
    impact: Impact,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let read = session.api().account(id).await?;
    if !read.account.enabled {
        let notice = format!("{} is already disabled.", read.account.name);
        return session.redirect(&format!("/accounts/{id}"), &notice);
    }
    let impact = Impact::of_account(&session, &read).await;
    let identities = IdentityRow::all(read.federated_identities, &read.account, &session);
    let rows = KeyRow::all(read.keys, &read.account, &session);
    let page = DisableAccount { page: session.page(), account: read.account, rows, identities, impact };
    session.show(page)
}

pub(super) async fn submit(
    Path(id): Path<AccountId>,
    Posted(session, EmptyForm {}): Posted<EmptyForm>,
) -> PageResult {
    let changes =
        UpdateServiceAccountRequest { enabled: Some(false), ..UpdateServiceAccountRequest::default() };
    let disabled = session.api().update_account(id, &changes, "*").await;
    let account = disabled.map_err(|error| session.or_retry(error))?;
    let since = TimeText::new(account.updated_at, session.now()).exact;
    let notice =
        format!("{} was disabled. All of its keys and tokens have been refused since {since}.", account.name);
    session.redirect(&format!("/accounts/{id}"), &notice)
}
