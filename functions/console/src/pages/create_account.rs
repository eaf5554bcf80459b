//! `GET /accounts/new`, `POST /accounts`: creates an account.

use askama::Template;
use serde::Deserialize;
use shared::api::{CreateServiceAccountRequest, ProblemCode};
use shared::domain::{AccountName, BuiltInRole, Description, Owner};

use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::{FormErrors, new_attempt};
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleChooser};
use crate::view::tags;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    attempt: String,
    name: String,
    description: String,
    owner: String,
    /// See [`tags`].
    tags: String,
    role: String,
    /// The filter of the roles.
    find_role: String,
    /// The pressed button: `role` applies the filter of the roles. Empty for the main button.
    button: String,
}

#[derive(Template)]
#[template(path = "create_account.html")]
struct CreateAccount {
    page: Page,
    form: Form,
    errors: FormErrors,
    roles: RoleChooser,
}

pub(super) async fn show(session: Session) -> PageResult {
    let attempt = new_attempt(&session.console)?;
    let roles = role_chooser::available(&session).await?;
    // Least privilege by default.
    let form = Form { attempt, role: BuiltInRole::Reader.name().to_owned(), ..Form::default() };
    let roles = roles.chooser(&session, &form.role, "").await;
    let page = CreateAccount { page: session.page(), form, errors: FormErrors::default(), roles };
    session.show(page)
}

pub(super) async fn submit(Posted(session, mut form): Posted<Form>) -> PageResult {
    if role_chooser::is_search(&form.button, &form.find_role) {
        let known = role_chooser::available_or_built_in(&session).await;
        let (roles, errors) = known.search(&session, &mut form.role, &mut form.find_role).await?;
        return with_status(errors.status(), CreateAccount { page: session.page(), form, errors, roles });
    }
    let tags = match tags::parse(&form.tags) {
        Ok(tags) => tags,
        Err(errors) => return again(&session, form, errors).await,
    };
    let new = CreateServiceAccountRequest {
        name: form.name.clone(),
        role: form.role.clone(),
        description: form.description.clone(),
        owner: form.owner.clone(),
        tags,
    };
    match session.api().create_account(&new, &form.attempt).await {
        Ok(account) => session.redirect(
            &format!("/accounts/{}", account.id),
            &format!("{} was created. Next, issue a key.", account.name),
        ),
        Err(error) => {
            // The next submission is a new attempt.
            let spent = [ProblemCode::IdempotencyKeyReused, ProblemCode::ServiceAccountDeleted];
            if error.code().is_some_and(|code| spent.contains(&code)) {
                form.attempt = new_attempt(&session.console)?;
            }
            again(&session, form, FormErrors::from_api(error)?).await
        }
    }
}

/// Shows the form again with its values.
async fn again(session: &Session, form: Form, errors: FormErrors) -> PageResult {
    let known = role_chooser::available_or_built_in(session).await;
    let roles = known.chooser(session, &form.role, role_chooser::CHOSEN_BEFORE).await;
    with_status(errors.status(), CreateAccount { page: session.page(), form, errors, roles })
}
