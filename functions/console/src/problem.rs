//! Replaces the API's texts that are written for programmers.

use shared::api::{FieldError, Problem, ProblemCode};

/// Rewrites the texts of `problem` for a page. The problem's code decides which texts are
/// replaced.
pub(crate) fn for_console(mut problem: Problem) -> Problem {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "for every other code, the API's own text suits a page"
    )]
    let replacement = match problem.code {
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
            "This account was already created and then deleted",
            "This form was submitted before. If you submit it again, it creates another account.",
        )),
        _ => None,
    };
    if let Some((title, detail)) = replacement {
        (problem.title, problem.detail) = (title.to_owned(), detail.to_owned());
    }
    problem.detail = without_backticks(&problem.detail);
    problem.errors = problem.errors.into_iter().map(field_error).collect();
    problem
}

fn field_error(error: FieldError) -> FieldError {
    let detail = match error.pointer.as_str() {
        "/role" => "role not found. Choose another role".to_owned(),
        _ => without_backticks(&error.detail),
    };
    FieldError { detail, ..error }
}

/// Removes Markdown's backticks, which pages do not render.
pub(crate) fn without_backticks(text: &str) -> String {
    text.replace('`', "")
}
