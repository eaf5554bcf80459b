//! Why a page was not shown, and the page that says so instead.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Site;
use crate::api::ApiError;
use crate::page::{Page, Shown};

/// Why a page was not shown.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Nobody is signed in, or not any more.
    SignIn {
        /// Where to go on after it.
        back_to: String,
    },
    /// Nobody is signed in any more who has sent a form.
    Ended {
        /// Where the form is.
        back_to: String,
        /// The same form, if it can be sent again.
        again: Option<Again>,
    },
    /// Somebody is signed in who may not use this.
    NotAdmin,
    /// A form that was not sent from a page of the console.
    Forged,
    /// A form that no page of the console sends.
    Malformed,
    /// There is no such page.
    NoPage,
    /// There is such a page, for other methods.
    WrongMethod,
    /// The API has no such thing: its words.
    NotFound(String),
    /// The API does not do that now: its title and detail.
    Refused(String, String),
    /// Signing in did not work: why, in words.
    NotSignedIn(&'static str, String),
    /// A page of an earlier session has sent a form.
    OldPage {
        /// Where that page is.
        back_to: String,
        /// The same form, if it can be sent again.
        again: Option<Again>,
    },
    /// Whether the API has done what a form asks for is not known.
    Unsure {
        /// The same form.
        again: Again,
        /// The API's request, if it answered at all.
        request_id: Option<String>,
        /// Why, for the log.
        cause: String,
    },
    /// Something that the console needs does not answer.
    Unavailable {
        /// The API's request, if it answered at all.
        request_id: Option<String>,
        /// Why, for the log.
        cause: String,
    },
}

/// A form to be sent again as it was.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    /// Where to.
    pub(crate) action: String,
    /// What it holds. None of it is secret.
    pub(crate) fields: Vec<(String, String)>,
}

impl Trouble {
    pub(crate) fn unavailable(cause: String) -> Self {
        Self::Unavailable { request_id: None, cause }
    }

    /// The status of its page.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::SignIn { .. } => StatusCode::SEE_OTHER,
            Self::Ended { .. } => StatusCode::UNAUTHORIZED,
            Self::NotAdmin | Self::Forged | Self::OldPage { .. } => StatusCode::FORBIDDEN,
            Self::Malformed | Self::NotSignedIn(..) => StatusCode::BAD_REQUEST,
            Self::NoPage | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(..) => StatusCode::CONFLICT,
            Self::Unsure { .. } | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the log says of it. Nothing of a credential is in it.
    pub(crate) fn reason(&self) -> (&'static str, &str) {
        match self {
            Self::SignIn { .. } => ("sign_in", ""),
            Self::Ended { .. } => ("session_ended", ""),
            Self::NotAdmin => ("not_admin", ""),
            Self::Forged => ("forged", ""),
            Self::OldPage { .. } => ("old_page", ""),
            Self::Malformed => ("malformed", ""),
            Self::NoPage => ("no_page", ""),
            Self::WrongMethod => ("wrong_method", ""),
            Self::NotFound(_) => ("not_found", ""),
            Self::Refused(..) => ("refused", ""),
            Self::NotSignedIn(_, cause) => ("not_signed_in", cause),
            Self::Unsure { cause, .. } => ("unsure", cause),
            Self::Unavailable { cause, .. } => ("unavailable", cause),
        }
    }

    /// The form that can be sent again.
    fn again(&self) -> Option<&Again> {
        if let Self::Unsure { again, .. } = self {
            return Some(again);
        }
        if let Self::Ended { again, .. } | Self::OldPage { again, .. } = self { again.as_ref() } else { None }
    }

