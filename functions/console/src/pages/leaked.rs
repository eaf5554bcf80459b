//! `GET, POST /leaked`: the form to look up a leaked key.
//!
//! The pasted text is in no address and no log, and no page shows it again. Every
//! response to the form is a redirect, also when the form is refused
//! ([`redirect_errors`]). Otherwise the browser stores the form's body to reload the
//! page, and Chromium writes it to disk to restore the session. The result, without
//! the secret, waits in an encrypted cookie under a random name. The name is in the
//! address, so each of several windows finds its own result.

use askama::Template;
use axum::extract::{Query, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use shared::api::{KeyLookup, ProblemCode};
use shared::domain::{AccountId, Actor, KeyId};
use shared::policy::Reason;

use crate::api::ApiError;
use crate::auth::session::{CookieName, PostedSecret, Visit};
use crate::error::PageError;
use crate::request_id;
use crate::view::form::{Faults, new_attempt};
use crate::view::layout::{Page, Shown};

/// The page with the form, which is sent to itself.
pub(crate) const PATH: &str = "/leaked";
/// How long what was found can be seen again, in seconds.
const KEPT_SECONDS: i64 = 600;
/// What came of so many look-ups is kept, the latest.
const MOST_KEPT: usize = 4;
/// All of it has at most so many bytes. Encrypted and as text a third more, a
/// cookie still is one that browsers take.
const MOST_KEPT_BYTES: usize = 2800;

/// What was pasted.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    key: SecretString,
}

/// The part of a look-up that its page needs. It is small enough for a cookie,
/// and holds nothing of the secret.
#[derive(Deserialize, Serialize)]
pub(super) struct FoundKey {
    pub(super) service_account_id: AccountId,
    pub(super) key_id: KeyId,
    /// Why the key is refused, if it is.
    pub(super) reason: Option<Reason>,
    pub(super) retired_at: Option<Timestamp>,
    pub(super) retired_by: Option<Actor>,
}

impl From<KeyLookup> for FoundKey {
    fn from(found: KeyLookup) -> Self {
        Self {
            service_account_id: found.service_account_id,
            key_id: found.key_id,
            reason: found.reason,
            retired_at: found.retired_at,
            retired_by: found.retired_by,
        }
    }
}

/// What came of it.
#[derive(Deserialize, Serialize)]
pub(super) enum Outcome {
    /// It is a key, of which the API says this.
    Key(FoundKey),
    /// It is none of ours: why, in words.
    None(String),
}

/// What came of the latest look-ups, each under its name, the oldest first.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Kept(Vec<(String, Outcome)>);

impl Kept {
    /// What the browser of this visit has kept.
    pub(super) fn of(visit: &Visit) -> Self {
        let kept = visit.kept(CookieName::Found);
        kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default()
    }

    /// What came of the look-up `name`.
    pub(super) fn take(self, name: &str) -> Option<Outcome> {
        self.0.into_iter().find(|(kept, _)| kept == name).map(|(_, outcome)| outcome)
    }

    /// With one more, and without the oldest that have no room beside it.
    fn and(mut self, name: String, outcome: Outcome) -> Result<String, serde_json::Error> {
        self.0.push((name, outcome));
        loop {
            let text = serde_json::to_string(&self)?;
            let fits = self.0.len() <= MOST_KEPT && text.len() <= MOST_KEPT_BYTES;
            if fits || self.0.len() == 1 {
                return Ok(text);
            }
            self.0.remove(0);
        }
    }
}

/// Which look-up a page is about, or why there is none.
#[derive(Deserialize)]
pub(super) struct About {
    /// The name under which what came of it is kept.
    #[serde(default)]
    pub(super) found: String,
    why: Option<WhyNot>,
}

/// Why nothing was looked up. It stands in the address of the page that says so.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhyNot {
    /// The form came from elsewhere.
    Forged,
    /// From a page of an earlier session.
    OldPage,
    /// The session had ended.
    Ended,
    /// It cannot be read.
    Malformed,
    /// The person is no admin user.
    NotAdmin,
    /// Something does not answer.
    Unavailable,
    /// What was found is not kept any more.
    Gone,
}

impl WhyNot {
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

/// Redirects instead of showing an error page for a form that carries a secret: a
/// browser stores the body of a form whose answer is a page, to send the form again.
pub(crate) async fn redirect_errors(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<PageError>() else { return response };
    let mut redirect = Redirect::to(&WhyNot::from(&error).path()).into_response();
    // For the log line.
    redirect.extensions_mut().insert(error);
    redirect
}

impl From<&PageError> for WhyNot {
    fn from(error: &PageError) -> Self {
        match error {
            PageError::SignIn { .. } | PageError::Ended { .. } => Self::Ended,
            PageError::NotAdmin => Self::NotAdmin,
            PageError::OldPage { .. } => Self::OldPage,
            PageError::Forged => Self::Forged,
            PageError::Malformed
            | PageError::NoPage
            | PageError::WrongMethod
            | PageError::NotFound(_)
            | PageError::Refused(..)
            | PageError::NotSignedIn(..) => Self::Malformed,
            PageError::Unsure { .. } | PageError::Unavailable { .. } => Self::Unavailable,
        }
    }
}

#[derive(Template)]
#[template(path = "leaked.html")]
struct Leaked {
    page: Page,
    faults: Faults,
}

pub(super) async fn show(visit: Visit, Query(about): Query<About>) -> Response {
    let why = match Kept::of(&visit).take(&about.found) {
        Some(Outcome::None(why)) => Some(why),
        Some(Outcome::Key(_)) | None => about.why.map(|why| why.in_words().to_owned()),
    };
    let faults = why.map_or_else(Faults::default, |why| Faults::field("key", why));
    let page = Leaked { page: visit.page(), faults };
    visit.show(Shown(page))
}

pub(super) async fn submit(PostedSecret(visit, form): PostedSecret<Form>) -> Result<Response, PageError> {
    let name = new_attempt(&visit.console)?;
    let (page, outcome) = match visit.api().look_up_key(&form.key).await {
        Ok(found) => ("/key", Outcome::Key(found.into())),
        Err(error) => ("", Outcome::None(why_none(error)?)),
    };
    let path = format!("{PATH}{page}?found={name}");
    let kept = Kept::of(&visit).and(name, outcome);
    let kept = kept.map_err(|error| PageError::unavailable(error.to_string()))?;
    Ok(visit.go_with(&path, CookieName::Found, &kept, KEPT_SECONDS))
}

/// Why there is no key to show, in words that quote nothing of what was pasted.
fn why_none(error: ApiError) -> Result<String, PageError> {
    match error {
        ApiError::NotPermitted => Err(error.into()),
        ApiError::Problem(problem) if problem.code == ProblemCode::KeyNotFound => Ok(
            "the key is well formed, but its ID is unknown. It was never issued here, or was retired more than 400 \
             days ago. It gives no access"
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
