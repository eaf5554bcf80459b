//! The API's words, for people who see pages and no API.
//!
//! The API speaks to programmers, of routes, headers and members. What the
//! console knows better is said in its own words, by the problem's code, which
//! never changes its meaning.

use shared::http::FieldError;

use crate::api::Problem;

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
