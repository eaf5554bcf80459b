//! The API's words, for people who see pages and no API.
//!
//! The API speaks to programmers, of routes, headers and members. What the
//! console knows better is said in its own words, by the problem's code, which
//! never changes its meaning.

use serde::Deserialize;
use shared::http::{FieldError, RoleUse};

/// Problem details (RFC 9457), as [`shared::http::Problem`] writes them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
    pub(crate) code: String,
    pub(crate) request_id: String,
    #[serde(default)]
    pub(crate) errors: Vec<FieldError>,
    /// Who has the role that cannot be deleted.
    #[serde(default)]
    pub(crate) used_by: Vec<RoleUse>,
    /// Where the check of the role's users continues.
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

/// `problem` in plain words.
pub(crate) fn plain(mut problem: Problem) -> Problem {
    let said = match problem.code.as_str() {
        "malformed_request" | "malformed_json" | "unsupported_media_type" => {
            Some(("This form could not be read", "Nothing was changed. Reload the page and try again."))
        }
        "body_too_large" => {
            Some(("This form is too large", "Nothing was changed. Shorten the input and try again."))
        }
        "role_not_found" => {
            Some(("Role not found", "There is no role with this name. It may have been deleted."))
        }
        "service_account_deleted" => Some((
            "This account was already created, and then deleted",
            "This form was submitted before. If you submit it again, it creates another account.",
        )),
        _ => None,
    };
    if let Some((title, detail)) = said {
        (problem.title, problem.detail) = (title.to_owned(), detail.to_owned());
    }
    problem.detail = unmarked(&problem.detail);
    problem.errors = problem.errors.into_iter().map(field).collect();
    problem
}

/// What is wrong with a field. A role is chosen from those that there are.
fn field(error: FieldError) -> FieldError {
    let detail = match error.pointer.as_str() {
        "/role" => "role not found. Choose another role".to_owned(),
        _ => unmarked(&error.detail),
    };
    FieldError { detail, ..error }
}

/// `text` without the marks of code, which no page shows as such.
pub(crate) fn unmarked(text: &str) -> String {
    text.replace('`', "")
}
