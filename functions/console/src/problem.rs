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
            Some(("That cannot be read", "Nothing was changed. Open this page anew and try again."))
        }
        "body_too_large" => Some(("That is too long", "Nothing was changed. Send less at once.")),
        "role_not_found" => {
            Some(("There is no such role", "There is no role of this name here. It may have been deleted."))
        }
        "service_account_deleted" => Some((
            "It was created before, and has been deleted since",
            "This form was sent before. Sent once more, it creates another one.",
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
        "/role" => "is no role (any more): choose another one".to_owned(),
        _ => unmarked(&error.detail),
    };
    FieldError { detail, ..error }
}

/// `text` without the marks of code, which no page shows as such.
pub(crate) fn unmarked(text: &str) -> String {
    text.replace('`', "")
}
