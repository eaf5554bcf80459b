//! `GET, POST /leaked`, `GET /leaked/key`: whose is a key that was found where it
//! should not be, and does it still open anything?
//!
//! What was pasted is in no address and no log, and no page shows it again. Each
//! answer to the form is a redirect, a refusal too ([`instead_of`]), because a
//! browser keeps the body of a form whose answer is reloaded, on its disk too
//! (Chromium, for one: to restore a session). What came of it waits in an
//! encrypted cookie, without the secret, under a random name that the address
//! has: of two windows each finds its own.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::{Deserialize, Serialize};
use shared::http::representation::{KeyState, RetiredKey, ServiceAccount, ServiceAccountWithKeys};

use super::account::KeyRow;
use super::request::id;
use super::retired_keys::RetiredRow;
use crate::api::{ApiError, FoundKey, KeyLookup};
use crate::auth::session::{CookieName, PostedSecret, Visit};
use crate::error::PageError;
use crate::request_id;
use crate::view::form::{Faults, new_attempt};
use crate::view::formatting::When;
use crate::view::layout::{Page, Shown};
use crate::view::role_chooser::{self as roles, RoleChoice};

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
    key: FoundKey,
}

/// What came of it.
#[derive(Deserialize, Serialize)]
enum Outcome {
    /// It is a key, of which the API says this.
    Key(KeyLookup),
    /// It is none of ours: why, in words.
    None(String),
}

/// What came of the latest look-ups, each under its name, the oldest first.
#[derive(Default, Deserialize, Serialize)]
struct Kept(Vec<(String, Outcome)>);

impl Kept {
    /// What the browser of this visit has kept.
    fn of(visit: &Visit) -> Self {
        let kept = visit.kept(CookieName::Found);
        kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default()
    }

    /// What came of the look-up `name`.
    fn take(self, name: &str) -> Option<Outcome> {
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
    found: String,
    why: Option<WhyNot>,
}

/// Why nothing was looked up. It stands in the address of the page that says so.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum WhyNot {
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
                "nothing was looked up: that was not sent from this page. If it was you, paste it again, here"
            }
            Self::OldPage => {
                "nothing was looked up: the page was opened before you signed in again. Paste it again"
            }
            Self::Ended => "nothing was looked up: your session had ended. Paste it again",
            Self::Malformed => "nothing was looked up: what was sent cannot be read. Paste the key alone",
            Self::NotAdmin => "nothing was looked up: that is for admin users",
            Self::Unavailable => "nothing was looked up: Keyward did not answer. Paste it again in a moment",
            Self::Gone => "what was found is kept for ten minutes, and no longer. Paste it again",
        }
    }

    fn path(self) -> String {
        let query = serde_html_form::to_string([("why", self)]).unwrap_or_default();
        format!("{PATH}?{query}")
    }
}

/// The page to go on to where the form is refused for `trouble`: a page at the
/// form's own address would keep the key that was sent to it.
pub(crate) fn instead_of(trouble: &PageError) -> Redirect {
    let why = match trouble {
        PageError::SignIn { .. } | PageError::Ended { .. } => WhyNot::Ended,
        PageError::NotAdmin => WhyNot::NotAdmin,
        PageError::OldPage { .. } => WhyNot::OldPage,
        PageError::Forged => WhyNot::Forged,
        PageError::Malformed
        | PageError::NoPage
        | PageError::WrongMethod
        | PageError::NotFound(_)
        | PageError::Refused(..)
        | PageError::NotSignedIn(..) => WhyNot::Malformed,
        PageError::Unsure { .. } | PageError::Unavailable { .. } => WhyNot::Unavailable,
    };
    Redirect::to(&why.path())
}

#[derive(Template)]
#[template(path = "leaked.html")]
struct Leaked {
    page: Page,
    faults: Faults,
}

/// What became of a key.
enum Verdict {
    Alive,
    /// Its account is disabled.
    Paused,
    /// It bears the id of a key of ours, and is not that one.
    Forged,
    Revoked,
    Expired,
    Replaced,
    /// It went with its account.
    Deleted,
}

#[derive(Template)]
#[template(path = "leaked_key.html")]
struct LeakedKey {
    page: Page,
    verdict: Verdict,
    account_id: String,
    account: Option<ServiceAccount>,
    key_id: String,
    /// It is one of the account's, be it good or not.
    row: Option<KeyRow>,
    /// Or it is on record.
    retired: Option<RetiredRow>,
    ended: Option<When>,
    ended_by: Option<String>,
    /// What it may do at most: its account's role, and its own if it has one.
    roles: Vec<(String, Option<RoleChoice>)>,
}

