//! `GET, POST /roles/{name}/delete`: shows the accounts and keys with a custom role, and
//! deletes the role if there are none.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::api::{ProblemCode, RoleUse, RoleUserList};
use shared::domain::RoleName;

use super::role;
use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, with_status};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that the page was opened with.
    version: String,
    /// The last account that an earlier attempt checked. Empty at first.
    cursor: String,
}

#[derive(Template)]
#[template(path = "delete_role.html")]
struct DeleteRole {
    page: Page,
    name: RoleName,
    form: Form,
    errors: FormErrors,
    /// The first accounts and keys with the role, when the page is opened. `None` if they
    /// are not available, or after an attempt to delete the role.
    users: Option<RoleUserList>,
    /// The first accounts and keys that prevented the deletion.
    used_by: Vec<RoleUse>,
}

impl DeleteRole {
    fn new(session: &Session, name: RoleName, form: Form) -> Self {
        let errors = FormErrors::default();
        Self { page: session.page(), name, form, errors, users: None, used_by: Vec::new() }
    }

    /// The accounts and keys that prevent the deletion.
    fn preventing(&self) -> Option<&RoleUserList> {
        self.users.as_ref().filter(|users| !users.items.is_empty())
    }
}

pub(super) async fn show(session: Session, Path(name): Path<RoleName>) -> PageResult {
    let (role, users) = tokio::join!(role::custom(&session, &name), role::users(&session, &name, ""));
    let ((_, version), users) = (role?, users?);
    let page = DeleteRole::new(&session, name, Form { version, cursor: String::new() });
    session.show(DeleteRole { users, ..page })
}

pub(super) async fn submit(Path(name): Path<RoleName>, Posted(session, form): Posted<Form>) -> PageResult {
    match session.api().delete_role(&name, &form.version, &form.cursor).await {
        Ok(()) => session.redirect("/roles", &format!("Role {name} was deleted.")),
        Err(ApiError::Problem(problem)) if problem.code == ProblemCode::RoleInUse => {
            let page = DeleteRole { used_by: problem.used_by, ..DeleteRole::new(&session, name, form) };
            with_status(problem.status, page)
        }
        Err(ApiError::Problem(problem)) if problem.code == ProblemCode::RoleCheckIncomplete => {
            let form = Form { cursor: problem.next_cursor.unwrap_or_default(), ..form };
            with_status(problem.status, DeleteRole::new(&session, name, form))
        }
        Err(error) => {
            let errors = FormErrors::from_api(error)?;
            let page = DeleteRole { errors, ..DeleteRole::new(&session, name, form) };
            with_status(page.errors.status(), page)
        }
    }
}
