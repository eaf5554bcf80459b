//! `GET /accounts/{id}/keys/new`, `POST /accounts/{id}/keys`: issues a key.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::api::{IssueKeyRequest, ProblemCode, ServiceAccount};
use shared::domain::{AccountId, KeyName};

use super::{issued_before, issued_key};
use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::{FormErrors, new_attempt};
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleChooser};

/// The default lifetime, in days.
const DEFAULT_LIFETIME_DAYS: u32 = 90;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    attempt: String,
    name: String,
    expires_in_days: String,
    role: String,
    /// The filter of the roles.
    find_role: String,
    allowed_cidrs: String,
    /// The pressed button: `role` applies the filter of the roles. Empty for the main button.
    button: String,
}

#[derive(Template)]
#[template(path = "issue_key.html")]
struct IssueKey {
    page: Page,
    account: ServiceAccount,
    form: Form,
    errors: FormErrors,
    /// The roles that permit less than the account's role.
    roles: RoleChooser,
    max_days: u32,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let form = Form {
        attempt: new_attempt(&session.console)?,
        expires_in_days: DEFAULT_LIFETIME_DAYS.min(session.console.max_key_lifetime_days).to_string(),
        ..Form::default()
    };
    let page = form_page(&session, id, form, FormErrors::default()).await?;
    session.show(page)
}

/// The form with `errors` or, if the filter of the roles was entered, with the roles that match.
async fn form_page(
    session: &Session,
    id: AccountId,
    mut form: Form,
    errors: FormErrors,
) -> PageResult<IssueKey> {
    let (account, known) =
        tokio::join!(session.api().account(id), role_chooser::available_or_built_in(session));
    let account = account?.account;
    let known = known.narrower_than(account.role.as_str());
    let (roles, errors) = if role_chooser::is_search(&form.button, &form.find_role) {
        known.search(session, &mut form.role, &mut form.find_role).await?
    } else {
        (known.chooser(session, &form.role, role_chooser::CHOSEN_BEFORE).await, errors)
    };
    let max_days = session.console.max_key_lifetime_days;
    Ok(IssueKey { page: session.page(), account, form, errors, roles, max_days })
}

pub(super) async fn submit(Path(id): Path<AccountId>, Posted(session, mut form): Posted<Form>) -> PageResult {
    if role_chooser::is_search(&form.button, &form.find_role) {
        return again(&session, id, form, FormErrors::default()).await;
    }
    let days = form.expires_in_days.trim();
    let expires_in_days = match days.parse() {
        Ok(days) => Some(days),
        Err(_) if days.is_empty() => None,
        Err(_) => {
            let errors = FormErrors::field("expiresInDays", "must be a whole number of days");
            return again(&session, id, form, errors).await;
        }
    };
    let key = IssueKeyRequest {
        name: form.name.clone(),
        expires_in_days,
        role: Some(form.role.clone()).filter(|role| !role.is_empty()),
        allowed_cidrs: form
            .allowed_cidrs
            .split([',', ' ', '\n', '\r', '\t'])
            .filter(|cidr| !cidr.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
    };
    match session.api().issue_key(id, &key, &form.attempt).await {
        Ok(issued) => issued_key::show(session, id, issued, None).await,
        Err(error) if error.code() == Some(ProblemCode::KeyAlreadyIssued) => {
            issued_before::show(&session, id)
        }
        Err(error @ ApiError::Unavailable { .. }) => Err(session.or_retry(error)),
        Err(error) => {
            if error.code() == Some(ProblemCode::IdempotencyKeyReused) {
                // The next submission is a new attempt.
                form.attempt = new_attempt(&session.console)?;
            }
            again(&session, id, form, FormErrors::from_api(error)?).await
        }
    }
}

/// Shows the form again with its values.
async fn again(session: &Session, id: AccountId, form: Form, errors: FormErrors) -> PageResult {
    let page = form_page(session, id, form, errors).await?;
    with_status(page.errors.status(), page)
}
