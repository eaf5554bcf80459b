//! `GET, POST /explain`: checks whether an account, a key or a role can send a request.
//!
//! The form uses POST, so that a key pasted into a field does not stay in an address.

use askama::Template;
use axum::extract::Query;
use serde::Deserialize;
use shared::api::{ExplainRequest, Explanation, RoleHolder, ServiceAccountWithKeys};
use shared::domain::AccountId;
use shared::policy::Method;

use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::find_account::by_id_or_name;
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleNames};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// An account's ID or name.
    account: String,
    /// A key's ID. Empty for a key without its own role.
    key: String,
    role: String,
    method: String,
    path: String,
    source_address: String,
}

/// The initial values of the form.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Prefill {
    account: String,
    key: String,
    role: String,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct Explain {
    page: Page,
    form: Form,
    errors: FormErrors,
    /// The entered account, if it exists.
    account: Option<ServiceAccountWithKeys>,
    roles: RoleNames,
    explanation: Option<Explanation>,
}

pub(super) async fn show(
    session: Session,
    Query(Prefill { account, key, role }): Query<Prefill>,
) -> PageResult {
    let form = Form {
        account,
        key,
        role,
        method: Method::Get.name().to_owned(),
        path: "/".to_owned(),
        ..Form::default()
    };
    let (id, roles) =
        tokio::join!(find_account(&session, &form), role_chooser::available_or_built_in(&session));
    // An unknown account stays in its field, so that it can be corrected.
    let account = read(&session, id.ok().flatten()).await;
    let (page, errors, roles) = (session.page(), FormErrors::default(), roles.names());
    session.show(Explain { page, form, errors, account, roles, explanation: None })
}

pub(super) async fn submit(Posted(session, form): Posted<Form>) -> PageResult {
    let (id, roles) =
        tokio::join!(find_account(&session, &form), role_chooser::available_or_built_in(&session));
    let (account, explanation) = match id {
        Ok(id) => tokio::join!(read(&session, id), explain(&session, id, &form)),
        Err(error) => (None, Err(error)),
    };
    let (explanation, errors) = match explanation {
        Ok(explanation) => (Some(explanation), FormErrors::default()),
        Err(error) => (None, error.errors()?),
    };
    let (page, roles) = (session.page(), roles.names());
    with_status(errors.status(), Explain { page, form, errors, account, roles, explanation })
}

/// Finds the entered account. `None` if the field is empty.
async fn find_account(session: &Session, form: &Form) -> Result<Option<AccountId>, FormError> {
    let text = form.account.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let found = by_id_or_name(session, text).await?;
    let problem = "account not found. Enter its name or ID";
    Ok(Some(found.ok_or_else(|| FormErrors::field("serviceAccountId", problem))?))
}

/// Reads the account, for the list of its keys. The form works without the list.
async fn read(session: &Session, id: Option<AccountId>) -> Option<ServiceAccountWithKeys> {
    session.api().account(id?).await.ok()
}

async fn explain(session: &Session, id: Option<AccountId>, form: &Form) -> Result<Explanation, FormError> {
    let non_empty = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (key, role, address) = (non_empty(&form.key), non_empty(&form.role), non_empty(&form.source_address));
    if id.is_none() && role.is_none() {
        return Err(FormErrors::field("serviceAccountId", "enter an account or choose a role").into());
    }
    let is_for_key = key.is_some();
    let request = ExplainRequest {
        service_account_id: id.map(|id| id.to_string()),
        key_id: key,
        role,
        method: form.method.clone(),
        path: form.path.trim().to_owned(),
        source_address: address,
    };
    session.api().explain(&request).await.map_err(|mut error| {
        if let ApiError::Problem(problem) = &mut error {
            for field in &mut problem.errors {
                if field.pointer == "/role" && id.is_some() {
                    "must be empty if an account is entered".clone_into(&mut field.detail);
                } else if field.pointer == "/sourceAddress" && !is_for_key {
                    "requires a key. Choose a key".clone_into(&mut field.detail);
                }
            }
        }
        error.into()
    })
}
