//! `GET /accounts/new`, `POST /accounts`: creates an account.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use serde::Deserialize;
use shared::api::{CreateServiceAccountRequest, ProblemCode};
use shared::domain::{AccountName, BuiltInRole, Description, Owner};

use crate::api::ApiError;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::form::{Faults, new_attempt};
use crate::view::layout::{Page, Shown, with_status};
use crate::view::role_chooser::{self as roles, Chooser};

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    attempt: String,
    name: String,
    description: String,
    owner: String,
    role: String,
    /// The name of a further role, which is shown before it can be chosen.
    other_role: String,
    /// Which button was pressed: `role` shows that one. Or nothing.
    button: String,
}

#[derive(Template)]
#[template(path = "create_account.html")]
struct CreateAccount {
    page: Page,
    form: Form,
    faults: Faults,
    roles: Chooser,
}

pub(super) async fn show(visit: Visit) -> Result<Response, PageError> {
    let attempt = new_attempt(&visit.console)?;
    let roles = roles::known(&visit).await?;
    // Least privilege is what is chosen unless somebody chooses.
    let form = Form { attempt, role: BuiltInRole::Reader.name().to_owned(), ..Form::default() };
    let roles = roles.chooser(&visit, &form.role, "").await;
    let page = CreateAccount { page: visit.page(), form, faults: Faults::default(), roles };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(Posted(visit, mut form): Posted<Form>) -> Result<Response, PageError> {
    if roles::is_asked_for(&form.button, &form.other_role) {
        let known = roles::known_again(&visit).await;
        let (roles, faults) = known.choose(&visit, &mut form.role, &mut form.other_role).await?;
        return Ok(with_status(faults.status(), CreateAccount { page: visit.page(), form, faults, roles }));
    }
    let new = CreateServiceAccountRequest {
        name: form.name.clone(),
        role: form.role.clone(),
        description: form.description.clone(),
        owner: form.owner.clone(),
        tags: BTreeMap::new(),
    };
    match visit.api().create_account(&new, &form.attempt).await {
        Ok(account) => Ok(visit.go(
            &format!("/accounts/{}", account.id),
            &format!("{} was created. Next, issue a key.", account.name),
        )),
        Err(error) => {
            let code = if let ApiError::Problem(problem) = &error { Some(problem.code) } else { None };
            let is_reused = code == Some(ProblemCode::IdempotencyKeyReused);
            // Sent again, it is then another attempt.
            let attempt = if is_reused || code == Some(ProblemCode::ServiceAccountDeleted) {
                new_attempt(&visit.console)?
            } else {
                form.attempt
            };
            let faults = if is_reused { Faults::sent_before() } else { Faults::of(error)? };
            let form = Form { attempt, ..form };
            let page = visit.page();
            let known = roles::known_again(&visit).await;
            let roles = known.chooser(&visit, &form.role, roles::CHOSEN_BEFORE).await;
            Ok(with_status(faults.status(), CreateAccount { page, form, faults, roles }))
        }
    }
}
