//! `GET, POST /accounts/{id}/keys/revoke`: revokes all keys and ends all federated identities of an
//! account.

use askama::Template;
use axum::extract::Path;
use shared::api::ServiceAccount;
use shared::domain::AccountId;

use super::account::KeyRow;
use super::identity::IdentityRow;
use crate::auth::session::{EmptyForm, Posted, Session};
use crate::error::PageResult;
use crate::view::formatting::{TimeText, revoked_words};
use crate::view::impact::{Impact, Source};
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "revoke_all_keys.html")]
struct RevokeAllKeys {
    page: Page,
    account: ServiceAccount,
    /// The keys, newest first.
    rows: Vec<KeyRow>,
    /// Newest first.
    identities: Vec<IdentityRow>,
    impact: Impact,
}

impl RevokeAllKeys {
    fn action(&self) -> &'static str {
        if self.identities.is_empty() { "Revoke all keys" } else { "Revoke all keys and identities" }
    }
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let read = session.api().account(id).await?;
    let impact = Impact::of_account(&session, &read).await;
    let identities = IdentityRow::all(read.federated_identities, &read.account, &session);
    let rows = KeyRow::all(read.keys, &read.account, &session);
    let page = RevokeAllKeys { page: session.page(), account: read.account, rows, identities, impact };
    session.show(page)
}

pub(super) async fn submit(
    Path(id): Path<AccountId>,
    Posted(session, EmptyForm {}): Posted<EmptyForm>,
) -> PageResult {
    let revoked = session.api().revoke_all_keys(id).await;
    let revoked = revoked.map_err(|error| session.or_retry(error))?;
    let since = TimeText::new(session.now(), session.now()).exact;
    let notice = format!("{} at {since}.", revoked_words(&revoked));
    session.redirect(&format!("/accounts/{id}"), &notice)
}
