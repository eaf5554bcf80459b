//! Errors that replace a page.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use shared::api::ProblemCode;

use crate::api::ApiError;

/// An error whose page replaces the requested page.
#[derive(Clone, Debug)]
pub(crate) enum PageError {
    /// The request has no valid session.
    SignIn {
        /// The path to open after signing in.
        return_to: String,
    },
    /// The session expired before the form was sent.
    SessionExpired {
        /// The page with the form.
        return_to: String,
        /// A copy of the form, if it can be sent again.
        retry: Option<RetryForm>,
    },
    /// The user is not an admin.
    NotAdmin,
    /// The form was not sent from a page of the console.
    Forged,
    /// The form could not be read.
    Malformed,
    /// The page does not exist.
    PageNotFound,
    /// The page does not support the request's method.
    WrongMethod,
    /// The API found no such resource. The value is the API's detail.
    NotFound(String),
    /// The API refused the request. The values are the API's title and detail.
    Refused(String, String),
    /// The sign-in failed. The values are the reason to show and the cause to log.
    NotSignedIn(&'static str, String),
    /// The form was sent from a page of an earlier session.
    StalePage {
        /// The page with the form.
        return_to: String,
        /// A copy of the form, if it can be sent again.
        retry: Option<RetryForm>,
    },
    /// The API may or may not have made the change.
    OutcomeUnknown {
        /// A copy of the form.
        retry: RetryForm,
        /// The API's request ID, if the API responded.
        request_id: Option<String>,
        /// The cause, for the log.
        cause: String,
    },
    /// The API, the issuer or the console's secret is not available.
    Unavailable {
        /// The API's request ID, if the API responded.
        request_id: Option<String>,
        /// The cause, for the log.
        cause: String,
    },
}

/// A form to send again with the same values.
#[derive(Clone, Debug)]
pub(crate) struct RetryForm {
    /// The path that the form is sent to.
    pub(crate) action: String,
    /// The form's fields, without secrets.
    pub(crate) fields: Vec<(String, String)>,
}

impl PageError {
    pub(crate) fn unavailable(cause: String) -> Self {
        Self::Unavailable { request_id: None, cause }
    }

    /// The status of the error page.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::SignIn { .. } => StatusCode::SEE_OTHER,
            Self::SessionExpired { .. } => StatusCode::UNAUTHORIZED,
            Self::NotAdmin | Self::Forged | Self::StalePage { .. } => StatusCode::FORBIDDEN,
            Self::Malformed | Self::NotSignedIn(..) => StatusCode::BAD_REQUEST,
            Self::PageNotFound | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(..) => StatusCode::CONFLICT,
            Self::OutcomeUnknown { .. } | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason and the cause for the log, without any credential.
    pub(crate) fn reason(&self) -> (&'static str, &str) {
        match self {
            Self::SignIn { .. } => ("sign_in", ""),
            Self::SessionExpired { .. } => ("session_ended", ""),
            Self::NotAdmin => ("not_admin", ""),
            Self::Forged => ("forged", ""),
            Self::StalePage { .. } => ("old_page", ""),
            Self::Malformed => ("malformed", ""),
            Self::PageNotFound => ("no_page", ""),
            Self::WrongMethod => ("wrong_method", ""),
            Self::NotFound(_) => ("not_found", ""),
            Self::Refused(..) => ("refused", ""),
            Self::NotSignedIn(_, cause) => ("not_signed_in", cause),
            Self::OutcomeUnknown { cause, .. } => ("unsure", cause),
            Self::Unavailable { cause, .. } => ("unavailable", cause),
        }
    }

    /// The form that can be sent again.
    pub(crate) fn retry_form(&self) -> Option<&RetryForm> {
        match self {
            Self::OutcomeUnknown { retry, .. } => Some(retry),
            Self::SessionExpired { retry, .. } | Self::StalePage { retry, .. } => retry.as_ref(),
            Self::SignIn { .. }
            | Self::NotAdmin
            | Self::Forged
            | Self::Malformed
            | Self::PageNotFound
            | Self::WrongMethod
            | Self::NotFound(_)
            | Self::Refused(..)
            | Self::NotSignedIn(..)
            | Self::Unavailable { .. } => None,
        }
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotPermitted => Self::NotAdmin,
            // The address was edited or is incomplete.
            ApiError::Problem(problem) if problem.code == ProblemCode::MalformedRequest => Self::PageNotFound,
            ApiError::Problem(problem) if problem.status == 404 => Self::NotFound(problem.detail),
            ApiError::Problem(problem) => Self::Refused(problem.title, problem.detail),
            ApiError::Unavailable { request_id, cause } => Self::Unavailable { request_id, cause },
        }
    }
}

impl IntoResponse for PageError {
    /// A response without a body. The middleware renders the page.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
