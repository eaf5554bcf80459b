//! `GET, POST /accounts/{id}/edit`: changes an account.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;

use super::id;
use super::roles::{self, RoleChoice};
use crate::api::AccountChanges;
use crate::form::Faults;
use crate::page::{Page, Shown, with_status};
use crate::session::{Posted, Visit};
use crate::trouble::Trouble;

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that was seen: a change by somebody else is not overwritten.
    version: String,
    name: String,
    description: String,
    owner: String,
    role: String,
}

#[derive(Template)]
#[template(path = "edit_account.html")]
struct EditAccount {
    page: Page,
    id: String,
    form: Form,
    faults: Faults,
    roles: Vec<RoleChoice>,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, Trouble> {
    let read = visit.api().account(id(&account)?).await?;
    let account = read.account.account;
    let page = EditAccount {
        page: visit.page(),
        roles: roles::choices_with(&visit.console, &account.role),
        id: account.id,
        form: Form {
            version: read.version,
            name: account.name,
            description: account.description,
            owner: account.owner,
            role: account.role,
        },
        faults: Faults::default(),
    };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, Trouble> {
    let changes = AccountChanges {
        name: Some(&form.name),
        description: Some(&form.description),
        owner: Some(&form.owner),
        role: Some(&form.role),
        enabled: None,
    };
    match visit.api().update_account(id(&account)?, &changes, &form.version).await {
        Ok(saved) => Ok(visit.go(&format!("/accounts/{}", saved.id), &format!("{} is saved.", saved.name))),
        Err(error) => {
            let faults = Faults::of(error)?;
            let page = visit.page();
            let roles = roles::choices_with(&visit.console, &form.role);
            Ok(with_status(faults.status(), EditAccount { page, id: account, form, faults, roles }))
        }
    }
}
