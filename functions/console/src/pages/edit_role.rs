//! `GET, POST /new-role`: creates a custom role. `GET, POST /roles/{name}/edit`: replaces
//! a custom role, after its added and removed permissions were shown ([`review_role`]). Both
//! forms have a preview of what the permissions match.
//!
//! `GET /new-role?account=ID` drafts a role that permits what the account used.
//!
//! `/new-role` is not below `/roles/`, because there a role can have any name.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;
use shared::api::{FieldError, ProblemCode, PutRoleRequest, Role};
use shared::domain::{AccountId, Description, RoleName};
use shared::policy::{Permission, Permissions};

use super::{review_role, role, role_usage};
use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::problem::without_backticks;
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};
use crate::view::permissions::{PermissionExample, widest_first};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    pub(super) name: String,
    /// The version that the form was opened with, so that it does not overwrite a later change.
    pub(super) version: String,
    pub(super) description: String,
    /// One permission per line.
    pub(super) permissions: String,
    /// The pressed button: `preview`, or empty for the main button. `confirm` and `back` are
    /// on the page of [`review_role`].
    pub(super) button: String,
    /// The ID of the account for which the role was drafted, or empty.
    pub(super) account: String,
}

/// The account for which to draft a role.
#[derive(Deserialize)]
pub(super) struct Draft {
    account: Option<AccountId>,
}

#[derive(Template)]
#[template(path = "edit_role.html")]
struct EditRole {
    page: Page,
    /// The role to replace. `None` for a new role.
    name: Option<RoleName>,
    form: Form,
    errors: FormErrors,
    /// The preview, if it was requested.
    preview: Option<Vec<PermissionExample>>,
}

impl EditRole {
    fn new(session: &Session, name: Option<RoleName>, form: Form, errors: FormErrors) -> Self {
        Self { page: session.page(), name, form, errors, preview: None }
    }
}

pub(super) async fn show_new(session: Session, Query(Draft { account }): Query<Draft>) -> PageResult {
    let form = match account {
        Some(account) => match role_usage::draft(&session, account).await? {
            Some(form) => form,
            // The page says why there is no draft.
            None => return Ok(Redirect::to(&format!("/accounts/{account}/role-usage")).into_response()),
        },
        None => Form::default(),
    };
    let page = EditRole::new(&session, None, form, FormErrors::default());
    session.show(page)
}

pub(super) async fn show(session: Session, Path(name): Path<RoleName>) -> PageResult {
    let (role, version) = role::custom(&session, &name).await?;
    let form = Form {
        name: role.name.to_string(),
        version,
        description: role.description,
        permissions: role.permissions.join("\n"),
        ..Form::default()
    };
    let page = EditRole::new(&session, Some(name), form, FormErrors::default());
    session.show(page)
}

pub(super) async fn submit_new(Posted(session, form): Posted<Form>) -> PageResult {
    submit_either(session, None, form).await
}

pub(super) async fn submit(Path(name): Path<RoleName>, Posted(session, form): Posted<Form>) -> PageResult {
    submit_either(session, Some(name), form).await
}

/// Shows the form with imported permissions, and their errors.
pub(super) fn show_imported(session: &Session, name: Option<RoleName>, form: Form) -> PageResult {
    let errors = permissions(&form.permissions).err().unwrap_or_default();
    with_status(errors.status(), EditRole::new(session, name, form, errors))
}

async fn submit_either(session: Session, name: Option<RoleName>, mut form: Form) -> PageResult {
    if form.button == "back" {
        return with_status(200, EditRole::new(&session, name, form, FormErrors::default()));
    }
    if form.button == "preview" {
        let (preview, errors) = preview(&form.permissions);
        let page = EditRole { preview: Some(preview), ..EditRole::new(&session, name, form, errors) };
        return with_status(page.errors.status(), page);
    }
    // A new role affects no account and no key.
    if let Some(name) = name.as_ref().filter(|_| form.button != "confirm") {
        match review_role::review(&session, name, &mut form).await {
            Ok(None) => {}
            Ok(Some(review)) => return Ok(review),
            Err(error) => {
                let page = EditRole::new(&session, Some(name.clone()), form, error.errors()?);
                return with_status(page.errors.status(), page);
            }
        }
    }
    match save(&session, name.as_ref(), &form).await {
        Ok(saved) => {
            if let Ok(account) = form.account.parse::<AccountId>() {
                let notice =
                    format!("Role {} was saved. This account does not have the role yet.", saved.name);
                return session.redirect(&format!("/accounts/{account}/role?to={}", saved.name), &notice);
            }
            let notice = format!("Role {} was saved. It takes effect with the next request.", saved.name);
            session.redirect(&format!("/roles/{}", saved.name), &notice)
        }
        Err(error) => {
            let page = EditRole::new(&session, name, form, error.errors()?);
            with_status(page.errors.status(), page)
        }
    }
}

