//! `GET /accounts/{id}/keys/new`, `POST /accounts/{id}/keys`: issues a key.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::{IssueKeyRequest, ProblemCode, ServiceAccount};
use shared::domain::{AccountId, KeyName};

use super::request::id;
use super::{issued_before, issued_key};
use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageError;
use crate::view::form::{FormErrors, new_attempt};
use crate::view::layout::{Page, Rendered, with_status};
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
    /// The name of a role without a card. The role is shown before it can be chosen.
    other_role: String,
    allowed_cidrs: String,
    /// The pressed button: `role` shows the role in `other_role`. Empty for the main button.
    button: String,
}

impl Form {
    fn fields(self) -> Vec<(&'static str, String)> {
        vec![
            ("attempt", self.attempt),
            ("name", self.name),
            ("expires_in_days", self.expires_in_days),
            ("role", self.role),
            ("allowed_cidrs", self.allowed_cidrs),
        ]
    }
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

pub(super) async fn show(session: Session, Path(account): Path<String>) -> Result<Response, PageError> {
    let form = Form {
        attempt: new_attempt(&session.console)?,
        expires_in_days: DEFAULT_LIFETIME_DAYS.min(session.console.max_key_lifetime_days).to_string(),
        ..Form::default()
    };
    let page = form_page(&session, id(&account)?, form, FormErrors::default()).await?;
    Ok(session.show(Rendered(page)))
}

/// The form with `errors` or, if the role in `other_role` was requested, with that role.
async fn form_page(
    session: &Session,
    account: AccountId,
    mut form: Form,
    errors: FormErrors,
) -> Result<IssueKey, PageError> {
    let (account, known) =
        tokio::join!(session.api().account(account), role_chooser::available_or_built_in(session));
    let account = account?.account.account;
    let known = known.narrower_than(account.role.as_str());
    let (roles, errors) = if role_chooser::is_requested(&form.button, &form.other_role) {
        known.choose(session, &mut form.role, &mut form.other_role).await?
    } else {
        (known.chooser(session, &form.role, role_chooser::CHOSEN_BEFORE).await, errors)
    };
    let max_days = session.console.max_key_lifetime_days;
    Ok(IssueKey { page: session.page(), account, form, errors, roles, max_days })
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(session, form): Posted<Form>,
) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    if role_chooser::is_requested(&form.button, &form.other_role) {
        let page = form_page(&session, account, form, FormErrors::default()).await?;
        return Ok(with_status(page.errors.status(), page));
    }
    let days = form.expires_in_days.trim();
    let expires_in_days = match days.parse() {
        Ok(days) => Some(days),
        Err(_) if days.is_empty() => None,
        Err(_) => {
            let errors = FormErrors::field("expiresInDays", "must be a whole number of days");
            let page = form_page(&session, account, form, errors).await?;
            return Ok(with_status(422, page));
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
    match session.api().issue_key(account, &key, &form.attempt).await {
        Ok(issued) => Ok(issued_key::show(session, account, issued, None)),
        Err(error) if issued_before::is_issued_before(&error) => Ok(issued_before::show(&session, account)),
        Err(error @ ApiError::Unavailable { .. }) => {
            Err(session.or_retry(error, format!("/accounts/{account}/keys"), form.fields()))
        }
        Err(ApiError::Problem(problem)) if problem.code == ProblemCode::IdempotencyKeyReused => {
            let form = Form { attempt: new_attempt(&session.console)?, ..form };
            let page = form_page(&session, account, form, FormErrors::already_submitted()).await?;
            Ok(with_status(422, page))
        }
        Err(error) => {
            let errors = FormErrors::from_api(error)?;
            let status = errors.status();
            let page = form_page(&session, account, form, errors).await?;
            Ok(with_status(status, page))
        }
    }
}
