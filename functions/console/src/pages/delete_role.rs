//! `GET, POST /roles/{name}/delete`: deletes a custom role that nobody has.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::{ProblemCode, RoleUse};
use shared::domain::RoleName;

use super::request::id;
use super::role;
use crate::api::ApiError;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::form::Faults;
use crate::view::layout::{Page, Shown, with_status};

/// What was sent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that was seen.
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
    faults: Faults,
    /// Who has it, if that is why it was not deleted: the first of them.
    users: Vec<RoleUse>,
}

pub(super) async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, PageError> {
    let name: RoleName = id(&name)?;
    let read = role::custom(&visit, &name).await?;
    let form = Form { version: read.version, cursor: String::new() };
    let page = DeleteRole { page: visit.page(), name, form, faults: Faults::default(), users: Vec::new() };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(
    Path(name): Path<String>,
    Posted(visit, mut form): Posted<Form>,
) -> Result<Response, PageError> {
    let name: RoleName = id(&name)?;
    match visit.api().delete_role(&name, &form.version, &form.cursor).await {
        Ok(()) => Ok(visit.go("/roles", &format!("Role {name} was deleted."))),
        Err(ApiError::Problem(problem)) if problem.code == ProblemCode::RoleInUse => {
            let status = problem.status;
            let users = problem.used_by;
            let page = DeleteRole { page: visit.page(), name, form, faults: Faults::default(), users };
            Ok(with_status(status, page))
        }
        Err(ApiError::Problem(problem)) if problem.code == ProblemCode::RoleCheckIncomplete => {
            let status = problem.status;
            form.cursor = problem.next_cursor.unwrap_or_default();
            let page =
                DeleteRole { page: visit.page(), name, form, faults: Faults::default(), users: Vec::new() };
            Ok(with_status(status, page))
        }
        Err(error) => {
            let faults = Faults::of(error)?;
            let page = DeleteRole { page: visit.page(), name, form, faults, users: Vec::new() };
            Ok(with_status(page.faults.status(), page))
        }
    }
}
