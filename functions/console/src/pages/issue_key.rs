//! `GET /accounts/{id}/keys/new`, `POST /accounts/{id}/keys`: issues a key.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::domain::{AccountId, BuiltInRole, KeyName};
use shared::http::representation::ServiceAccount;

use super::roles::{self, RoleChoice};
use super::{id, issued_key};
use crate::api::{ApiError, NewKey};
use crate::form::{Faults, new_attempt};
use crate::page::{Page, Shown, with_status};
use crate::session::{Posted, Visit};
use crate::trouble::Trouble;

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
    allowed_cidrs: String,
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
    roles: Vec<RoleChoice>,
    max_days: u32,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, Trouble> {
    let form = Form {
        attempt: new_attempt(&visit.console)?,
        expires_in_days: DEFAULT_LIFETIME_DAYS.min(visit.console.max_key_lifetime_days).to_string(),
        ..Form::default()
    };
    let page = form_page(&visit, id(&account)?, form, Faults::default()).await?;
    Ok(visit.show(Shown(page)))
}

async fn form_page(
    visit: &Visit,
    account: AccountId,
    form: Form,
    faults: Faults,
) -> Result<IssueKey, Trouble> {
    let (account, roles) =
        tokio::join!(visit.api().account(account), roles::choices_again(visit, &form.role));
    let account = account?.account.account;
    Ok(IssueKey {
        page: visit.page(),
        roles: narrower(roles, &account.role),
        account,
        form,
        faults,
        max_days: visit.console.max_key_lifetime_days,
    })
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, Trouble> {
    let account: AccountId = id(&account)?;
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
    let key = NewKey {
        name: &form.name,
        expires_in_days,
        role: Some(form.role.as_str()).filter(|role| !role.is_empty()),
        allowed_cidrs: form
            .allowed_cidrs
            .split([',', ' ', '\n', '\r', '\t'])
            .filter(|cidr| !cidr.is_empty())
            .collect(),
    };
    match visit.api().issue_key(account, &key, &form.attempt).await {
        Ok(issued) => Ok(issued_key::show(visit, account, issued)),
        Err(error) if issued_key::is_issued_before(&error) => {
            Ok(issued_key::show_issued_before(&visit, account))
        }
        Err(error @ ApiError::Unavailable { .. }) => {
            Err(visit.or_again(error, format!("/accounts/{account}/keys"), form.fields()))
        }
        Err(ApiError::Problem(problem)) if problem.code == "idempotency_key_reused" => {
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

/// The roles that make a key narrower than its account: of the built-in ones
/// those below the account's, and any other than the account's where one of the
/// two is custom.
fn narrower(roles: Vec<RoleChoice>, account_role: &str) -> Vec<RoleChoice> {
    let rank = |name: &str| BuiltInRole::ALL.into_iter().rev().position(|role| role.name() == name);
    let is_narrower = |choice: &RoleChoice| match (rank(&choice.name), rank(account_role)) {
        (Some(one), Some(most)) => one < most,
        _ => choice.name != account_role,
    };
    roles.into_iter().filter(is_narrower).collect()
}
