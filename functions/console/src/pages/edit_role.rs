//! `GET, POST /new-role`: registers a custom role. `GET, POST
//! /roles/{name}/edit`: replaces one. Either form can be previewed: it then says
//! what its permissions match, and saves nothing.
//!
//! The form of a new one is not below `/roles/`, where a role of any name has
//! its page.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use shared::api::Role;
use shared::api::{FieldError, ProblemCode, PutRoleRequest};
use shared::domain::{Description, RoleName};
use shared::policy::{Permission, Permissions};

use super::request::id;
use super::role;
use crate::api::{ApiError, Before};
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::problem::unmarked;
use crate::view::form::{Faults, FormError};
use crate::view::layout::{Page, Shown, with_status};
use crate::view::permissions::{Matched, widest_first};

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    name: String,
    /// The version that was seen: a change by somebody else is not overwritten.
    version: String,
    description: String,
    /// One a line.
    permissions: String,
    /// Which button was pressed: `preview`, or nothing.
    button: String,
}

#[derive(Template)]
#[template(path = "edit_role.html")]
struct EditRole {
    page: Page,
    /// The role that is replaced.
    name: Option<RoleName>,
    form: Form,
    faults: Faults,
    /// What it would match, if somebody has asked.
    preview: Option<Vec<Matched>>,
}

pub(super) async fn show_new(visit: Visit) -> Result<Response, PageError> {
    let (form, faults) = (Form::default(), Faults::default());
    let page = EditRole { page: visit.page(), name: None, form, faults, preview: None };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, PageError> {
    let name: RoleName = id(&name)?;
    let read = role::custom(&visit, &name).await?;
    let form = Form {
        name: read.role.name.to_string(),
        version: read.version,
        description: read.role.description,
        permissions: read.role.permissions.join("\n"),
        button: String::new(),
    };
    let faults = Faults::default();
    let page = EditRole { page: visit.page(), name: Some(name), form, faults, preview: None };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit_new(Posted(visit, form): Posted<Form>) -> Result<Response, PageError> {
    submit_either(visit, None, form).await
}

pub(super) async fn submit(
    Path(name): Path<String>,
    Posted(visit, form): Posted<Form>,
) -> Result<Response, PageError> {
    submit_either(visit, Some(id(&name)?), form).await
}

/// Registers or replaces a role, or says what it would match.
async fn submit_either(visit: Visit, name: Option<RoleName>, form: Form) -> Result<Response, PageError> {
    if form.button == "preview" {
        let (preview, faults) = preview(&form.permissions);
        let status = faults.status();
        let page = EditRole { page: visit.page(), name, form, faults, preview: Some(preview) };
        return Ok(with_status(status, page));
    }
    match put(&visit, name.as_ref(), &form).await {
        Ok(saved) => {
            let notice = format!("Role {} was saved. It takes effect with the next request.", saved.name);
            Ok(visit.go(&format!("/roles/{}", saved.name), &notice))
        }
        Err(error) => {
            let faults = error.faults()?;
            let page = EditRole { page: visit.page(), name, form, faults, preview: None };
            Ok(with_status(page.faults.status(), page))
        }
    }
}

/// Puts the role, or says what is wrong with the form.
async fn put(visit: &Visit, name: Option<&RoleName>, form: &Form) -> Result<Role, FormError> {
    let new = name.is_none();
    let name = match name {
        Some(name) => name.clone(),
        None => form.name.trim().parse().map_err(|_| {
            Faults::field(
                "name",
                "must begin with a letter, followed by up to 63 letters, digits, dots, underscores and dashes",
            )
        })?,
    };
    let lines = lines(&form.permissions);
    let role = PutRoleRequest {
        description: form.description.clone(),
        permissions: lines.iter().map(|(_, text)| (*text).to_owned()).collect(),
    };
    let before = if new { Before::Nothing } else { Before::Version(&form.version) };
    match visit.api().put_role(&name, &role, before).await {
        Ok(role) => Ok(role),
        Err(ApiError::Problem(problem)) if new && problem.code == ProblemCode::PreconditionFailed => {
            // Sent twice, it is the same role.
            let there = visit.api().role(&name).await.map_err(|error| FormError::Page(error.into()))?.role;
            if is_same(&there, &role) {
                return Ok(there);
            }
            Err(Faults::field("name", "is the name of another role. Choose another name, or edit that role")
                .into())
        }
        Err(ApiError::Problem(mut problem)) => {
            problem.errors = placed(problem.errors, &lines);
            Err(ApiError::Problem(problem).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_same(there: &Role, new: &PutRoleRequest) -> bool {
    let permissions = Permissions::parse(&new.permissions).map(Permissions::into_vec).unwrap_or_default();
    there.description == new.description.trim()
        && permissions.iter().map(Permission::as_str).eq(there.permissions.iter().map(String::as_str))
}

/// What the permissions match, and what is wrong with them, by the code of the
/// API.
fn preview(text: &str) -> (Vec<Matched>, Faults) {
    let lines = lines(text);
    let texts: Vec<_> = lines.iter().map(|(_, text)| *text).collect();
    let mut matching: Vec<_> = texts.iter().map(ToString::to_string).collect();
    widest_first(&mut matching);
    let preview = Matched::of_all(&matching);
    let Err(problems) = Permissions::parse(&texts) else {
        return (preview, Faults::default());
    };
    let errors = problems.into_iter().map(|problem| FieldError {
        pointer: problem
            .position()
            .map_or_else(|| "/permissions".to_owned(), |at| format!("/permissions/{at}")),
        detail: unmarked(&problem.to_string()),
    });
    (preview, Faults::fields(placed(errors.collect(), &lines)))
}

/// The lines that have something on them, with their numbers.
fn lines(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty()).collect()
}

/// A line, of which more would tell nothing.
fn beginning(line: &str) -> String {
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// `errors`, in which a permission is told by its line.
fn placed(errors: Vec<FieldError>, lines: &[(usize, &str)]) -> Vec<FieldError> {
    let place = |error: FieldError| {
        let detail = lines.iter().enumerate().fold(error.detail, |detail, (at, (line, _))| {
            detail.replace(&format!("/permissions/{at}:"), &format!("line {line}:"))
        });
        let at = error.pointer.strip_prefix("/permissions/").and_then(|at| at.parse::<usize>().ok());
        let detail = match at.and_then(|at| lines.get(at)) {
            Some((line, text)) => format!("Line {line}, {}, {detail}", beginning(text)),
            None => detail,
        };
        FieldError { detail, ..error }
    };
    errors.into_iter().map(place).collect()
}
