//! The page for a [`PageError`].

use askama::Template;
use axum::response::{IntoResponse as _, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::app_state::AppState;
use crate::error::{PageError, RetryForm};
use crate::view::layout::{Page, Rendered};

/// Renders the page. `retry` is the address to try again, for a request that changes
/// nothing.
pub(crate) fn page(
    error: PageError,
    console: &AppState,
    own_request_id: &str,
    retry: Option<String>,
) -> Response {
    let status = error.status();
    let retry_form = error.retry_form().cloned();
    let can_retry = retry_form.is_some();
    // In the same tab, signing in would replace the form.
    let is_new_tab = can_retry && matches!(&error, PageError::SessionExpired { .. });
    let page = Page::new(console, None, None);
    let (title, text, link, request_id) = match error {
            PageError::SignIn { return_to } => return Redirect::to(&sign_in(&return_to)).into_response(),
            PageError::SessionExpired { return_to, .. } if can_retry => (
                "Your session has expired",
                "Nothing was changed, and this page still has your input. Sign in again in a new tab. Then return to \
                 this page and resend the form."
                    .to_owned(),
                Some(("Sign in again in a new tab", sign_in(&return_to))),
                None,
            ),
            PageError::SessionExpired { return_to, .. } => (
                "Your session has expired",
                "Nothing was changed. Sign in again to return to the page that you were on.".to_owned(),
                Some(("Sign in again", sign_in(&return_to))),
                None,
            ),
            PageError::NotAdmin => (
                "You are not an admin",
                "You are signed in, but only members of the admin group can use the console. Ask an admin to add you to \
                 the group in the identity provider. Then sign in again."
                    .to_owned(),
                Some(("Sign in as another user", "/sign-in?another_user=true".to_owned())),
                None,
            ),
            PageError::Forged => (
                "This form was not sent from the console",
                "Nothing was changed. Another site sent this form. If you sent it yourself, go to the console and try again."
                    .to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            PageError::StalePage { return_to, .. } => (
                "This page was opened before you signed in again",
                if can_retry {
                    "Nothing was changed. Resend the form, or reload the page to start over."
                } else {
                    "Nothing was changed. Reload the page and submit the form again."
                }
                .to_owned(),
                Some(("Reload the page", return_to)),
                None,
            ),
            PageError::Malformed => (
                "This form could not be read",
                "Nothing was changed. Go back, reload the page and try again.".to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            PageError::PageNotFound => (
                "Page not found",
                "Check the address, or go to the list of service accounts.".to_owned(),
                Some(("View service accounts", "/".to_owned())),
                None,
            ),
            PageError::WrongMethod => (
                "This page does not accept forms",
                "Nothing was changed. Go to the console and try again.".to_owned(),
                Some(("Go to the console", "/".to_owned())),
                None,
            ),
            PageError::NotFound(detail) => {
                ("Not found", detail, Some(("View service accounts", "/".to_owned())), None)
            }
            PageError::Refused(title, detail) => {
                let text = format!("{title}. {detail}");
                ("The request was refused", text, Some(("View service accounts", "/".to_owned())), None)
            }
            PageError::NotSignedIn(why, _) => {
                ("Sign-in failed", why.to_owned(), Some(("Try again", "/sign-in".to_owned())), Some(own_request_id.to_owned()))
            }
            PageError::OutcomeUnknown { request_id, .. } => (
                "Keyward is not responding",
                "The change may or may not have been made. Resend the form. Keyward never makes the change twice.".to_owned(),
                None,
                Some(request_id.unwrap_or_else(|| own_request_id.to_owned())),
            ),
            PageError::Unavailable { request_id, .. } => (
                "Keyward is not responding",
                if retry.is_some() {
                    "Keyward's API cannot be reached at the moment. Try again in a moment."
                } else {
                    "The change may or may not have been made. Check the current state before you try again."
                }
                .to_owned(),
                Some(retry.map_or_else(|| ("Go to the console", "/".to_owned()), |path| ("Try again", path))),
                Some(request_id.unwrap_or_else(|| own_request_id.to_owned())),
            ),
        };
    (status, Rendered(ErrorPage { page, title, text, link, is_new_tab, retry_form, request_id }))
        .into_response()
}

/// The address to sign in and then return to `return_to`.
fn sign_in(return_to: &str) -> String {
    if return_to == "/" {
        return "/sign-in".to_owned();
    }
    format!("/sign-in?back={}", utf8_percent_encode(return_to, NON_ALPHANUMERIC))
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    page: Page,
    title: &'static str,
    text: String,
    link: Option<(&'static str, String)>,
    /// Whether the link opens in a new tab.
    is_new_tab: bool,
    retry_form: Option<RetryForm>,
    request_id: Option<String>,
}
