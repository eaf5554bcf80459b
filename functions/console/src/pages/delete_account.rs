//! `GET, POST /accounts/{id}/delete`: deletes an account, once its name is typed.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::ServiceAccount;
use shared::domain::{AccountId, AccountName};

use super::request::id;
use crate::api::ApiError;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::form::Faults;
use crate::view::layout::{Page, Shown, with_status};

/// What was typed.
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
    form: Form,
    faults: Faults,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, PageError> {
    let account = visit.api().account(id(&account)?).await?.account.account;
    let page =
        DeleteAccount { page: visit.page(), account, form: Form::default(), faults: Faults::default() };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, PageError> {
    let account_id: AccountId = id(&account)?;
    let account = match visit.api().account(account_id).await {
        Ok(read) => read.account.account,
        // Sent once more: the first answer was lost.
        Err(ApiError::Problem(problem)) if problem.status == 404 => {
            return Ok(visit.go("/", "This account has been deleted."));
        }
        Err(error) => return Err(error.into()),
    };
    // A page shows white space as one space.
    let shown = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
    if shown(&form.name) != shown(&account.name) {
        let faults = Faults::field("name", "does not match the account name, so nothing was deleted");
        return Ok(with_status(422, DeleteAccount { page: visit.page(), account, form, faults }));
    }
    let (path, fields) = (format!("/accounts/{account_id}/delete"), vec![("name", form.name)]);
    let deleted = visit.api().delete_account(account_id).await;
    deleted.map_err(|error| visit.or_again(error, path, fields))?;
    Ok(visit.go("/", &format!("{} was deleted. Its keys are refused.", account.name)))
}
