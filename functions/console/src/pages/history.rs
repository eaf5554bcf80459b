//! `GET /history`: the audit events of all accounts, roles, trusted issuers and protected APIs.
//! `GET /accounts/{id}/history`: the audit events of an account.

use askama::Template;
use axum::extract::{Path, Query};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use shared::api::{FoundEvents, List, ServiceAccountWithKeys};
use shared::domain::{AccountId, ActorSearch, ApiName, EventType, IssuerName};

use crate::api::{ApiError, EventsQuery};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::find_account::by_id_or_name;
use crate::view::form::{FormError, FormErrors};
use crate::view::formatting::{HistoryEntry, KeyNames, TimeText, event_words};
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::check_name;

/// Events per page.
const EVENTS: u8 = 25;

/// The filters, and the cursor of a page.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Form {
    /// Part of an admin's ID or name.
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    /// An account's ID or name. Empty in the history of an account.
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    issuer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api: String,
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
#[template(path = "history.html")]
struct History {
    page: Page,
    /// The path of the page.
    path: String,
    /// The account whose history is shown, and its name. `None` for all accounts and roles.
    account: Option<(AccountId, String)>,
    form: Form,
    errors: FormErrors,
    types: Vec<(&'static str, &'static str)>,
    events: Vec<HistoryEntry>,
    /// How far back the events were searched, if older events may match.
    searched_back_to: Option<TimeText>,
    /// The addresses of the first page and of the next page.
    newest: Option<String>,
    older: Option<String>,
    /// The query of an export.
    export: String,
}

impl Form {
    fn is_filtered(&self) -> bool {
        let Self { actor, account, role, issuer, api, r#type, from, to, cursor: _ } = self;
        [actor, account, role, issuer, api, r#type, from, to].iter().any(|value| !value.is_empty())
    }

    /// The API's query for these filters.
    pub(super) async fn query(&self, session: &Session, limit: u8) -> Result<EventsQuery, FormError> {
        let actor = self.actor.trim();
        if !actor.is_empty() {
            ActorSearch::parse(actor).map_err(|error| FormErrors::field("actor", error.to_string()))?;
        }
        let role = self.role.trim();
        let errors = check_name(role);
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let account = account(session, self.account.trim()).await?;
        if account.is_some() && !role.is_empty() {
            let problem = "cannot be combined with an account: no event is about both";
            return Err(FormErrors::field("role", problem).into());
        }
        let issuer = self.issuer.trim();
        if !issuer.is_empty() {
            IssuerName::parse(issuer).map_err(|error| FormErrors::field("issuer", error.to_string()))?;
        }
        if !issuer.is_empty() && (account.is_some() || !role.is_empty()) {
            let problem = "cannot be combined with an account or a role: no event is about both";
            return Err(FormErrors::field("issuer", problem).into());
        }
        let api = self.api.trim();
        if !api.is_empty() {
            ApiName::parse(api).map_err(|error| FormErrors::field("api", error.to_string()))?;
        }
        if !api.is_empty() && (account.is_some() || !role.is_empty() || !issuer.is_empty()) {
            let problem = "cannot be combined with an account, a role or an issuer: no event is about both";
            return Err(FormErrors::field("api", problem).into());
        }
        let from = day("from", &self.from)?;
        let to = day("to", &self.to)?;
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(FormErrors::field("to", "must not be before the start date").into());
        }
        let start = |day: Option<Date>| day.and_then(start_of);
        Ok(EventsQuery {
            actor: actor.to_owned(),
            account,
            role: role.to_owned(),
            issuer: issuer.to_owned(),
            api: api.to_owned(),
            r#type: event_type(&self.r#type)?,
            from: start(from),
            // The API's `to` is exclusive.
            to: start(to.and_then(|day| day.tomorrow().ok())),
            cursor: self.cursor.clone(),
            limit,
        })
    }

    fn text(&self) -> PageResult<String> {
        serde_html_form::to_string(self).map_err(PageError::unavailable)
    }
}

pub(super) async fn show_all(session: Session, Query(form): Query<Form>) -> PageResult {
    let history = History::read(&session, "/history".to_owned(), form, None).await?;
    history.respond(session)
}

pub(super) async fn show(
    session: Session,
    Path(id): Path<AccountId>,
    Query(form): Query<Form>,
) -> PageResult {
    let path = format!("/accounts/{id}/history");
    let none = String::new;
    let form = Form { account: none(), role: none(), issuer: none(), api: none(), ..form };
    let account = session.api().account(id).await;
    let (account, unknown) = match account {
        Ok(account) => (Some(account), None),
        Err(error) => (None, Some(error)),
    };
    let history = History::read(&session, path, form, Some((id, account))).await?;
    // Every account, even a deleted one, has at least the event of its creation.
    let is_first = !history.form.is_filtered() && history.form.cursor.is_empty();
    match unknown.filter(ApiError::is_not_found) {
        Some(error) if is_first && history.events.is_empty() => Err(error.into()),
        _ => history.respond(session),
    }
}

impl History {
    /// Reads the events that `form` selects, of one account or of all accounts and roles. The
    /// page works without the account, which may have been deleted.
    async fn read(
        session: &Session,
        path: String,
        form: Form,
        of: Option<(AccountId, Option<ServiceAccountWithKeys>)>,
    ) -> PageResult<Self> {
        let filters = Form {
            account: of.as_ref().map_or_else(|| form.account.clone(), |(id, _)| id.to_string()),
            ..form.clone()
        };
        let (found, errors) = match filters.query(session, EVENTS).await {
            Ok(query) => (session.api().all_events(&query).await?, FormErrors::default()),
            Err(error) => (FoundEvents::default(), error.errors()?),
        };
        let FoundEvents { list: List { items, next_cursor }, searched_back_to } = found;
        let names = of.as_ref().and_then(|(_, read)| read.as_ref());
        let names = names.map(|read| KeyNames::new(&read.keys, &read.retired_keys)).unwrap_or_default();
        let account = of.map(|(id, read)| {
            let newest = || items.first().and_then(|event| event.service_account_name.clone());
            let name = read.map(|read| read.account.name).or_else(newest);
            (id, name.unwrap_or_else(|| id.to_string()))
        });
        let entry = |event| match account {
            Some(_) => HistoryEntry::for_account(event, &names, session.now()),
            None => HistoryEntry::new(event, &names, session.now()),
        };
        let address = |cursor| Form { cursor, ..form.clone() }.text().map(|query| format!("{path}?{query}"));
        Ok(Self {
            page: session.page(),
            errors,
            types: types(account.is_some()),
            events: items.into_iter().map(entry).collect(),
            searched_back_to: searched_back_to.map(|at| TimeText::new(at, session.now())),
            newest: if form.cursor.is_empty() { None } else { Some(address(String::new())?) },
            older: next_cursor.map(address).transpose()?,
            export: Form { cursor: String::new(), ..filters }.text()?,
            account,
            path,
            form,
        })
    }

    fn respond(self, session: Session) -> PageResult {
        if self.errors.is_empty() { session.show(self) } else { with_status(self.errors.status(), self) }
    }
}

/// The names and labels of the types of events to choose from.
fn types(is_of_account: bool) -> Vec<(&'static str, &'static str)> {
    let types = EventType::ALL.iter().filter(|known| !is_of_account || known.is_about_account());
    types.map(|known| (known.name(), event_words(*known).0)).collect()
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
