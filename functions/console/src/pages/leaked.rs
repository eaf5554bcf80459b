//! `GET, POST /leaked`: the form to look up a leaked key or token.
//!
//! No address, log or page contains the pasted text. Every response to the form is a
//! redirect, even if the form is refused ([`redirect_errors`]). Otherwise, the browser
//! would store the form's body to reload the page, and Chromium would write it to disk to
//! restore the session. The result, without the secret, is stored in an encrypted cookie
//! under a random name. The address contains the name, so that each window finds its own
//! result.

use askama::Template;
use axum::extract::{Query, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use shared::api::{KeyLookup, ProblemCode};
use shared::domain::{AccountId, Actor, IdentityId, KeyId};
use shared::policy::Reason;

use crate::api::ApiError;
use crate::auth::session::{CookieName, PostedSecret, Session};
use crate::error::{PageError, PageResult};
use crate::request_id;
use crate::view::form::{FormErrors, new_attempt};
use crate::view::layout::Page;

/// The path of the page and its form.
pub(crate) const PATH: &str = "/leaked";
/// How long the result of a lookup is kept, in seconds.
const RESULT_SECONDS: i64 = 600;
/// How many results are kept.
const MAX_RESULTS: usize = 4;
/// The largest size of all results, in bytes. Encryption and encoding add a third, and
/// browsers accept cookies of 4096 bytes.
const MAX_RESULTS_BYTES: usize = 2800;

/// The form.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    key: SecretString,
}

/// The part of a lookup that its page needs. It fits into a cookie and contains no part of
/// the secret.
#[derive(Deserialize, Serialize)]
pub(super) struct FoundKey {
    pub(super) service_account_id: AccountId,
    pub(super) key_id: KeyId,
    /// The reason why the key is refused, if it is refused.
    pub(super) reason: Option<Reason>,
    pub(super) retired_at: Option<Timestamp>,
    pub(super) retired_by: Option<Actor>,
}

/// The part of a lookup of a token that its page needs.
#[derive(Deserialize, Serialize)]
pub(super) struct FoundToken {
    pub(super) service_account_id: AccountId,
    /// The key that the token was made from.
    pub(super) key_id: Option<KeyId>,
    /// The federated identity that the token was made from.
    pub(super) identity_id: Option<IdentityId>,
    pub(super) expires_at: Timestamp,
    /// The reason why the token is refused, if it is refused.
    pub(super) reason: Option<Reason>,
}

impl From<KeyLookup> for Outcome {
    fn from(found: KeyLookup) -> Self {
        let KeyLookup { service_account_id, key_id, identity_id, reason, retired_at, retired_by, .. } = found;
        match (found.token_expires_at, key_id) {
            (Some(expires_at), key_id) => {
                Self::Token(FoundToken { service_account_id, key_id, identity_id, expires_at, reason })
            }
            (None, Some(key_id)) => {
                Self::Key(FoundKey { service_account_id, key_id, reason, retired_at, retired_by })
            }
            (None, None) => Self::None("the API's answer names no key or token".to_owned()),
        }
    }
}

/// The result of a lookup.
#[derive(Deserialize, Serialize)]
pub(super) enum Outcome {
    /// The key was found.
    Key(FoundKey),
    /// The key or federated identity of a token was found.
    Token(FoundToken),
    /// No key was found. The text is the reason to show.
    None(String),
}

/// The results of recent lookups by name, oldest first.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct RecentLookups(Vec<(String, Outcome)>);

impl RecentLookups {
    /// Reads the results from the cookie.
    pub(super) fn read(session: &Session) -> Self {
        let kept = session.cookies.get(CookieName::Lookups);
        kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default()
    }

    /// The result of the lookup `name`.
    pub(super) fn take(self, name: &str) -> Option<Outcome> {
        self.0.into_iter().find(|(kept, _)| kept == name).map(|(_, outcome)| outcome)
    }

    /// Adds a result, and removes the oldest results until all fit.
    fn with(mut self, name: String, outcome: Outcome) -> Result<String, serde_json::Error> {
        self.0.push((name, outcome));
        loop {
            let text = serde_json::to_string(&self)?;
            let fits = self.0.len() <= MAX_RESULTS && text.len() <= MAX_RESULTS_BYTES;
            if fits || self.0.len() == 1 {
                return Ok(text);
            }
            self.0.remove(0);
        }
    }
}

/// The query of the page: the name of a lookup, or why the lookup failed.
#[derive(Deserialize)]
pub(super) struct LookupQuery {
    /// The name of the lookup.
    #[serde(default)]
    pub(super) found: String,
    why: Option<LookupFailure>,
}

/// Why a key was not looked up. The reason is in the address of the page.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LookupFailure {
    /// The form was sent from another site.
    Forged,
    /// The form was sent from a page of an earlier session.
    OldPage,
    /// The session has expired.
    Ended,
    /// The form could not be read.
    Malformed,
    /// The user is not an admin.
    NotAdmin,
    /// The API is not available.
    Unavailable,
    /// The result is no longer kept.
    Gone,
}

