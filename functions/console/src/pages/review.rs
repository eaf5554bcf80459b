//! `GET /review`: all accounts, for a review of their access. `POST /accounts/{id}/review`:
//! records an answer.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Redirect;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::api::{List, ReviewServiceAccountRequest, ReviewedServiceAccount};
use shared::domain::{AccountId, ReviewDecision, ReviewNote};

use crate::api::AccessReviewQuery;
use crate::auth::session::{Posted, Session};
use crate::error::{PageError, PageResult};
use crate::view::form::{self, FormErrors};
use crate::view::layout::{Page, with_status};

/// Accounts per page.
const ACCOUNTS: u8 = 25;

/// The days to filter by.
const DAYS: [u16; 4] = [30, 90, 180, 365];

/// The filter, and the cursor of a page.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Place {
    /// Only accounts without a review for this number of days, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) days: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cursor: String,
}

/// An answer.
#[derive(Deserialize)]
pub(super) struct Form {
    decision: String,
    note: String,
    attempt: String,
    /// Whether the account has live keys or federated identities.
    has_keys: bool,
    /// The account to return to in the list.
    next: Option<AccountId>,
    #[serde(default)]
    days: String,
    #[serde(default)]
    cursor: String,
}

#[derive(Template)]
#[template(path = "review.html")]
struct ReviewPage {
    page: Page,
    place: Place,
    accounts: Vec<ReviewedServiceAccount>,
    attempt: String,
    errors: FormErrors,
    /// The account whose answer was refused, and its note.
    refused: Option<(AccountId, String)>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

impl Place {
    /// The query of the API for this page.
    pub(super) fn query(&self, now: Timestamp, limit: u8) -> PageResult<AccessReviewQuery> {
        let days = if self.days.is_empty() {
            None
        } else {
            let days = self.days.parse().ok().filter(|days| DAYS.contains(days));
            Some(days.ok_or(PageError::PageNotFound)?)
        };
        let before = days
            .and_then(|days: u16| now.saturating_sub(SignedDuration::from_hours(24 * i64::from(days))).ok());
        Ok(AccessReviewQuery { reviewed_before: before, cursor: self.cursor.clone(), limit })
    }

    fn address(&self, cursor: String) -> PageResult<String> {
        let query = serde_html_form::to_string(Self { cursor, ..self.clone() });
        query.map(|query| format!("/review?{query}")).map_err(PageError::unavailable)
    }
}

impl ReviewPage {
    async fn read(session: &Session, place: Place) -> PageResult<Self> {
        let query = place.query(session.now(), ACCOUNTS)?;
        let List { items, next_cursor } = session.api().access_review(&query).await?;
        Ok(Self {
            page: session.page(),
            accounts: items,
            attempt: form::new_attempt(&session.console)?,
            errors: FormErrors::default(),
            refused: None,
            first: if place.cursor.is_empty() { None } else { Some(place.address(String::new())?) },
            next: next_cursor.map(|cursor| place.address(cursor)).transpose()?,
            place,
        })
    }

    /// The account to return to after an answer about the account at `position`: with a
    /// filter, the answered account is no longer in the list.
    fn return_to(&self, position: usize) -> Option<AccountId> {
        let position = if self.place.days.is_empty() { position } else { position + 1 };
        self.accounts.get(position).map(|reviewed| reviewed.listed.account.id)
    }

    /// The note of a refused answer.
    fn note(&self, id: &AccountId) -> &str {
        self.refused.as_ref().filter(|(refused, _)| refused == id).map_or("", |(_, note)| note)
    }

    fn is_refused(&self, id: &AccountId) -> bool {
        self.refused.as_ref().is_some_and(|(refused, _)| refused == id)
    }
}

/// The answer of the most recent review, in a word or two.
fn answer(decision: ReviewDecision) -> (&'static str, &'static str) {
    match decision {
        ReviewDecision::Keep => ("good", "Keep"),
        ReviewDecision::Narrow => ("warn", "Narrow"),
        ReviewDecision::Revoke => ("bad", "Revoke"),
    }
}

pub(super) async fn show(session: Session, Query(place): Query<Place>) -> PageResult {
    let page = ReviewPage::read(&session, place).await?;
    session.show(page)
}

pub(super) async fn submit(Path(id): Path<AccountId>, Posted(session, form): Posted<Form>) -> PageResult {
    let place = Place { days: form.days, cursor: form.cursor };
    let decision = ReviewDecision::parse(&form.decision).ok_or(PageError::Malformed)?;
    let answer = ReviewServiceAccountRequest { decision: form.decision, note: form.note };
    if let Err(error) = session.api().review_account(id, &answer, &form.attempt).await {
        let errors = FormErrors::from_api(error)?;
        let refused = Some((id, answer.note));
        let page = ReviewPage { errors, refused, ..ReviewPage::read(&session, place).await? };
        return with_status(page.errors.status(), page);
    }
    match decision {
        ReviewDecision::Keep => {
            let cursor = place.cursor.clone();
            let anchor = form.next.map(|next| format!("#{next}")).unwrap_or_default();
            let path = format!("{}{anchor}", place.address(cursor)?);
            session.redirect(&path, "Your answer was recorded: the account keeps its access.")
        }
        ReviewDecision::Narrow => {
            let notice = "Your answer was recorded. Now choose a smaller role for the account.";
            session.redirect(&format!("/accounts/{id}/role-usage"), notice)
        }
        ReviewDecision::Revoke if form.has_keys => {
            let notice = "Your answer was recorded. Now revoke the account's keys.";
            session.redirect(&format!("/accounts/{id}/keys/revoke"), notice)
        }
        ReviewDecision::Revoke => {
            let notice =
                "Your answer was recorded. The account has no active keys. You can delete the account.";
            session.redirect(&format!("/accounts/{id}/delete"), notice)
        }
    }
}

/// Redirects a reload of a form's address to the list.
pub(super) async fn redirect() -> Redirect {
    Redirect::to("/review")
}
