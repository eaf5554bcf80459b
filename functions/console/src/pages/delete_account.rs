//! `GET, POST /accounts/{id}/delete`: deletes an account after its name is typed.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::ServiceAccount;
use shared::domain::{AccountId, AccountName};

use super::request::id;
use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageError;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, Rendered, with_status};

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
    errors: FormErrors,
}

pub(super) async fn show(session: Session, Path(account): Path<String>) -> Result<Response, PageError> {
    let account = session.api().account(id(&account)?).await?.account.account;
    let page =
        DeleteAccount { page: session.page(), account, form: Form::default(), errors: FormErrors::default() };
    Ok(session.show(Rendered(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(session, form): Posted<Form>,
) -> Result<Response, PageError> {
    let account_id: AccountId = id(&account)?;
    let account = match session.api().account(account_id).await {
        Ok(read) => read.account.account,
        // The form was sent again, because its first response was lost.
        Err(ApiError::Problem(problem)) if problem.status == 404 => {
            return Ok(session.redirect("/", "This account has been deleted."));
        }
        Err(error) => return Err(error.into()),
    };
    // A browser shows consecutive white space as one space.
    let shown = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
    if shown(&form.name) != shown(&account.name) {
        let errors = FormErrors::field("name", "does not match the account name, so nothing was deleted");
        return Ok(with_status(422, DeleteAccount { page: session.page(), account, form, errors }));
    }
    let (path, fields) = (format!("/accounts/{account_id}/delete"), vec![("name", form.name)]);
    let deleted = session.api().delete_account(account_id).await;
    deleted.map_err(|error| session.or_retry(error, path, fields))?;
    Ok(session.redirect("/", &format!("{} was deleted. Its keys are refused.", account.name)))
}
