//! `GET /accounts/{id}/identities/new?platform=NAME`, `POST /accounts/{id}/identities`: adds a
//! federated identity, with a form for each platform.

use askama::Template;
use axum::extract::{Path, Query};
use serde::Deserialize;
use shared::api::{CreateFederatedIdentityRequest, FieldError, ProblemCode, ServiceAccount, TrustedIssuer};
use shared::domain::{AccountId, Audience, IdentityName, MAX_CLAIM_CHARS, Platform};

use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::form::{FormErrors, new_attempt};
use crate::view::layout::{Page, with_status};
use crate::view::platform;
use crate::view::required_claims::{ClaimFields, Commands, field_of};
use crate::view::role_chooser::{self, RoleChooser};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    attempt: String,
    platform: Platform,
    name: String,
    issuer: String,
    audience: String,
    #[serde(flatten)]
    fields: ClaimFields,
    role: String,
    /// The filter of the roles.
    find_role: String,
    expires_in_days: String,
    /// `true`, `false` or, for the default, empty.
    single_use: String,
    max_age_seconds: String,
    /// The pressed button: `commands` shows the commands for the repository, and `role` applies the
    /// filter of the roles. Empty for the main button.
    button: String,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    platform: Platform,
}

#[derive(Template)]
#[template(path = "add_identity.html")]
struct AddIdentity {
    page: Page,
    account: ServiceAccount,
    form: Form,
    errors: FormErrors,
    /// The issuers that can be the platform's.
    issuers: Vec<TrustedIssuer>,
    commands: Commands,
    /// The roles that permit less than the account's role.
    roles: RoleChooser,
}

impl AddIdentity {
    /// Whether the form is shown for the first time.
    fn is_new(&self) -> bool {
        self.form.name.is_empty() && self.form.button.is_empty() && self.roles.focused.is_none()
    }

    /// The issuer to add before the form can be used.
    fn platform_issuer(&self) -> &'static str {
        match self.form.platform {
            Platform::GitHubActions => "GitHub",
            Platform::GitLab => "your GitLab",
            Platform::Kubernetes => "your cluster",
            Platform::Aws => "the AWS account of the role",
            Platform::Other => "the platform",
        }
    }

    /// Whether a field of the restrictions has an error.
    fn has_option_errors(&self) -> bool {
        let fields = ["role", "find_role", "expiresInDays", "singleUse", "maxAgeSeconds"];
        fields.iter().any(|field| self.errors.on(field).is_some())
    }

    /// Whether a field of the restrictions is filled in.
    fn has_options(&self) -> bool {
        let Form { role, find_role, expires_in_days, single_use, max_age_seconds, .. } = &self.form;
        let is_role_search = role_chooser::is_search(&self.form.button, find_role);
        is_role_search
            || [role, expires_in_days, single_use, max_age_seconds].iter().any(|value| !value.is_empty())
    }
}

pub(super) async fn show(
    session: Session,
    Path(id): Path<AccountId>,
    Query(Choice { platform }): Query<Choice>,
) -> PageResult {
    let form = Form {
        attempt: new_attempt(&session.console)?,
        platform,
        audience: session.console.api.base.clone(),
        fields: ClaimFields { ref_protected: "true".to_owned(), ..ClaimFields::default() },
        ..Form::default()
    };
    let page = form_page(&session, id, form, FormErrors::default()).await?;
    session.show(page)
}

