//! `GET, POST /accounts/{id}/edit`: changes an account. Another role is saved
//! only once it was shown what comes and what goes by it.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::{AccountId, AccountName, Description, Owner};

use super::change_role::{self, Form};
use super::request::id;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::form::Faults;
use crate::view::layout::{Page, Shown, with_status};
use crate::view::role_chooser::{self as roles, Chooser};

#[derive(Template)]
#[template(path = "edit_account.html")]
struct EditAccount {
    page: Page,
    id: String,
    form: Form,
    faults: Faults,
    roles: Chooser,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    let (read, roles) = tokio::join!(visit.api().account(account), roles::known(&visit));
    let read = read?;
    let account = read.account.account;
    let page = EditAccount {
        page: visit.page(),
        roles: roles?.chooser(&visit, account.role.as_str(), "The current role. It has been deleted.").await,
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
        faults: Faults::default(),
    };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, mut form): Posted<Form>,
) -> Result<Response, PageError> {
    let account_id: AccountId = id(&account)?;
    if form.button == "back" {
        return Ok(again(&visit, account, form, Faults::default()).await);
    }
    if roles::is_asked_for(&form.button, &form.other_role) {
        let known = roles::known_again(&visit).await;
        let (roles, faults) = known.choose(&visit, &mut form.role, &mut form.other_role).await?;
        let page = EditAccount { page: visit.page(), id: account, form, faults, roles };
        return Ok(with_status(page.faults.status(), page));
    }
    if form.role != form.role_was {
        match change_role::confirm(&visit, &account, &mut form).await {
            Ok(None) => {}
            Ok(Some(confirmation)) => return Ok(confirmation),
            Err(error) => return Ok(again(&visit, account, form, error.faults()?).await),
        }
    }
    let changes = UpdateServiceAccountRequest {
        name: Some(form.name.clone()),
        description: Some(form.description.clone()),
        owner: Some(form.owner.clone()),
        role: Some(form.role.clone()),
        ..UpdateServiceAccountRequest::default()
    };
    match visit.api().update_account(account_id, &changes, &form.version).await {
        Ok(saved) => Ok(visit.go(&format!("/accounts/{}", saved.id), &format!("{} was saved.", saved.name))),
        Err(error) => Ok(again(&visit, account, form, Faults::of(error)?).await),
    }
}

/// The form again, with what was typed.
async fn again(visit: &Visit, id: String, form: Form, faults: Faults) -> Response {
    let roles = roles::known_again(visit).await.chooser(visit, &form.role, roles::CHOSEN_BEFORE).await;
    with_status(faults.status(), EditAccount { page: visit.page(), id, form, faults, roles })
}
