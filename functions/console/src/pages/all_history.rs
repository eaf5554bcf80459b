//! `GET /history`: the audit events of all accounts and roles.

use askama::Template;
use axum::extract::Query;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use shared::api::List;
use shared::domain::{AccountId, EventType};

use crate::api::EventsQuery;
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::find_account::by_id_or_name;
use crate::view::form::{FormError, FormErrors};
use crate::view::formatting::{HistoryEntry, KeyNames, event_words};
use crate::view::layout::{Page, with_status};

/// Events per page.
const EVENTS: u8 = 25;

/// The filters, and the cursor of a page.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Form {
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    /// An account's ID or name.
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    r#type: String,
    /// The first day, inclusive.
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    /// The last day, inclusive.
    #[serde(skip_serializing_if = "String::is_empty")]
    to: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

#[derive(Template)]
#[template(path = "all_history.html")]
struct AllHistory {
    page: Page,
    form: Form,
    errors: FormErrors,
    types: Vec<(&'static str, &'static str)>,
    events: Vec<HistoryEntry>,
    /// The addresses of the first page and of the next page.
    newest: Option<String>,
    older: Option<String>,
}

impl AllHistory {
    fn is_filtered(&self) -> bool {
        let Form { actor, account, r#type, from, to, cursor: _ } = &self.form;
        [actor, account, r#type, from, to].iter().any(|value| !value.is_empty())
    }
}

pub(super) async fn show(session: Session, Query(form): Query<Form>) -> PageResult {
    let (list, errors) = match query(&session, &form).await {
        Ok(query) => (session.api().all_events(&query).await?, FormErrors::default()),
        Err(error) => (List { items: Vec::new(), next_cursor: None }, error.errors()?),
    };
    let entry = |event| HistoryEntry::new(event, &KeyNames::default(), session.now());
    let page = AllHistory {
        page: session.page(),
        errors,
        types: EventType::ALL.iter().map(|known| (known.name(), event_words(*known).0)).collect(),
        events: list.items.into_iter().map(entry).collect(),
        newest: if form.cursor.is_empty() { None } else { Some(address(&form, String::new())?) },
        older: list.next_cursor.map(|cursor| address(&form, cursor)).transpose()?,
        form,
    };
    if page.errors.is_empty() { session.show(page) } else { with_status(page.errors.status(), page) }
}

/// The address of another page with the same filters.
fn address(form: &Form, cursor: String) -> PageResult<String> {
    let query = serde_html_form::to_string(Form { cursor, ..form.clone() });
    query.map(|query| format!("/history?{query}")).map_err(PageError::unavailable)
}

/// Converts the form to a query of the API.
async fn query(session: &Session, form: &Form) -> Result<EventsQuery, FormError> {
    let from = day("from", &form.from)?;
    let to = day("to", &form.to)?;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(FormErrors::field("to", "must not be before the start date").into());
    }
    let start = |day: Option<Date>| day.and_then(start_of);
    Ok(EventsQuery {
        actor: form.actor.trim().to_owned(),
        account: account(session, form.account.trim()).await?,
        r#type: event_type(&form.r#type)?,
        from: start(from),
        // The API's `to` is exclusive.
        to: start(to.and_then(|day| day.tomorrow().ok())),
        cursor: form.cursor.clone(),
        limit: EVENTS,
    })
}

fn event_type(name: &str) -> Result<Option<EventType>, FormError> {
    if name.is_empty() {
        return Ok(None);
    }
    // The form offers every known type.
    EventType::parse(name).map(Some).ok_or(FormError::Page(PageError::PageNotFound))
}

async fn account(session: &Session, text: &str) -> Result<Option<AccountId>, FormError> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = by_id_or_name(session, text).await.map_err(|error| FormError::Page(error.into()))?;
    let problem = "account not found. For a deleted account, enter its ID";
    Ok(Some(found.ok_or_else(|| FormErrors::field("account", problem))?))
}

fn day(field: &str, text: &str) -> Result<Option<Date>, FormErrors> {
    if text.is_empty() {
        return Ok(None);
    }
    let day = text.parse().map_err(|_| FormErrors::field(field, "must be a date, such as 2026-11-24"))?;
    Ok(Some(day))
}

fn start_of(day: Date) -> Option<Timestamp> {
    format!("{day}T00:00:00Z").parse().ok()
}