async fn save(session: &Session, name: Option<&RoleName>, form: &Form) -> Result<Role, FormError> {
    let version = name.map(|_| form.version.as_str());
    let name = match name {
        Some(name) => name.clone(),
        None => {
            RoleName::parse(form.name.trim()).map_err(|error| FormErrors::field("name", error.to_string()))?
        }
    };
    let lines = lines(&form.permissions);
    let role = PutRoleRequest {
        description: form.description.clone(),
        permissions: lines.iter().map(|(_, text)| (*text).to_owned()).collect(),
    };
    match session.api().put_role(&name, &role, version).await {
        Ok(role) => Ok(role),
        Err(error) if version.is_none() && error.code() == Some(ProblemCode::PreconditionFailed) => {
            // The form was sent twice, or another role has this name.
            let existing = session.api().role(&name).await.map_err(|error| FormError::Page(error.into()))?;
            if is_same(&existing, &role) {
                return Ok(existing);
            }
            let problem = "is the name of another role. Choose another name, or edit that role";
            Err(FormErrors::field("name", problem).into())
        }
        Err(ApiError::Problem(mut problem)) => {
            problem.errors = with_line_numbers("permissions", problem.errors, &lines);
            Err(ApiError::Problem(problem).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_same(existing: &Role, new: &PutRoleRequest) -> bool {
    let permissions = Permissions::parse(&new.permissions).map(Permissions::into_vec).unwrap_or_default();
    existing.description == new.description.trim()
        && permissions.iter().map(Permission::as_str).eq(existing.permissions.iter().map(String::as_str))
}

/// Parses the permissions with the API's own parser.
pub(super) fn permissions(text: &str) -> Result<Permissions, FormErrors> {
    let lines = lines(text);
    let texts: Vec<_> = lines.iter().map(|(_, text)| *text).collect();
    Permissions::parse(&texts).map_err(|problems| {
        let errors = problems.into_iter().map(|problem| FieldError {
            pointer: problem
                .position()
                .map_or_else(|| "/permissions".to_owned(), |at| format!("/permissions/{at}")),
            detail: without_backticks(&problem.to_string()),
        });
        FormErrors::fields(with_line_numbers("permissions", errors.collect(), &lines))
    })
}

/// Examples for the valid permissions, and the errors of the others.
fn preview(text: &str) -> (Vec<PermissionExample>, FormErrors) {
    let mut matching: Vec<_> = lines(text).into_iter().map(|(_, text)| text.to_owned()).collect();
    widest_first(&mut matching);
    (PermissionExample::parse_all(&matching), permissions(text).err().unwrap_or_default())
}

/// The non-empty lines with their numbers.
pub(super) fn lines(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty()).collect()
}

/// The first 100 characters of a line.
fn shortened(line: &str) -> String {
    let start: String = line.chars().take(100).collect();
    if start.len() < line.len() { format!("{start}…") } else { start }
}

/// Replaces positions in the list of permissions `field` with line numbers.
pub(super) fn with_line_numbers(
    field: &str,
    errors: Vec<FieldError>,
    lines: &[(usize, &str)],
) -> Vec<FieldError> {
    let list = format!("/{field}/");
    let with_line_number = |error: FieldError| {
        let detail = lines.iter().enumerate().fold(error.detail, |detail, (at, (line, _))| {
            detail.replace(&format!("{list}{at}:"), &format!("line {line}:"))
        });
        let at = error.pointer.strip_prefix(&list).and_then(|at| at.parse::<usize>().ok());
        let detail = match at.and_then(|at| lines.get(at)) {
            Some((line, text)) => format!("Line {line}, {}, {detail}", shortened(text)),
            None => detail,
        };
        FieldError { detail, ..error }
    };
    errors.into_iter().map(with_line_number).collect()
}
