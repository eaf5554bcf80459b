//! `GET, POST /explain`: may this account, key or role do METHOD PATH?
//!
//! The question is sent, and not in an address, where a key that somebody pastes
//! into a field would stay.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;
use shared::api::{ExplainRequest, Explanation, RoleHolder, ServiceAccountWithKeys};
use shared::domain::AccountId;
use shared::policy::Method;

use crate::api::ApiError;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::find_account::by_id_or_name;
use crate::view::form::{Faults, FormError};
use crate::view::layout::{Page, Shown, with_status};
use crate::view::role_chooser::{self as roles, RoleNames};

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// An account's id or name.
    account: String,
    /// A key's id, or nothing for any key of the account.
    key: String,
    role: String,
    method: String,
    path: String,
    source_address: String,
}

/// What is asked about before anything is typed.
#[derive(Deserialize)]
pub(super) struct About {
    #[serde(default)]
    account: String,
    #[serde(default)]
    role: String,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct Explain {
    page: Page,
    form: Form,
    faults: Faults,
    /// The account that is asked about, if it is known.
    account: Option<ServiceAccountWithKeys>,
    roles: RoleNames,
    answer: Option<Explanation>,
    methods: [&'static str; 7],
}

pub(super) async fn show(
    visit: Visit,
    Query(About { account, role }): Query<About>,
) -> Result<Response, PageError> {
    let form = Form {
        account,
        role,
        method: Method::Get.name().to_owned(),
        path: "/".to_owned(),
        ..Form::default()
    };
    let (id, roles) = tokio::join!(account_of(&visit, &form), roles::known_again(&visit));
    // A text that names no account stands in its field, to be corrected.
    let account = match id.ok().flatten() {
        Some(id) => visit.api().account(id).await.ok().map(|read| read.account),
        None => None,
    };
    let page = Explain {
        page: visit.page(),
        form,
        faults: Faults::default(),
        account,
        roles: roles.names(),
        answer: None,
        methods: methods(),
    };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(Posted(visit, form): Posted<Form>) -> Result<Response, PageError> {
    let (id, roles) = tokio::join!(account_of(&visit, &form), roles::known_again(&visit));
    let (account, answer) = match id {
        Ok(id) => tokio::join!(read(&visit, id), ask(&visit, id, &form)),
        Err(error) => (None, Err(error)),
    };
    let (answer, faults) = match answer {
        Ok(answer) => (Some(answer), Faults::default()),
        Err(error) => (None, error.faults()?),
    };
    let (status, roles) = (faults.status(), roles.names());
    Ok(with_status(
        status,
        Explain { page: visit.page(), form, faults, account, roles, answer, methods: methods() },
    ))
}

/// The account that the form names, if it names one.
async fn account_of(visit: &Visit, form: &Form) -> Result<Option<AccountId>, FormError> {
    let text = form.account.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match by_id_or_name(visit, text).await {
        Ok(Some(id)) => Ok(Some(id)),
        Ok(None) => Err(Faults::field("serviceAccountId", "account not found. Enter its name or ID").into()),
        Err(error) => Err(error.into()),
    }
}

/// Its keys are there to choose from. Without them the question is answered all
/// the same.
async fn read(visit: &Visit, id: Option<AccountId>) -> Option<ServiceAccountWithKeys> {
    visit.api().account(id?).await.ok().map(|read| read.account)
}

async fn ask(visit: &Visit, id: Option<AccountId>, form: &Form) -> Result<Explanation, FormError> {
    let given = |text: &'_ str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (key, role, address) = (given(&form.key), given(&form.role), given(&form.source_address));
    if id.is_none() && role.is_none() {
        return Err(Faults::field("serviceAccountId", "enter an account or choose a role").into());
    }
    let is_for_key = key.is_some();
    let question = ExplainRequest {
        service_account_id: id.map(|id| id.to_string()),
        key_id: key,
        role,
        method: form.method.clone(),
        path: form.path.trim().to_owned(),
        source_address: address,
    };
    visit.api().explain(&question).await.map_err(|error| match error {
        ApiError::Problem(mut problem) => {
            // In the words of this form.
            for error in &mut problem.errors {
                error.detail = match error.pointer.as_str() {
                    "/role" if id.is_some() => "must be empty if an account is entered".to_owned(),
                    "/sourceAddress" if !is_for_key => "requires a key. Choose a key".to_owned(),
                    _ => std::mem::take(&mut error.detail),
                };
            }
            ApiError::Problem(problem).into()
        }
        error @ (ApiError::NotPermitted | ApiError::Unavailable { .. }) => error.into(),
    })
}

fn methods() -> [&'static str; 7] {
    Method::ALL.map(Method::name)
}
