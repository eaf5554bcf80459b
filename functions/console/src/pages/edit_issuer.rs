//! `GET, POST /new-issuer`: adds a trusted issuer. `GET, POST /issuers/{name}/edit`: changes where
//! its keys come from and which algorithms are accepted.
//!
//! `GET /new-issuer?platform=NAME&account=ID` fills in the issuer of a platform. After the issuer is
//! added, the form for a federated identity of the account opens.
//!
//! `/new-issuer` is not below `/issuers/`, because there an issuer can have any name.

use askama::Template;
use axum::extract::{Path, Query};
use serde::Deserialize;
use shared::api::{ProblemCode, PutIssuerRequest, TrustedIssuer};
use shared::domain::{AccountId, IssuerName, IssuerUrl, Platform, SigningAlgorithm};

use super::issuer::jwks;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::secret_text::may_contain_secret;
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};

/// Where the keys of an issuer come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    #[default]
    Discovery,
    Uri,
    Inline,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    name: String,
    /// The version that the form was opened with, so that it does not overwrite a later change.
    version: String,
    issuer: String,
    source: Source,
    #[serde(rename = "jwksUri")]
    jwks_uri: String,
    jwks: String,
    /// Empty for the algorithms of the platform or of the registered keys.
    algorithms: Vec<String>,
    platform: Platform,
    /// The account to return to.
    account: Option<AccountId>,
}

#[derive(Deserialize)]
pub(super) struct Prefilled {
    #[serde(default)]
    platform: Platform,
    account: Option<AccountId>,
}

#[derive(Template)]
#[template(path = "edit_issuer.html")]
struct EditIssuer {
    page: Page,
    /// The issuer to change. `None` for a new issuer.
    name: Option<IssuerName>,
    form: Form,
    errors: FormErrors,
}

impl EditIssuer {
    fn has(&self, algorithm: SigningAlgorithm) -> bool {
        self.form.algorithms.iter().any(|name| name == algorithm.name())
    }
}

pub(super) async fn show_new(
    session: Session,
    Query(Prefilled { platform, account }): Query<Prefilled>,
) -> PageResult {
    let (name, issuer) = match platform {
        Platform::GitHubActions => ("github", "https://token.actions.githubusercontent.com"),
        Platform::GitLab => ("gitlab", "https://gitlab.com"),
        Platform::Kubernetes | Platform::Aws | Platform::Other => ("", ""),
    };
    let form =
        Form { name: name.to_owned(), issuer: issuer.to_owned(), platform, account, ..Form::default() };
    let page = EditIssuer { page: session.page(), name: None, form, errors: FormErrors::default() };
    session.show(page)
}

pub(super) async fn show(session: Session, Path(name): Path<IssuerName>) -> PageResult {
    let (issuer, version) = session.api().issuer_with_version(&name).await?;
    let form = Form {
        name: issuer.name.to_string(),
        version,
        source: if issuer.jwks.is_some() {
            Source::Inline
        } else if issuer.jwks_uri.is_some() {
            Source::Uri
        } else {
            Source::Discovery
        },
        jwks: jwks(&issuer).unwrap_or_default(),
        algorithms: issuer.algorithms.iter().map(|algorithm| algorithm.name().to_owned()).collect(),
        platform: issuer.platform,
        issuer: issuer.issuer,
        jwks_uri: issuer.jwks_uri.unwrap_or_default(),
        account: None,
    };
    let page = EditIssuer { page: session.page(), name: Some(name), form, errors: FormErrors::default() };
    session.show(page)
}

pub(super) async fn submit_new(Posted(session, form): Posted<Form>) -> PageResult {
    submit_either(session, None, form).await
}

pub(super) async fn submit(Path(name): Path<IssuerName>, Posted(session, form): Posted<Form>) -> PageResult {
    submit_either(session, Some(name), form).await
}

async fn submit_either(session: Session, name: Option<IssuerName>, mut form: Form) -> PageResult {
    match save(&session, name.as_ref(), &form).await {
        Ok(saved) => {
            if let Some(account) = form.account {
                let path = format!("/accounts/{account}/identities/new?platform={}", form.platform.name());
                return session.redirect(&path, &format!("Issuer {} is now trusted.", saved.name));
            }
            let notice = match name {
                Some(_) => {
                    format!("Issuer {} was saved. Changes take effect with the next exchange.", saved.name)
                }
                None => format!(
                    "Issuer {} is now trusted. Next, add federated identities to service accounts.",
                    saved.name
                ),
            };
            session.redirect(&format!("/issuers/{}", saved.name), &notice)
        }
        Err(error) => {
            if may_contain_secret(&form.jwks) {
                form.jwks.clear();
            }
            let page = EditIssuer { page: session.page(), name, errors: error.errors()?, form };
            with_status(page.errors.status(), page)
        }
    }
}

async fn save(session: &Session, name: Option<&IssuerName>, form: &Form) -> Result<TrustedIssuer, FormError> {
    let version = name.map(|_| form.version.as_str());
    let name = match name {
        Some(name) => name.clone(),
        None => IssuerName::parse(form.name.trim())
            .map_err(|error| FormErrors::field("name", error.to_string()))?,
    };
    let jwks = match form.source {
        Source::Inline => {
            let set = serde_json::from_str(&form.jwks);
            Some(set.map_err(|_| {
                FormErrors::field("jwks", "must be a JWK set in JSON, such as {\"keys\": […]}")
            })?)
        }
        Source::Discovery | Source::Uri => None,
    };
    let request = PutIssuerRequest {
        issuer: form.issuer.trim().to_owned(),
        jwks_uri: Some(form.jwks_uri.trim().to_owned()).filter(|_| form.source == Source::Uri),
        jwks,
        algorithms: Some(form.algorithms.clone()).filter(|algorithms| !algorithms.is_empty()),
    };
    match session.api().put_issuer(&name, &request, version).await {
        Ok(issuer) => Ok(issuer),
        Err(error) if version.is_none() && error.code() == Some(ProblemCode::PreconditionFailed) => {
            let problem = "is the name of another trusted issuer. Choose another name";
            Err(FormErrors::field("name", problem).into())
        }
        Err(error) => Err(error.into()),
    }
}
