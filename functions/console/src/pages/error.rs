//! The page for a [`PageError`].

use askama::Template;
use axum::response::{IntoResponse as _, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::app_state::AppState;
use crate::error::PageError;
use crate::view::layout::{Page, with_status};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    page: Page,
    error: PageError,
    /// The address to try again, for a request that changes nothing.
    retry: Option<String>,
    request_id: Option<String>,
}

/// Renders the page. `retry` is the address to try again, for a request that changes
/// nothing.
pub(crate) fn page(
    error: PageError,
    console: &AppState,
    own_request_id: String,
    retry: Option<String>,
) -> Response {
    if let PageError::SignIn { return_to } = &error {
        return Redirect::to(&sign_in(return_to)).into_response();
    }
    let request_id = if let PageError::OutcomeUnknown { request_id, .. }
    | PageError::Unavailable { request_id, .. } = &error
    {
        Some(request_id.clone().unwrap_or(own_request_id))
    } else {
        matches!(error, PageError::NotSignedIn(..)).then_some(own_request_id)
    };
    let (status, _, _) = error.summary();
    let page = ErrorPage { page: Page::new(console, None, None), error, retry, request_id };
    with_status(status.as_u16(), page).into_response()
}

/// The address to sign in and then return to `return_to`.
fn sign_in(return_to: &str) -> String {
    if return_to == "/" {
        return "/sign-in".to_owned();
    }
    format!("/sign-in?back={}", utf8_percent_encode(return_to, NON_ALPHANUMERIC))
}

impl ErrorPage {
    fn title(&self) -> &'static str {
        match &self.error {
            PageError::SignIn { .. } | PageError::SessionExpired { .. } => "Your session has expired",
            PageError::NotAdmin => "You are not an admin",
            PageError::Forged => "This form was not sent from the console",
            PageError::StalePage { .. } => "This page was opened before you signed in again",
            PageError::Malformed => "This form could not be read",
            PageError::PageNotFound => "Page not found",
            PageError::WrongMethod => "This page does not accept forms",
            PageError::NotFound(_) => "Not found",
            PageError::Refused(..) => "The request was refused",
            PageError::NotSignedIn(..) => "Sign-in failed",
            PageError::OutcomeUnknown { .. } | PageError::Unavailable { .. } => "Keyward is not responding",
        }
    }
}
