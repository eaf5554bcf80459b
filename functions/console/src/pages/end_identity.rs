//! `GET, POST /accounts/{id}/identities/{identity_id}/end`: ends a federated identity.

use askama::Template;
use axum::extract::Path;
use shared::api::ServiceAccount;
use shared::domain::{AccountId, IdentityId};

use super::identity::IdentityRow;
use crate::auth::session::{EmptyForm, Posted, Session};
use crate::error::PageResult;
use crate::view::formatting::TimeText;
use crate::view::impact::{Impact, Source};
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "end_identity.html")]
struct EndIdentity {
    page: Page,
    account: ServiceAccount,
    row: IdentityRow,
    impact: Impact,
}

pub(super) async fn show(
    session: Session,
    Path((id, identity)): Path<(AccountId, IdentityId)>,
) -> PageResult {
    let read = session.api().account(id).await?;
    let Some(found) = read.federated_identities.into_iter().find(|live| live.id == identity) else {
        let notice = "Federated identity not found. It may have been ended already.";
        return session.redirect(&format!("/accounts/{id}"), notice);
    };
    let impact = Impact::of_identity(&session, &read.account, &found).await;
    let row = IdentityRow::new(found, read.account.enabled, &session);
    let page = EndIdentity { page: session.page(), account: read.account, row, impact };
    session.show(page)
}

pub(super) async fn submit(
    Path((id, identity)): Path<(AccountId, IdentityId)>,
    Posted(session, EmptyForm {}): Posted<EmptyForm>,
) -> PageResult {
    session.api().end_identity(id, identity).await.map_err(|error| session.or_retry(error))?;
    let since = TimeText::new(session.now(), session.now()).exact;
    let notice = format!("The federated identity was ended at {since}. All of its tokens are refused.");
    session.redirect(&format!("/accounts/{id}"), &notice)
}
