//! `GET, POST /new-api`: registers a protected API. `GET, POST /apis/{name}/edit`: changes its
//! settings or its `OpenAPI` document.
//!
//! `/new-api` is not below `/apis/`, because there an API can have any name.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::api::{FieldError, ProblemCode, PutApiRequest, RegisteredApi};
use shared::domain::{ApiId, ApiName, ApiTitle, BaseUrl, Confirmation, RoutePrefix, contains_credential};

use super::edit_role::{lines, with_line_numbers};
use crate::api::ApiError;
use crate::auth::session::{PostedDocument, Session};
use crate::error::{PageError, PageResult};
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};

/// The largest document that a form with errors shows again, in bytes. HTML escapes can take five
/// times as much.
const MAX_REPEATED_BYTES: usize = 400_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    name: String,
    /// The version that the form was opened with, so that it does not overwrite a later change.
    version: String,
    title: String,
    #[serde(rename = "baseUrl")]
    base_url: String,
    #[serde(rename = "apiId")]
    api_id: String,
    #[serde(rename = "routePrefix")]
    route_prefix: String,
    /// Empty to keep the document of a registered API.
    openapi: String,
    /// One permission per line.
    include: String,
    exclude: String,
    confirmation: String,
}

#[derive(Template)]
#[template(path = "edit_api.html")]
struct EditApi {
    page: Page,
    /// The API to change. `None` for a new API.
    name: Option<ApiName>,
    form: Form,
    errors: FormErrors,
}

pub(super) async fn show_new(session: Session) -> PageResult {
    let form = Form { confirmation: Confirmation::Off.name().to_owned(), ..Form::default() };
    let page = EditApi { page: session.page(), name: None, form, errors: FormErrors::default() };
    session.show(page)
}

pub(super) async fn show(session: Session, Path(name): Path<ApiName>) -> PageResult {
    let (api, version) = session.api().protected_api_with_version(&name).await?;
    let api = api.settings;
    let form = Form {
        name: api.name.to_string(),
        version,
        title: api.title,
        base_url: api.base_url,
        api_id: api.api_id.to_string(),
        route_prefix: api.route_prefix,
        openapi: String::new(),
        include: api.include.unwrap_or_default().join("\n"),
        exclude: api.exclude.join("\n"),
        confirmation: api.confirmation.name().to_owned(),
    };
    let page = EditApi { page: session.page(), name: Some(name), form, errors: FormErrors::default() };
    session.show(page)
}

pub(super) async fn submit_new(PostedDocument(session, form): PostedDocument<Form>) -> PageResult {
    submit_either(session, None, form).await
}

pub(super) async fn submit(
    Path(name): Path<ApiName>,
    PostedDocument(session, form): PostedDocument<Form>,
) -> PageResult {
    submit_either(session, Some(name), form).await
}

async fn submit_either(session: Session, name: Option<ApiName>, mut form: Form) -> PageResult {
    match save(&session, name.as_ref(), &form).await {
        Ok(saved) => {
            let tools = super::apis::tools(saved.settings.tool_count);
            let saved = saved.settings.name;
            let notice = match name {
                Some(_) => format!("API {saved} was saved. Agents see its {tools} from their next request."),
                None => format!("API {saved} was registered. Agents can now use its {tools}."),
            };
            session.redirect(&format!("/apis/{saved}"), &notice)
        }
        Err(error) => {
            let mut errors = error.errors()?;
            if form.openapi.len() > MAX_REPEATED_BYTES || contains_credential(&form.openapi) {
                form.openapi.clear();
                errors.add("openapi", "choose or paste the document again");
            }
            let page = EditApi { page: session.page(), name, form, errors };
            with_status(page.errors.status(), page)
        }
    }
}

async fn save(session: &Session, name: Option<&ApiName>, form: &Form) -> Result<RegisteredApi, FormError> {
    let version = name.map(|_| form.version.as_str());
    let name = match name {
        Some(name) => name.clone(),
        None => {
            ApiName::parse(form.name.trim()).map_err(|error| FormErrors::field("name", error.to_string()))?
        }
    };
    let (include, exclude) = (lines(&form.include), lines(&form.exclude));
    let permissions = |lines: &[(usize, &str)]| lines.iter().map(|(_, text)| (*text).to_owned()).collect();
    let request = PutApiRequest {
        title: form.title.trim().to_owned(),
        base_url: form.base_url.trim().to_owned(),
        api_id: Some(form.api_id.trim().to_owned()).filter(|id| !id.is_empty()),
        route_prefix: form.route_prefix.trim().to_owned(),
        openapi: document(&form.openapi)?,
        include: Some(permissions(&include)).filter(|include: &Vec<_>| !include.is_empty()),
        exclude: permissions(&exclude),
        confirmation: Some(form.confirmation.clone()).filter(|confirmation| !confirmation.is_empty()),
    };
    match session.api().put_protected_api(&name, &request, version).await {
        Ok(api) => Ok(api),
        Err(error) if version.is_none() && error.code() == Some(ProblemCode::PreconditionFailed) => {
            Err(FormErrors::field("name", "is the name of another API. Choose another name").into())
        }
        Err(ApiError::Problem(mut problem)) => {
            let errors = with_line_numbers("include", problem.errors, &include);
            let errors = with_line_numbers("exclude", errors, &exclude);
            problem.errors = errors.into_iter().map(with_place).collect();
            Err(ApiError::Problem(problem).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The document as a JSON string. `None` if the field is empty.
fn document(text: &str) -> Result<Option<Box<RawValue>>, FormError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    to_raw_value(text).map(Some).map_err(|error| FormError::Page(PageError::unavailable(error)))
}

/// Begins the text of an error in the document with its place there, as a JSON pointer.
fn with_place(error: FieldError) -> FieldError {
    match error.pointer.strip_prefix("/openapi").filter(|place| !place.is_empty()) {
        Some(place) => FieldError { detail: format!("{place} {}", error.detail), ..error },
        None => error,
    }
}