    /// The page that says so. `retry` is where it can be tried again, if that
    /// changes nothing.
    pub(crate) fn page(self, console: &Site, own_request_id: &str, retry: Option<String>) -> Response {
        let status = self.status();
        let again = self.again().cloned();
        let can_send_again = again.is_some();
        // It takes away the form otherwise.
        let is_new_tab = can_send_again && matches!(&self, Self::Ended { .. });
        let page = Page::new(console, None, None);
        let (title, text, link, request_id) = match self {
            Self::SignIn { back_to } => return Redirect::to(&sign_in(&back_to)).into_response(),
            Self::Ended { back_to, .. } if can_send_again => (
                "Your session has ended",
                "Nothing was changed, and nothing is lost: this page still has what you sent. Sign in again in a new \
                 tab, then come back to this one and send it again."
                    .to_owned(),
                Some(("Sign in again, in a new tab", sign_in(&back_to))),
                None,
            ),
            Self::Ended { back_to, .. } => (
                "Your session has ended",
                "Nothing was changed. Sign in again, and you come back to the page that you were on.".to_owned(),
                Some(("Sign in again", sign_in(&back_to))),
                None,
            ),
            Self::NotAdmin => (
                "You are not an admin user",
                "You are signed in, but the console is for members of the admin group. An admin can add you to it in \
                 the identity provider. Then sign in again."
                    .to_owned(),
                Some(("Sign in as somebody else", "/sign-in?anew=true".to_owned())),
                None,
            ),
            Self::Forged => (
                "That did not come from this console",
                "Nothing was changed. Another site has sent it. If it was you, go to the console and try again."
                    .to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            Self::OldPage { back_to, .. } => (
                "That page was opened before you signed in again",
                if can_send_again {
                    "Nothing was changed yet. Send it again as it was, or open the page anew."
                } else {
                    "Nothing was changed. Open it anew and send it from there."
                }
                .to_owned(),
                Some(("Open the page anew", back_to)),
                None,
            ),
            Self::Malformed => (
                "That form cannot be read",
                "Nothing was changed. Go back, reload the page and try again.".to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            Self::NoPage => (
                "There is no such page",
                "The address may be mistyped, or the page may have moved.".to_owned(),
                Some(("See all service accounts", "/".to_owned())),
                None,
            ),
            Self::WrongMethod => (
                "Nothing can be sent there",
                "Nothing was changed.".to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            Self::NotFound(detail) => {
                ("It is not here", detail, Some(("See all service accounts", "/".to_owned())), None)
            }
            Self::Refused(title, detail) => {
                let text = format!("{title}. {detail}");
                ("That cannot be done now", text, Some(("See all service accounts", "/".to_owned())), None)
            }
            Self::NotSignedIn(why, _) => {
                ("You are not signed in", why.to_owned(), Some(("Try again", "/sign-in".to_owned())), Some(own_request_id.to_owned()))
            }
            Self::Unsure { request_id, .. } => (
                "Keyward does not answer",
                "Whether it was done is not known. Send it again as it was: it is never done twice.".to_owned(),
                None,
                Some(request_id.unwrap_or_else(|| own_request_id.to_owned())),
            ),
            Self::Unavailable { request_id, .. } => (
                "Keyward does not answer",
                if retry.is_some() {
                    "What you see here comes from Keyward's API, which cannot be reached at the moment. Trying again \
                     is safe."
                } else {
                    "Whether it was done is not known. See what is there before you do it again."
                }
                .to_owned(),
                Some(retry.map_or_else(|| ("Go to the console", "/".to_owned()), |path| ("Try again", path))),
                Some(request_id.unwrap_or_else(|| own_request_id.to_owned())),
            ),
        };
        (status, Shown(TroublePage { page, title, text, link, is_new_tab, again, request_id }))
            .into_response()
    }
}

/// The way to sign in, and then on to `back_to`.
fn sign_in(back_to: &str) -> String {
    if back_to == "/" {
        return "/sign-in".to_owned();
    }
    format!("/sign-in?back={}", utf8_percent_encode(back_to, NON_ALPHANUMERIC))
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    page: Page,
    title: &'static str,
    text: String,
    link: Option<(&'static str, String)>,
    /// Whether the link leaves this page where it is.
    is_new_tab: bool,
    again: Option<Again>,
    request_id: Option<String>,
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotPermitted => Self::NotAdmin,
            // An address that was cut off, or changed by hand.
            ApiError::Problem(problem) if problem.code == "malformed_request" => Self::NoPage,
            ApiError::Problem(problem) if problem.status == 404 => Self::NotFound(problem.detail),
            ApiError::Problem(problem) => Self::Refused(problem.title, problem.detail),
            ApiError::Unavailable { request_id, cause } => Self::Unavailable { request_id, cause },
        }
    }
}

impl IntoResponse for Trouble {
    /// A bare answer, of which [`crate::guard`] makes the page.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
