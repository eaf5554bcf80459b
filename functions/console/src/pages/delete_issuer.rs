//! `GET, POST /issuers/{name}/delete`: deletes a trusted issuer, which ends all access through it.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::api::TrustedIssuer;
use shared::domain::IssuerName;

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
#[template(path = "delete_issuer.html")]
struct DeleteIssuer {
    page: Page,
    issuer: TrustedIssuer,
    form: Form,
    errors: FormErrors,
}

pub(super) async fn show(session: Session, Path(name): Path<IssuerName>) -> PageResult {
    let page = form_page(&session, &name, FormErrors::default()).await?;
    session.show(page)
}

async fn form_page(session: &Session, name: &IssuerName, errors: FormErrors) -> PageResult<DeleteIssuer> {
    let (issuer, version) = session.api().issuer_with_version(name).await?;
    Ok(DeleteIssuer { page: session.page(), issuer, form: Form { version }, errors })
}

pub(super) async fn submit(Path(name): Path<IssuerName>, Posted(session, form): Posted<Form>) -> PageResult {
    match session.api().delete_issuer(&name, &form.version).await {
        Ok(()) => {
            let notice = format!("Issuer {name} was deleted. All tokens made through it are refused.");
            session.redirect("/issuers", &notice)
        }
        Err(error) => {
            let errors = FormErrors::from_api(error)?;
            let page = form_page(&session, &name, errors).await?;
            with_status(page.errors.status(), page)
        }
    }
}
