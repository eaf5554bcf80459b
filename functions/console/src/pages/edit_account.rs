//! `GET, POST /accounts/{id}/edit`: edits an account. A new role is saved only after its
//! added and removed permissions were shown ([`change_role`]).

use askama::Template;
use axum::extract::Path;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::{AccountId, AccountName, Description, Owner};

use super::change_role::{self, Form};
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleChooser};
use crate::view::tags;

#[derive(Template)]
#[template(path = "edit_account.html")]
struct EditAccount {
    page: Page,
    id: AccountId,
    form: Form,
    errors: FormErrors,
    roles: RoleChooser,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let (read, roles) =
        tokio::join!(session.api().account_with_version(id), role_chooser::available(&session));
    let (account, version) = read?;
    let page = EditAccount {
        page: session.page(),
        roles: roles?
            .chooser(&session, account.role.as_str(), "The current role. It has been deleted.")
            .await,
        id,
        form: Form {
            version,
            name: account.name,
            description: account.description,
            owner: account.owner,
            tags: tags::text(&account.tags),
            role_was: account.role.to_string(),
            role: account.role.to_string(),
            ..Form::default()
        },
        errors: FormErrors::default(),
    };
    session.show(page)
}

pub(super) async fn submit(Path(id): Path<AccountId>, Posted(session, mut form): Posted<Form>) -> PageResult {
    if form.button == "back" {
        return again(&session, id, form, FormErrors::default()).await;
    }
    if role_chooser::is_search(&form.button, &form.find_role) {
        let known = role_chooser::available_or_built_in(&session).await;
        let (roles, errors) = known.search(&session, &mut form.role, &mut form.find_role).await?;
        let page = EditAccount { page: session.page(), id, form, errors, roles };
        return with_status(page.errors.status(), page);
    }
    let tags = match tags::parse(&form.tags) {
        Ok(tags) => tags,
        Err(errors) => return again(&session, id, form, errors).await,
    };
    if form.role != form.role_was {
        match change_role::confirm(&session, id, &mut form).await {
            Ok(None) => {}
            Ok(Some(confirmation)) => return Ok(confirmation),
            Err(error) => return again(&session, id, form, error.errors()?).await,
        }
    }
    let changes = UpdateServiceAccountRequest {
        name: Some(form.name.clone()),
        description: Some(form.description.clone()),
        owner: Some(form.owner.clone()),
        tags: Some(tags),
        role: Some(form.role.clone()),
        ..UpdateServiceAccountRequest::default()
    };
    match session.api().update_account(id, &changes, &form.version).await {
        Ok(saved) => {
            session.redirect(&format!("/accounts/{}", saved.id), &format!("{} was saved.", saved.name))
        }
        Err(error) => again(&session, id, form, FormErrors::from_api(error)?).await,
    }
}

/// Shows the form again with its values.
async fn again(session: &Session, id: AccountId, form: Form, errors: FormErrors) -> PageResult {
    let roles = role_chooser::available_or_built_in(session)
        .await
        .chooser(session, &form.role, role_chooser::CHOSEN_BEFORE)
        .await;
    with_status(errors.status(), EditAccount { page: session.page(), id, form, errors, roles })
}
