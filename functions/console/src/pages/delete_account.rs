//! `GET, POST /accounts/{id}/delete`: deletes an account after its name is typed.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::api::{ServiceAccount, ServiceAccountWithKeys};
use shared::domain::{AccountId, AccountName};

use super::account::KeyRow;
use super::identity::IdentityRow;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::impact::{Impact, Source};
use crate::view::layout::{Page, with_status};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    name: String,
}

#[derive(Template)]
#[template(path = "delete_account.html")]
struct DeleteAccount {
    page: Page,
    account: ServiceAccount,
    /// The keys, newest first.
    rows: Vec<KeyRow>,
    /// Newest first.
    identities: Vec<IdentityRow>,
    impact: Impact,
    form: Form,
    errors: FormErrors,
}

impl DeleteAccount {
    async fn new(session: &Session, read: ServiceAccountWithKeys, form: Form, errors: FormErrors) -> Self {
        let impact = Impact::of_account(session, &read).await;
        let identities = IdentityRow::all(read.federated_identities, &read.account, session);
        let rows = KeyRow::all(read.keys, &read.account, session);
        Self { page: session.page(), account: read.account, rows, identities, impact, form, errors }
    }
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let read = session.api().account(id).await?;
    let page = DeleteAccount::new(&session, read, Form::default(), FormErrors::default()).await;
    session.show(page)
}

pub(super) async fn submit(Path(id): Path<AccountId>, Posted(session, form): Posted<Form>) -> PageResult {
    let read = match session.api().account(id).await {
        Ok(read) => read,
        // The form was sent again, because its first response was lost.
        Err(error) if error.is_not_found() => {
            return session.redirect("/accounts", "This account has been deleted.");
        }
        Err(error) => return Err(error.into()),
    };
    // A browser shows consecutive white space as one space.
    let shown = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
    if shown(&form.name) != shown(&read.account.name) {
        let errors = FormErrors::field("name", "does not match the account name, so nothing was deleted");
        return with_status(422, DeleteAccount::new(&session, read, form, errors).await);
    }
    session.api().delete_account(id).await.map_err(|error| session.or_retry(error))?;
    session.redirect(
        "/accounts",
        &format!("{} was deleted. Its keys and tokens are refused.", read.account.name),
    )
}
