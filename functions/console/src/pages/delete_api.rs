//! `GET, POST /apis/{name}/delete`: deletes a protected API, so that agents can no longer use it.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::api::ApiSettings;
use shared::domain::ApiName;

use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, with_status};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that the page was opened with.
    version: String,
}

#[derive(Template)]
#[template(path = "delete_api.html")]
struct DeleteApi {
    page: Page,
    api: ApiSettings,
    form: Form,
    errors: FormErrors,
}

pub(super) async fn show(session: Session, Path(name): Path<ApiName>) -> PageResult {
    let page = form_page(&session, &name, FormErrors::default()).await?;
    session.show(page)
}

async fn form_page(session: &Session, name: &ApiName, errors: FormErrors) -> PageResult<DeleteApi> {
    let (api, version) = session.api().protected_api_with_version(name).await?;
    Ok(DeleteApi { page: session.page(), api: api.settings, form: Form { version }, errors })
}

pub(super) async fn submit(Path(name): Path<ApiName>, Posted(session, form): Posted<Form>) -> PageResult {
    match session.api().delete_protected_api(&name, &form.version).await {
        Ok(()) => {
            session.redirect("/apis", &format!("API {name} was deleted. Agents can no longer use its tools."))
        }
        Err(error) => {
            let errors = FormErrors::from_api(error)?;
            let page = form_page(&session, &name, errors).await?;
            with_status(page.errors.status(), page)
        }
    }
}
