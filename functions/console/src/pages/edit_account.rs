//! `GET, POST /accounts/{id}/edit`: edits an account. A new role is saved only after its
//! added and removed permissions were shown ([`change_role`]).

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::{AccountId, AccountName, Description, Owner};

use super::change_role::{self, Form};
use super::request::id;
use crate::auth::session::{Posted, Session};
use crate::error::PageError;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, Rendered, with_status};
use crate::view::role_chooser::{self, RoleChooser};

#[derive(Template)]
#[template(path = "edit_account.html")]
struct EditAccount {
    page: Page,
    id: String,
    form: Form,
    errors: FormErrors,
    roles: RoleChooser,
}

pub(super) async fn show(session: Session, Path(account): Path<String>) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    let (read, roles) = tokio::join!(session.api().account(account), role_chooser::available(&session));
    let read = read?;
    let account = read.account.account;
    let page = EditAccount {
        page: session.page(),
        roles: roles?
            .chooser(&session, account.role.as_str(), "The current role. It has been deleted.")
            .await,
        id: account.id.to_string(),
        form: Form {
            version: read.version,
            name: account.name,
            description: account.description,
            owner: account.owner,
            role_was: account.role.to_string(),
            role: account.role.to_string(),
            shown: String::new(),
            other_role: String::new(),
            button: String::new(),
        },
        errors: FormErrors::default(),
    };
    Ok(session.show(Rendered(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(session, mut form): Posted<Form>,
) -> Result<Response, PageError> {
    let account_id: AccountId = id(&account)?;
    if form.button == "back" {
        return Ok(again(&session, account, form, FormErrors::default()).await);
    }
    if role_chooser::is_requested(&form.button, &form.other_role) {
        let known = role_chooser::available_or_built_in(&session).await;
        let (roles, errors) = known.choose(&session, &mut form.role, &mut form.other_role).await?;
        let page = EditAccount { page: session.page(), id: account, form, errors, roles };
        return Ok(with_status(page.errors.status(), page));
    }
    if form.role != form.role_was {
        match change_role::confirm(&session, &account, &mut form).await {
            Ok(None) => {}
            Ok(Some(confirmation)) => return Ok(confirmation),
            Err(error) => return Ok(again(&session, account, form, error.errors()?).await),
        }
    }
    let changes = UpdateServiceAccountRequest {
        name: Some(form.name.clone()),
        description: Some(form.description.clone()),
        owner: Some(form.owner.clone()),
        role: Some(form.role.clone()),
        ..UpdateServiceAccountRequest::default()
    };
    match session.api().update_account(account_id, &changes, &form.version).await {
        Ok(saved) => {
            Ok(session.redirect(&format!("/accounts/{}", saved.id), &format!("{} was saved.", saved.name)))
        }
        Err(error) => Ok(again(&session, account, form, FormErrors::from_api(error)?).await),
    }
}

/// Shows the form again with its values.
async fn again(session: &Session, id: String, form: Form, errors: FormErrors) -> Response {
    let roles = role_chooser::available_or_built_in(session)
        .await
        .chooser(session, &form.role, role_chooser::CHOSEN_BEFORE)
        .await;
    with_status(errors.status(), EditAccount { page: session.page(), id, form, errors, roles })
}
