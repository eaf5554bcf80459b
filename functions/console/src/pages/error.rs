//! The page that says why another one was not shown.

use askama::Template;
use axum::response::{IntoResponse as _, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Again, PageError};
use crate::site::Site;
use crate::view::layout::{Page, Shown};

/// The page that says so. `retry` is where it can be tried again, if that
/// changes nothing.
pub(crate) fn page(
    error: PageError,
    console: &Site,
    own_request_id: &str,
    retry: Option<String>,
) -> Response {
    let status = error.status();
    let again = error.again().cloned();
    let can_send_again = again.is_some();
    // It takes away the form otherwise.
    let is_new_tab = can_send_again && matches!(&error, PageError::Ended { .. });
    let page = Page::new(console, None, None);
    let (title, text, link, request_id) = match error {
            PageError::SignIn { back_to } => return Redirect::to(&sign_in(&back_to)).into_response(),
            PageError::Ended { back_to, .. } if can_send_again => (
                "Your session has ended",
                "Nothing was changed, and nothing is lost: this page still has what you sent. Sign in again in a new \
                 tab, then come back to this one and send it again."
                    .to_owned(),
                Some(("Sign in again, in a new tab", sign_in(&back_to))),
                None,
            ),
            PageError::Ended { back_to, .. } => (
                "Your session has ended",
                "Nothing was changed. Sign in again, and you come back to the page that you were on.".to_owned(),
                Some(("Sign in again", sign_in(&back_to))),
                None,
            ),
            PageError::NotAdmin => (
                "You are not an admin user",
                "You are signed in, but the console is for members of the admin group. An admin can add you to it in \
                 the identity provider. Then sign in again."
                    .to_owned(),
                Some(("Sign in as somebody else", "/sign-in?anew=true".to_owned())),
                None,
            ),
            PageError::Forged => (
                "That did not come from this console",
                "Nothing was changed. Another site has sent it. If it was you, go to the console and try again."
                    .to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            PageError::OldPage { back_to, .. } => (
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
            PageError::Malformed => (
                "That form cannot be read",
                "Nothing was changed. Go back, reload the page and try again.".to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            PageError::NoPage => (
                "There is no such page",
                "The address may be mistyped, or the page may have moved.".to_owned(),
                Some(("See all service accounts", "/".to_owned())),
                None,
            ),
            PageError::WrongMethod => (
                "Nothing can be sent there",
                "Nothing was changed.".to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            PageError::NotFound(detail) => {
                ("It is not here", detail, Some(("See all service accounts", "/".to_owned())), None)
            }
            PageError::Refused(title, detail) => {
                let text = format!("{title}. {detail}");
                ("That cannot be done now", text, Some(("See all service accounts", "/".to_owned())), None)
            }
            PageError::NotSignedIn(why, _) => {
                ("You are not signed in", why.to_owned(), Some(("Try again", "/sign-in".to_owned())), Some(own_request_id.to_owned()))
            }
            PageError::Unsure { request_id, .. } => (
                "Keyward does not answer",
                "Whether it was done is not known. Send it again as it was: it is never done twice.".to_owned(),
                None,
                Some(request_id.unwrap_or_else(|| own_request_id.to_owned())),
            ),
            PageError::Unavailable { request_id, .. } => (
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
    (status, Shown(ErrorPage { page, title, text, link, is_new_tab, again, request_id })).into_response()
}

/// The way to sign in, and then on to `back_to`.
fn sign_in(back_to: &str) -> String {
    if back_to == "/" {
        return "/sign-in".to_owned();
    }
    format!("/sign-in?back={}", utf8_percent_encode(back_to, NON_ALPHANUMERIC))
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    page: Page,
    title: &'static str,
    text: String,
    link: Option<(&'static str, String)>,
    /// Whether the link leaves this page where it is.
    is_new_tab: bool,
    again: Option<Again>,
    request_id: Option<String>,
}