impl LeakedKey {
    /// Whether there is something to revoke.
    fn is_revocable(&self) -> bool {
        matches!(self.verdict, Verdict::Alive | Verdict::Paused)
    }
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
        Ok(found) => ("/key", Outcome::Key(found)),
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
        ApiError::Problem(problem) if problem.code == "key_not_found" => Ok(
            "this has the form of a key of ours, and its checksum, but there is none of its id: it was never issued \
             here, or retired more than 400 days ago. It opens nothing"
                .to_owned(),
        ),
        ApiError::Problem(problem) if problem.code == "body_too_large" => {
            Ok("nothing was looked up: that is too long. Paste the key alone".to_owned())
        }
        ApiError::Problem(problem) if problem.errors.is_empty() => {
            Ok(format!("nothing was looked up. {}. {}", problem.title, problem.detail))
        }
        ApiError::Problem(problem) => {
            let problems: Vec<_> = problem.errors.into_iter().map(|error| error.detail).collect();
            Ok(format!("what you pasted {}", problems.join(", ")))
        }
        ApiError::Unavailable { request_id, cause } => {
            let id = request_id::report(request_id, &cause);
            Ok(format!(
                "Keyward does not answer, so nothing was looked up (request {id}). Paste it again in a moment"
            ))
        }
    }
}

pub(super) async fn show_key(visit: Visit, Query(about): Query<About>) -> Result<Response, PageError> {
    let Some(Outcome::Key(found)) = Kept::of(&visit).take(&about.found) else {
        return Ok(Redirect::to(&WhyNot::Gone.path()).into_response());
    };
    // As it is now: it may have been revoked since.
    let read = match visit.api().account(id(&found.service_account_id)?).await {
        Ok(read) => Some(read.account),
        Err(ApiError::Problem(problem)) if problem.status == 404 => None,
        Err(error) => return Err(error.into()),
    };
    let page = LeakedKey::of(found, read, &visit).await;
    Ok(visit.show(Shown(page)))
}

impl LeakedKey {
    async fn of(found: KeyLookup, read: Option<ServiceAccountWithKeys>, visit: &Visit) -> Self {
        let (account, keys, retired) = match read {
            Some(read) => (Some(read.account), read.keys, read.retired_keys),
            None => (None, Vec::new(), Vec::new()),
        };
        let key = keys.into_iter().find(|key| key.id == found.key_id);
        let retired = retired.into_iter().find(|key| key.id == found.key_id);
        let end = key.as_ref().and_then(|key| match key.state {
            KeyState::Active | KeyState::Retiring => None,
            KeyState::Expired => Some(key.expires_at.clone()),
            KeyState::Retired => key.retires_at.clone(),
        });
        let recorded = retired.as_ref().map(|key| key.retired_at.clone());
        let own_role = key.as_ref().and_then(|key| key.role.clone());
        let own_role = own_role.or_else(|| retired.as_ref()?.role.clone());
        let mut roles = Vec::new();
        for name in account.as_ref().map(|account| account.role.clone()).into_iter().chain(own_role) {
            // The key can be revoked whether or not its roles can be told.
            let role = roles::find(visit, &name).await.ok().flatten();
            roles.push((name, role));
        }
        let is_enabled = account.as_ref().is_some_and(|account| account.enabled);
        let by = retired.as_ref().and_then(|key| key.retired_by.clone()).or(found.retired_by);
        let verdict = if found.reason.as_deref() == Some("wrong_secret") {
            Verdict::Forged
        } else if account.is_none() {
            Verdict::Deleted
        } else if let Some(key) = &key {
            match key.state {
                KeyState::Expired => Verdict::Expired,
                KeyState::Retired => Verdict::Replaced,
                KeyState::Active | KeyState::Retiring if is_enabled => Verdict::Alive,
                KeyState::Active | KeyState::Retiring => Verdict::Paused,
            }
        } else {
            Verdict::of_retired(retired.as_ref(), found.reason.as_deref())
        };
        Self {
            page: visit.page(),
            verdict,
            account_id: found.service_account_id,
            account,
            key_id: found.key_id,
            row: key.map(|key| KeyRow::of(key, is_enabled, visit)),
            retired: retired.map(|key| RetiredRow::of(key, visit.now())),
            ended: end.or(recorded).or(found.retired_at).map(|at| When::of(&at, visit.now())),
            ended_by: by.map(|actor| actor.name),
            roles,
        }
    }
}

impl Verdict {
    /// What became of a key that is none of its account's any more: as its
    /// record says, or else `reason` when it was looked up.
    fn of_retired(retired: Option<&RetiredKey>, reason: Option<&str>) -> Self {
        match retired.map(|key| key.reason.as_str()).or(reason) {
            Some("expired") => Self::Expired,
            Some("rotated" | "retired") => Self::Replaced,
            _ => Self::Revoked,
        }
    }
}
