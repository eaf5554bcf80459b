//! `GET, POST /accounts/{id}/edit`: changes an account. Another role is saved
//! only once it was shown what comes and what goes by it.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::domain::AccountId;

use super::id;
use super::roles::{self, RoleChoice};
use crate::api::AccountChanges;
use crate::form::Faults;
use crate::matching;
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
    /// The role that it had when it was read.
    role_was: String,
    /// Which button was pressed on the page that shows what another role
    /// changes: `confirm` or `back`. Or nothing.
    button: String,
}

/// What another role changes, before it is saved.
#[derive(Template)]
#[template(path = "change_role.html")]
struct ChangeRole {
    page: Page,
    id: String,
    form: Form,
    /// What its keys may do that they might not.
    come: Vec<String>,
    /// What they may do no longer.
    gone: Vec<String>,
    /// What the new role permits.
    permissions: Vec<String>,
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
    let account: AccountId = id(&account)?;
    let (read, roles) = tokio::join!(visit.api().account(account), roles::choices(&visit));
    let read = read?;
    let account = read.account.account;
    let page = EditAccount {
        page: visit.page(),
        roles: roles::with(roles?, &account.role, "The present role. There is no such role any more."),
        id: account.id,
        form: Form {
            version: read.version,
            name: account.name,
            description: account.description,
            owner: account.owner,
            role_was: account.role.clone(),
            role: account.role,
            button: String::new(),
        },
        faults: Faults::default(),
    };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, Trouble> {
    let account_id: AccountId = id(&account)?;
    if form.button == "back" {
        return Ok(again(&visit, account, form, Faults::default()).await);
    }
    if form.role != form.role_was && form.button != "confirm" {
        return confirm(&visit, account, form).await;
    }
    let changes = AccountChanges {
        name: Some(&form.name),
        description: Some(&form.description),
        owner: Some(&form.owner),
        role: Some(&form.role),
        enabled: None,
    };
    match visit.api().update_account(account_id, &changes, &form.version).await {
        Ok(saved) => Ok(visit.go(&format!("/accounts/{}", saved.id), &format!("{} is saved.", saved.name))),
        Err(error) => Ok(again(&visit, account, form, Faults::of(error)?).await),
    }
}

/// The form again, with what was typed.
async fn again(visit: &Visit, id: String, form: Form, faults: Faults) -> Response {
    let roles = roles::choices_again(visit, &form.role).await;
    with_status(faults.status(), EditAccount { page: visit.page(), id, form, faults, roles })
}

/// Shows what the other role changes. Nothing is saved yet.
async fn confirm(visit: &Visit, id: String, form: Form) -> Result<Response, Trouble> {
    let (before, after) = tokio::join!(roles::find(visit, &form.role_was), roles::find(visit, &form.role));
    let (before, after) = match (before, after) {
        (Ok(before), Ok(Some(after))) => (before, after),
        (Ok(_), Ok(None)) => {
            let faults = Faults::field("role", "is no role (any more): choose another one");
            return Ok(again(visit, id, form, faults).await);
        }
        (Err(error), _) | (_, Err(error)) => return Ok(again(visit, id, form, Faults::of(error)?).await),
    };
    // A role that is not there permits nothing.
    let before = before.map(|role| role.permissions).unwrap_or_default();
    let page = ChangeRole {
        page: visit.page(),
        id,
        form,
        come: matching::beyond(&after.permissions, &before),
        gone: matching::beyond(&before, &after.permissions),
        permissions: after.permissions,
    };
    Ok(with_status(200, page))
}