/// The form with `errors` or, if the filter of the roles was entered, with the roles that match.
async fn form_page(
    session: &Session,
    id: AccountId,
    mut form: Form,
    errors: FormErrors,
) -> PageResult<AddIdentity> {
    let (account, issuers, known) = tokio::join!(
        session.api().account(id),
        session.api().issuers(),
        role_chooser::available_or_built_in(session)
    );
    let account = account?.account;
    let mut issuers = issuers?;
    // An issuer of another known platform cannot be chosen, unless the form is for any platform.
    issuers.retain(|issuer| {
        [issuer.platform, Platform::Other].contains(&form.platform) || issuer.platform == Platform::Other
    });
    issuers.sort_by_key(|issuer| issuer.platform != form.platform);
    let known = known.narrower_than(account.role.as_str());
    let (roles, errors) = if role_chooser::is_search(&form.button, &form.find_role) {
        known.search(session, &mut form.role, &mut form.find_role).await?
    } else {
        (known.chooser(session, &form.role, role_chooser::CHOSEN_BEFORE).await, errors)
    };
    let commands = form.fields.commands(form.platform);
    Ok(AddIdentity { page: session.page(), account, form, errors, issuers, commands, roles })
}

pub(super) async fn submit(Path(id): Path<AccountId>, Posted(session, mut form): Posted<Form>) -> PageResult {
    if form.button == "commands" {
        let problem = form.fields.repository_error(form.platform);
        let errors = problem.map_or_else(FormErrors::default, |problem| FormErrors::fields(vec![problem]));
        return again(&session, id, form, errors).await;
    }
    if role_chooser::is_search(&form.button, &form.find_role) {
        return again(&session, id, form, FormErrors::default()).await;
    }
    let new = match request(&form) {
        Ok(new) => new,
        Err(errors) => return again(&session, id, form, FormErrors::fields(errors)).await,
    };
    match session.api().create_federated_identity(id, &new, &form.attempt).await {
        Ok(identity) => {
            let notice = format!("{} was added. Next, use the example on this page.", identity.name);
            session.redirect(&format!("/accounts/{id}/identities/{}", identity.id), &notice)
        }
        Err(error) => {
            // The next submission is a new attempt.
            if error.code() == Some(ProblemCode::IdempotencyKeyReused) {
                form.attempt = new_attempt(&session.console)?;
            }
            let errors = FormErrors::from_api(with_form_fields(error, form.platform))?;
            again(&session, id, form, errors).await
        }
    }
}

/// The request of the form.
fn request(form: &Form) -> Result<CreateFederatedIdentityRequest, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut number = |field: &str, text: &str| {
        let text = text.trim();
        match text.parse::<u32>() {
            Ok(number) => Some(number),
            Err(_) if text.is_empty() => None,
            Err(_) => {
                let detail = "must be a whole number".to_owned();
                errors.push(FieldError { pointer: format!("/{field}"), detail });
                None
            }
        }
    };
    let expires_in_days = number("expiresInDays", &form.expires_in_days);
    let max_age_seconds = number("maxAgeSeconds", &form.max_age_seconds);
    match form.fields.claims(form.platform) {
        Ok(claims) if errors.is_empty() => Ok(CreateFederatedIdentityRequest {
            name: form.name.clone(),
            issuer: form.issuer.clone(),
            audience: form.audience.trim().to_owned(),
            claims,
            role: Some(form.role.clone()).filter(|role| !role.is_empty()),
            expires_in_days,
            single_use: form.single_use.parse().ok(),
            max_age_seconds,
        }),
        Ok(_) => Err(errors),
        Err(wrong) => Err(wrong.into_iter().chain(errors).collect()),
    }
}

/// Replaces the claims in an error of the API with the fields of the form.
fn with_form_fields(mut error: ApiError, platform: Platform) -> ApiError {
    if let ApiError::Problem(problem) = &mut error {
        for error in &mut problem.errors {
            let Some(claim) = error.pointer.strip_prefix("/claims/") else { continue };
            // The pointer of a value ends with the position of the value. A JSON pointer escapes two
            // characters (RFC 6901, section 3).
            let claim = claim.split('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
            let field = field_of(platform, &claim);
            if field == "claims" {
                error.detail = format!("claim “{claim}” {}", error.detail);
            }
            error.pointer = format!("/{field}");
        }
    }
    error
}

/// Shows the form again with its values.
async fn again(session: &Session, id: AccountId, form: Form, errors: FormErrors) -> PageResult {
    let page = form_page(session, id, form, errors).await?;
    with_status(page.errors.status(), page)
}
