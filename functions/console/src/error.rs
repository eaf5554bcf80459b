//! Why a page was not shown.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use shared::api::ProblemCode;

use crate::api::ApiError;

/// Why a page was not shown.
#[derive(Clone, Debug)]
pub(crate) enum PageError {
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

impl PageError {
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
    pub(crate) fn again(&self) -> Option<&Again> {
        if let Self::Unsure { again, .. } = self {
            return Some(again);
        }
        if let Self::Ended { again, .. } | Self::OldPage { again, .. } = self { again.as_ref() } else { None }
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotPermitted => Self::NotAdmin,
            // An address that was cut off, or changed by hand.
            ApiError::Problem(problem) if problem.code == ProblemCode::MalformedRequest => Self::NoPage,
            ApiError::Problem(problem) if problem.status == 404 => Self::NotFound(problem.detail),
            ApiError::Problem(problem) => Self::Refused(problem.title, problem.detail),
            ApiError::Unavailable { request_id, cause } => Self::Unavailable { request_id, cause },
        }
    }
}

impl IntoResponse for PageError {
    /// A bare answer, of which [`crate::middleware`] makes the page.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