impl LookupFailure {
    fn in_words(self) -> &'static str {
        match self {
            Self::Forged => {
                "the key was not looked up: the form was not sent from this page. Paste the key here again"
            }
            Self::OldPage => {
                "the key was not looked up: the page was opened before you signed in again. Paste the key again"
            }
            Self::Ended => "the key was not looked up: your session had expired. Paste the key again",
            Self::Malformed => "the key was not looked up: the form could not be read. Paste only the key",
            Self::NotAdmin => "the key was not looked up: only admins can look up keys",
            Self::Unavailable => {
                "the key was not looked up: Keyward is not responding. Paste the key again in a moment"
            }
            Self::Gone => {
                "the result is no longer available. Results are kept for ten minutes. Paste the key again"
            }
        }
    }

    pub(super) fn path(self) -> String {
        let query = serde_html_form::to_string([("why", self)]).unwrap_or_default();
        format!("{PATH}?{query}")
    }
}

/// Replaces the error page after a form that contains a secret with a redirect. If the
/// response to a form is a page, a browser stores the form's body to send the form again.
pub(crate) async fn redirect_errors(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<PageError>() else { return response };
    let mut redirect = Redirect::to(&LookupFailure::from(&error).path()).into_response();
    // For the log line.
    redirect.extensions_mut().insert(error);
    redirect
}

impl From<&PageError> for LookupFailure {
    fn from(error: &PageError) -> Self {
        match error {
            PageError::SignIn { .. } | PageError::SessionExpired { .. } => Self::Ended,
            PageError::NotAdmin => Self::NotAdmin,
            PageError::StalePage { .. } => Self::OldPage,
            PageError::Forged => Self::Forged,
            PageError::Malformed
            | PageError::PageNotFound
            | PageError::WrongMethod
            | PageError::NotFound(_)
            | PageError::Refused(..)
            | PageError::NotSignedIn(..) => Self::Malformed,
            PageError::OutcomeUnknown { .. } | PageError::Unavailable { .. } => Self::Unavailable,
        }
    }
}

#[derive(Template)]
#[template(path = "leaked.html")]
struct Leaked {
    page: Page,
    errors: FormErrors,
}

pub(super) async fn show(session: Session, Query(query): Query<LookupQuery>) -> PageResult {
    let why = match RecentLookups::read(&session).take(&query.found) {
        Some(Outcome::None(why)) => Some(why),
        Some(Outcome::Key(_) | Outcome::Token(_)) | None => query.why.map(|why| why.in_words().to_owned()),
    };
    let errors = why.map_or_else(FormErrors::default, |why| FormErrors::field("key", why));
    let page = Leaked { page: session.page(), errors };
    session.show(page)
}

pub(super) async fn submit(PostedSecret(session, form): PostedSecret<Form>) -> PageResult {
    look_up(session, &form.key).await
}

/// Looks up the key or token in `pasted` and redirects to the result.
pub(super) async fn look_up(session: Session, pasted: &SecretString) -> PageResult {
    let name = new_attempt(&session.console)?;
    let outcome = match session.api().look_up_key(pasted).await {
        Ok(found) => found.into(),
        Err(error) => Outcome::None(lookup_error(error)?),
    };
    let page = match outcome {
        Outcome::Key(_) => "/key",
        Outcome::Token(_) => "/token",
        Outcome::None(_) => "",
    };
    let path = format!("{PATH}{page}?found={name}");
    let kept = RecentLookups::read(&session).with(name, outcome);
    let kept = kept.map_err(PageError::unavailable)?;
    Ok(session.redirect_with(&path, CookieName::Lookups, &kept, RESULT_SECONDS))
}

/// The reason why no key was found, without any part of the pasted text.
fn lookup_error(error: ApiError) -> PageResult<String> {
    match error {
        ApiError::NotPermitted => Err(error.into()),
        ApiError::Problem(problem) if problem.code == ProblemCode::KeyNotFound => Ok(
            "the key or token is well formed, but its ID is unknown. Its key or federated identity never existed here, or \
             ended more than 400 days ago. It gives no access"
                .to_owned(),
        ),
        ApiError::Problem(problem) if problem.code == ProblemCode::BodyTooLarge => {
            Ok("the key was not looked up: the text is too long. Paste only the key".to_owned())
        }
        ApiError::Problem(problem) if problem.errors.is_empty() => {
            Ok(format!("the key was not looked up. {}. {}", problem.title, problem.detail))
        }
        ApiError::Problem(problem) => {
            let problems: Vec<_> = problem.errors.into_iter().map(|error| error.detail).collect();
            Ok(format!("the pasted text {}", problems.join(", ")))
        }
        ApiError::Unavailable { request_id, cause } => {
            let id = request_id::report(request_id, &cause);
            Ok(format!(
                "Keyward is not responding, so the key was not looked up (request {id}). Paste the key again in a moment"
            ))
        }
    }
}
