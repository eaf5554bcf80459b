//! The response to a form that already issued its key. A key is shown only once.

use askama::Template;
use axum::response::Response;
use shared::api::ProblemCode;
use shared::domain::AccountId;

use crate::api::ApiError;
use crate::auth::session::Session;
use crate::view::layout::{Page, with_status};

#[derive(Template)]
#[template(path = "issued_before.html")]
struct IssuedBefore {
    page: Page,
    account: AccountId,
}

/// Whether the API refused the request because the same form already issued its key.
pub(super) fn is_issued_before(error: &ApiError) -> bool {
    matches!(error, ApiError::Problem(problem) if problem.code == ProblemCode::KeyAlreadyIssued)
}

pub(super) fn show(session: &Session, account: AccountId) -> Response {
    with_status(409, IssuedBefore { page: session.page(), account })
}
