//! `GET /attention`: all keys and accounts that need attention for one reason, or the most
//! urgent for all reasons.

use askama::Template;
use axum::extract::Query;
use serde::{Deserialize, Serialize};
use shared::api::{AttentionCounts, AttentionReason, FieldError, MinimumCount};
use shared::domain::Owner;

use crate::api::{AttentionQuery, MAX_PAGE_SIZE};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::attention::{self, AttentionLine};
use crate::view::form::FormErrors;
use crate::view::formatting::TimeText;
use crate::view::layout::{Page, with_status};

/// Lines per page.
const LINES: u8 = 25;

/// The filters, and the cursor of a page.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Form {
    /// Empty for all reasons.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// For keys that expire.
    #[serde(skip_serializing_if = "String::is_empty")]
    within_days: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

#[derive(Template)]
#[template(path = "attention.html")]
struct AllAttention {
    page: Page,
    form: Form,
    reason: Option<AttentionReason>,
    errors: FormErrors,
    /// `None` if a filter is invalid.
    counts: Option<AttentionCounts>,
    unused_counted_at: Option<TimeText>,
    lines: Vec<AttentionLine>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

impl AllAttention {
    /// Each reason with the text of the form's choice.
    fn reasons() -> [(AttentionReason, &'static str); 4] {
        AttentionReason::ALL.map(|reason| (reason, heading(reason)))
    }

    fn title(&self) -> &'static str {
        self.reason.map_or("Needs attention", heading)
    }

    fn number(count: &MinimumCount) -> String {
        attention::number(count)
    }

    fn is_filtered(&self) -> bool {
        self.reason.is_some() || !self.form.owner.is_empty()
    }
}

fn heading(reason: AttentionReason) -> &'static str {
    match reason {
        AttentionReason::UsedAfterEnd => "Retired keys used",
        AttentionReason::Expiring => "Keys and identities that expire soon",
        AttentionReason::Unused => "Keys unused for 90 days",
        AttentionReason::Disabled => "Disabled accounts",
    }
}

pub(super) async fn show(session: Session, Query(form): Query<Form>) -> PageResult {
    let form =
        Form { owner: form.owner.trim().to_owned(), within_days: form.within_days.trim().to_owned(), ..form };
    // The page offers every known reason.
    let reason = (!form.reason.is_empty())
        .then(|| AttentionReason::parse(&form.reason).ok_or(PageError::PageNotFound));
    let reason = reason.transpose()?;
    let (found, errors) = match query(&form, reason) {
        Ok(query) => (Some(session.api().attention(&query).await?), FormErrors::default()),
        Err(errors) => (None, errors),
    };
    let (counts, items, next, counted_at) = match found {
        Some(found) => (Some(found.counts), found.items, found.next_cursor, found.unused_counted_at),
        None => (None, Vec::new(), None, None),
    };
    let now = session.now();
    let page = AllAttention {
        page: session.page(),
        reason,
        counts,
        unused_counted_at: counted_at.map(|at| TimeText::new(at, now)),
        lines: items.into_iter().map(|item| AttentionLine::new(item, now)).collect(),
        first: if form.cursor.is_empty() { None } else { Some(address(&form, String::new())?) },
        next: next.map(|cursor| address(&form, cursor)).transpose()?,
        errors,
        form,
    };
    if page.errors.is_empty() { session.show(page) } else { with_status(page.errors.status(), page) }
}

/// The address of another page with the same filters.
fn address(form: &Form, cursor: String) -> PageResult<String> {
    let query = serde_html_form::to_string(Form { cursor, ..form.clone() });
    query.map(|query| format!("/attention?{query}")).map_err(PageError::unavailable)
}

/// Converts the form to a query of the API.
fn query(form: &Form, reason: Option<AttentionReason>) -> Result<AttentionQuery, FormErrors> {
    let is_expiring = reason == Some(AttentionReason::Expiring);
    // The field is shown for all reasons.
    let days = Some(form.within_days.as_str()).filter(|days| is_expiring && !days.is_empty());
    let within_days = days.map(|days| days.parse().ok().filter(|days| (1..=90).contains(days)));
    let mut errors = Vec::new();
    if within_days == Some(None) {
        let detail = "must be a whole number from 1 to 90".to_owned();
        errors.push(FieldError { pointer: "/withinDays".to_owned(), detail });
    }
    if let Err(problem) = Owner::parse(&form.owner) {
        errors.push(FieldError { pointer: "/owner".to_owned(), detail: problem.to_string() });
    }
    if !errors.is_empty() {
        return Err(FormErrors::fields(errors));
    }
    Ok(AttentionQuery {
        reason,
        within_days: within_days.flatten(),
        owner: form.owner.clone(),
        cursor: form.cursor.clone(),
        limit: if reason.is_some() { LINES } else { MAX_PAGE_SIZE },
    })
}
