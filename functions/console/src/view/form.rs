//! Errors of forms.

use std::cell::OnceCell;

use shared::api::{FieldError, ProblemCode};

use crate::api::ApiError;
use crate::app_state::AppState;
use crate::error::{PageError, PageResult};
use crate::request_id;
use crate::view::excerpt::Excerpt;

/// A new `Idempotency-Key`. The form contains the key, so that submitting the form twice
/// counts as one attempt.
pub(crate) fn new_attempt(console: &AppState) -> PageResult<String> {
    console.random_text::<18>().map_err(PageError::unavailable)
}

/// How many errors of a field are shown.
const MAX_SHOWN_ERRORS: usize = 12;

/// Why a form was not accepted.
pub(crate) enum FormError {
    /// The form is shown again with these errors.
    Invalid(FormErrors),
    /// An error page replaces the form.
    Page(PageError),
}

impl FormError {
    /// The errors to show in the form, or the error whose page replaces the form.
    pub(crate) fn errors(self) -> PageResult<FormErrors> {
        match self {
            Self::Invalid(errors) => Ok(errors),
            Self::Page(error) => Err(error),
        }
    }
}

impl From<FormErrors> for FormError {
    fn from(errors: FormErrors) -> Self {
        Self::Invalid(errors)
    }
}

impl From<ApiError> for FormError {
    fn from(error: ApiError) -> Self {
        FormErrors::from_api(error).map_or_else(Self::Page, Self::Invalid)
    }
}

/// The errors of a form.
#[derive(Default)]
pub(crate) struct FormErrors {
    status: u16,
    /// An error of the whole form: title and detail.
    pub(crate) alert: Option<(String, String)>,
    pub(crate) request_id: Option<String>,
    fields: Vec<(String, String)>,
    /// The position of the error that gets the focus: the first error in the order of the
    /// template.
    focused: OnceCell<usize>,
}

impl FormErrors {
    /// An error of one field.
    pub(crate) fn field(name: &str, problem: impl Into<String>) -> Self {
        Self { status: 422, fields: vec![(name.to_owned(), problem.into())], ..Self::default() }
    }

    /// An error of the whole form.
    fn whole(status: u16, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, alert: Some((title.into(), detail.into())), ..Self::default() }
    }

    /// An error of the whole form, which changed nothing.
    pub(crate) fn refused(title: &str, detail: &str) -> Self {
        Self::whole(422, title, detail)
    }

    /// Adds an error of one field.
    pub(crate) fn add(&mut self, name: &str, problem: &str) {
        self.fields.push((name.to_owned(), problem.to_owned()));
    }

    /// The error of a form for a version that is no longer the current one.
    pub(crate) fn out_of_date() -> Self {
        let detail = "Nothing was saved. Someone else made a change after you opened the page, or you already \
                      submitted this form. Reload the page to see the current values.";
        Self::whole(412, "This page is out of date", detail)
    }

    /// Errors of fields that have the names of the API's fields.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let fields = errors.into_iter().map(|error| {
            let mut parts = error.pointer.split('/').skip(1);
            let (name, member) = (parts.next().unwrap_or_default(), parts.next());
            match member.filter(|_| name == "tags") {
                // A JSON pointer escapes two characters (RFC 6901, section 3).
                Some(tag) => {
                    let tag = tag.replace("~1", "/").replace("~0", "~");
                    (name.to_owned(), format!("tag “{tag}” {}", error.detail))
                }
                None => (name.to_owned(), error.detail),
            }
        });
        Self { status: 422, fields: fields.collect(), ..Self::default() }
    }

    /// Converts an error of the API for a form whose fields have the API's names.
    ///
    /// # Errors
    /// An error whose page replaces the form: not found, or not permitted.
    pub(crate) fn from_api(error: ApiError) -> PageResult<Self> {
        let problem = match error {
            ApiError::NotPermitted => return Err(error.into()),
            ApiError::Unavailable { request_id, cause } => {
                let title = "Keyward is not responding";
                let detail = "The change may or may not have been made. Submit the form again. Keyward never makes the \
                              change twice.";
                let request_id = Some(request_id::report(request_id, &cause));
                return Ok(Self { request_id, ..Self::whole(503, title, detail) });
            }
            ApiError::Problem(problem) if problem.status == 404 => {
                return Err(ApiError::Problem(problem).into());
            }
            ApiError::Problem(problem) => problem,
        };
        let status = problem.status;
        Ok(if matches!(problem.code, ProblemCode::NameTaken | ProblemCode::RoleBuiltIn) {
            Self { status, ..Self::field("name", problem.detail) }
        } else if problem.code == ProblemCode::PreconditionFailed {
            Self::out_of_date()
        } else if problem.code == ProblemCode::IdempotencyKeyReused {
            let title = "This form was already submitted with other values";
            let detail = "Check the result of the first submission. If you submit the form again, it counts as a new \
                          request.";
            Self::whole(status, title, detail)
        } else if problem.errors.is_empty() {
            Self::whole(status, problem.title, problem.detail)
        } else {
            Self { status, ..Self::fields(problem.errors) }
        })
    }

    pub(crate) fn status(&self) -> u16 {
        if self.status == 0 { 200 } else { self.status }
    }

    /// The errors of the field `name`, one sentence per line.
    pub(crate) fn on(&self, name: &str) -> Option<String> {
        let details = self.fields.iter().filter(|(field, _)| field == name);
        let sentences: Vec<_> = details.filter_map(|(_, detail)| sentence(detail)).collect();
        if sentences.is_empty() {
            return None;
        }
        let sentences = Excerpt::first(sentences, MAX_SHOWN_ERRORS);
        let more = match sentences.more {
            0 => String::new(),
            more => format!("\nAnd {more} more."),
        };
        Some(sentences.items.join("\n") + &more)
    }

    /// Whether the field `name` gets the focus. Templates ask in the order of the form.
    pub(crate) fn takes_focus(&self, name: &str) -> bool {
        let position = self.fields.iter().position(|(field, _)| field == name);
        position.is_some_and(|position| *self.focused.get_or_init(|| position) == position)
    }

    /// Whether a field has an error.
    pub(crate) fn has_field_errors(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Whether the form has no error.
    pub(crate) fn is_empty(&self) -> bool {
        self.status == 0
    }
}

fn sentence(detail: &str) -> Option<String> {
    let mut characters = detail.chars();
    let first = characters.next()?.to_uppercase();
    let end = if detail.ends_with('.') { "" } else { "." };
    Some(format!("{first}{}{end}", characters.as_str()))
}
