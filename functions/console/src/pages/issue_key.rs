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
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::form::{Faults, new_attempt};
use crate::view::layout::{Page, Shown, with_status};
use crate::view::role_chooser::{self as roles, Chooser};

/// The lifetime that is offered, in days.
const DEFAULT_LIFETIME_DAYS: u32 = 90;

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    attempt: String,
    name: String,
    expires_in_days: String,
    role: String,
    /// The name of a further role, which is shown before it can be chosen.
    other_role: String,
    allowed_cidrs: String,
    /// Which button was pressed: `role` shows that one. Or nothing.
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
    faults: Faults,
    /// The roles that are narrower than the account's.
    roles: Chooser,
    max_days: u32,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, PageError> {
    let form = Form {
        attempt: new_attempt(&visit.console)?,
        expires_in_days: DEFAULT_LIFETIME_DAYS.min(visit.console.max_key_lifetime_days).to_string(),
        ..Form::default()
    };
    let page = form_page(&visit, id(&account)?, form, Faults::default()).await?;
    Ok(visit.show(Shown(page)))
}

/// The form, with `faults`, or with the role chosen whose name was typed.
async fn form_page(
    visit: &Visit,
    account: AccountId,
    mut form: Form,
    faults: Faults,
) -> Result<IssueKey, PageError> {
    let (account, known) = tokio::join!(visit.api().account(account), roles::known_again(visit));
    let account = account?.account.account;
    let known = known.narrower_than(account.role.as_str());
    let (roles, faults) = if roles::is_asked_for(&form.button, &form.other_role) {
        known.choose(visit, &mut form.role, &mut form.other_role).await?
    } else {
        (known.chooser(visit, &form.role, roles::CHOSEN_BEFORE).await, faults)
    };
    let max_days = visit.console.max_key_lifetime_days;
    Ok(IssueKey { page: visit.page(), account, form, faults, roles, max_days })
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    if roles::is_asked_for(&form.button, &form.other_role) {
        let page = form_page(&visit, account, form, Faults::default()).await?;
        return Ok(with_status(page.faults.status(), page));
    }
    let days = form.expires_in_days.trim();
    let expires_in_days = match days.parse() {
        Ok(days) => Some(days),
        Err(_) if days.is_empty() => None,
        Err(_) => {
            let faults = Faults::field("expiresInDays", "must be a whole number of days");
            let page = form_page(&visit, account, form, faults).await?;
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
    match visit.api().issue_key(account, &key, &form.attempt).await {
        Ok(issued) => Ok(issued_key::show(visit, account, issued, None)),
        Err(error) if issued_before::is_issued_before(&error) => Ok(issued_before::show(&visit, account)),
        Err(error @ ApiError::Unavailable { .. }) => {
            Err(visit.or_again(error, format!("/accounts/{account}/keys"), form.fields()))
        }
        Err(ApiError::Problem(problem)) if problem.code == ProblemCode::IdempotencyKeyReused => {
            let form = Form { attempt: new_attempt(&visit.console)?, ..form };
            let page = form_page(&visit, account, form, Faults::sent_before()).await?;
            Ok(with_status(422, page))
        }
        Err(error) => {
            let faults = Faults::of(error)?;
            let status = faults.status();
            let page = form_page(&visit, account, form, faults).await?;
            Ok(with_status(status, page))
        }
    }
}
