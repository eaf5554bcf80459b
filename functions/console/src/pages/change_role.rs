//! The page that shows added and removed permissions before a new role of an account
//! is saved. The edit form responds with it. `GET /accounts/{id}/role?to=NAME` opens it for
//! a role.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use shared::domain::{AccountId, RoleName};

use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::difference::Difference;
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};
use crate::view::{role_chooser, tags};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that the form was opened with, so that it does not overwrite a later change.
    pub(super) version: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) owner: String,
    /// See [`tags`].
    pub(super) tags: String,
    pub(super) role: String,
    /// The filter of the roles.
    pub(super) find_role: String,
    /// The account's role when the form was opened.
    pub(super) role_was: String,
    /// The difference that was shown ([`Difference::mark`]). A role can change in the
    /// meantime, which does not change the account's version.
    pub(super) shown: String,
    /// The pressed button: `role` applies the filter of the roles. `confirm` and `back` are
    /// on this page. Empty for the form's main button.
    pub(super) button: String,
}

#[derive(Template)]
#[template(path = "change_role.html")]
struct ChangeRole {
    page: Page,
    id: AccountId,
    form: Form,
    /// Whether an outdated difference was confirmed.
    is_other: bool,
    difference: Difference,
}

/// The role to change to.
#[derive(Deserialize)]
pub(super) struct Target {
    to: RoleName,
}

pub(super) async fn show(
    session: Session,
    Path(id): Path<AccountId>,
    Query(Target { to }): Query<Target>,
) -> PageResult {
    let (account, version) = session.api().account_with_version(id).await?;
    let mut form = Form {
        version,
        name: account.name,
        description: account.description,
        owner: account.owner,
        tags: tags::text(&account.tags),
        role_was: account.role.to_string(),
        role: to.to_string(),
        ..Form::default()
    };
    match confirm(&session, id, &mut form).await {
        Ok(Some(page)) => Ok(page),
        Ok(None) => Ok(Redirect::to(&format!("/accounts/{id}")).into_response()),
        Err(FormError::Page(error)) => Err(error),
        Err(FormError::Invalid(_)) => Err(PageError::PageNotFound),
    }
}

/// Responds with the page, unless `form` confirms exactly the current difference.
pub(super) async fn confirm(
    session: &Session,
    id: AccountId,
    form: &mut Form,
) -> Result<Option<Response>, FormError> {
    let difference = difference(session, form).await?;
    let (mark, is_confirmed) = (difference.mark(), form.button == "confirm");
    if is_confirmed && mark == form.shown {
        return Ok(None);
    }
    let form = Form { shown: mark, ..std::mem::take(form) };
    let page = ChangeRole { page: session.page(), id, form, is_other: is_confirmed, difference };
    with_status(if is_confirmed { 409 } else { 200 }, page).map(Some).map_err(FormError::Page)
}

async fn difference(session: &Session, form: &Form) -> Result<Difference, FormError> {
    let (before, after) =
        tokio::join!(role_chooser::find(session, &form.role_was), role_chooser::find(session, &form.role));
    // A deleted role permits nothing.
    let before = before?.map(|role| role.permissions).unwrap_or_default();
    let after = after?.ok_or_else(|| FormErrors::field("role", "role not found. Choose another role"))?;
    Ok(Difference::new(&before, after.permissions))
}
