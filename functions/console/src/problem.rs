//! Replaces texts of the API that are written for programmers, by the stable code of the
//! problem.

use shared::api::{FieldError, Problem, ProblemCode};

/// Rewrites `problem` for the console.
pub(crate) fn plain(mut problem: Problem) -> Problem {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "for every other code, the API's own words suit a page"
    )]
    let said = match problem.code {
        ProblemCode::MalformedRequest | ProblemCode::MalformedJson | ProblemCode::UnsupportedMediaType => {
            Some(("This form could not be read", "Nothing was changed. Reload the page and try again."))
        }
        ProblemCode::BodyTooLarge => {
            Some(("This form is too large", "Nothing was changed. Shorten the input and try again."))
        }
        ProblemCode::RoleNotFound => {
            Some(("Role not found", "There is no role with this name. It may have been deleted."))
        }
        ProblemCode::ServiceAccountDeleted => Some((
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

fn field(error: FieldError) -> FieldError {
    let detail = match error.pointer.as_str() {
        "/role" => "role not found. Choose another role".to_owned(),
        _ => unmarked(&error.detail),
    };
    FieldError { detail, ..error }
}

/// Removes Markdown's code marks, which pages do not render.
pub(crate) fn unmarked(text: &str) -> String {
    text.replace('`', "")
}
