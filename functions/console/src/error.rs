//! Errors that replace a page.

use std::fmt::Display;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use shared::api::ProblemCode;

use crate::api::ApiError;

/// A page, or an error whose page replaces it.
pub(crate) type PageResult<T = Response> = Result<T, PageError>;

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

impl RetryForm {
    /// The fields that the user filled in, with readable names.
    pub(crate) fn typed(&self) -> Vec<(String, &str)> {
        /// Fields that the console fills in.
        const OWN: [&str; 7] = ["csrf", "attempt", "version", "role_was", "shown", "cursor", "button"];
        let typed =
            self.fields.iter().filter(|(name, value)| !value.is_empty() && !OWN.contains(&name.as_str()));
        typed.map(|(name, value)| (readable(name), value.as_str())).collect()
    }
}

/// The name of a field as text, for example `Allowed cidrs`.
fn readable(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).map(|letter| if letter == '_' { ' ' } else { letter }).collect()
}

impl PageError {
    pub(crate) fn unavailable(cause: impl Display) -> Self {
        Self::Unavailable { request_id: None, cause: cause.to_string() }
    }

    /// The status of the error page, and the reason and the cause for the log, without any
    /// credential.
    pub(crate) fn summary(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::SignIn { .. } => (StatusCode::SEE_OTHER, "sign_in", ""),
            Self::SessionExpired { .. } => (StatusCode::UNAUTHORIZED, "session_ended", ""),
            Self::NotAdmin => (StatusCode::FORBIDDEN, "not_admin", ""),
            Self::Forged => (StatusCode::FORBIDDEN, "forged", ""),
            Self::StalePage { .. } => (StatusCode::FORBIDDEN, "old_page", ""),
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", ""),
            Self::PageNotFound => (StatusCode::NOT_FOUND, "no_page", ""),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "wrong_method", ""),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", ""),
            Self::Refused(..) => (StatusCode::CONFLICT, "refused", ""),
            Self::NotSignedIn(_, cause) => (StatusCode::BAD_REQUEST, "not_signed_in", cause),
            Self::OutcomeUnknown { cause, .. } => (StatusCode::SERVICE_UNAVAILABLE, "unsure", cause),
            Self::Unavailable { cause, .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", cause),
        }
    }

    /// The form that can be sent again.
    pub(crate) fn retry_form(&self) -> Option<&RetryForm> {
        if let Self::OutcomeUnknown { retry, .. } = self {
            Some(retry)
        } else if let Self::SessionExpired { retry, .. } | Self::StalePage { retry, .. } = self {
            retry.as_ref()
        } else {
            None
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
        let mut response = self.summary().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
